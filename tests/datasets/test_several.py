"""Each subfolder and archive of data.path is a data set of its own. The pictures are generated."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from naevi.config import Config
from naevi.datasets.raw import build_raw
from naevi.errors import UserError
from naevi.images.files import read_image, read_mask
from naevi.tables import Decision, read_decisions
from tests.datasets.image_files import gray, png_16_bit
from tests.helpers import HERE

Read = Callable[..., None]
METADATA = "lesion_id,image_id,dx,age\nHAM_1,ISIC_1,nv,50\nHAM_1,ISIC_2,nv,50\nHAM_2,ISIC_3,mel,\n"
PH2_TABLE = (
    "||  Name  || Histological Diagnosis || Clinical Diagnosis || Asymmetry ||\n"
    "|| IMD002 ||                        ||                  1 ||         0 ||\n"
    "|| IMD003 ||                        ||                  2 ||         0 ||\n"
)
SUBFOLDERS = "data.datasets is subfolders, but"


@pytest.fixture
def both() -> Path:
    """Return data.path."""
    return Path("data/both")


@pytest.fixture
def read(folder: Path, both: Path, config_with: Callable[[dict[str, Any]], Config]) -> Read:
    """Return a function that writes data/raw from data/both, with some parameters."""
    both.mkdir()

    def read(**parameters: object) -> None:
        changes = {f"data.{key.replace('__', '.')}": value for key, value in parameters.items()}
        fixed = {"data.source": "folder", "data.path": str(both), "data.datasets": "subfolders"}
        build_raw(HERE, config_with(fixed | changes).data)

    return read


def write_pair(image: Path, mask: Path, foreground: int = 255) -> None:
    """Write an image of noise, 6 x 4 px, and a mask of 0 and `foreground`, the right half."""
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(image)))
    Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)).save(image)
    gray([[0] * 3 + [foreground] * 3] * 4).save(mask)


def write_set(folder: Path, *names: str, foreground: int = 255) -> None:
    """Write images and masks with these names to images/ and masks/ of a data set."""
    for name in names:
        write_pair(folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png", foreground)


def write_ham(folder: Path) -> None:
    """Write three images in the layout and with the table of HAM10000."""
    for name in ("ISIC_1", "ISIC_2", "ISIC_3"):
        write_pair(folder / "images" / f"{name}.jpg", folder / "masks" / f"{name}_segmentation.png")
    (folder / "HAM10000_metadata.csv").write_text(METADATA)


def write_ph2(folder: Path) -> None:
    """Write two images in the layout and with the table of PH2."""
    for name in ("IMD002", "IMD003"):
        parts = folder / "PH2Dataset/PH2 Dataset images" / name
        write_pair(parts / f"{name}_Dermoscopic_Image/{name}.bmp", parts / f"{name}_lesion/{name}_lesion.bmp")
    (folder / "PH2Dataset/PH2_dataset.txt").write_text(PH2_TABLE)


def problem(read: Read, **parameters: object) -> str:
    """Return the message of the error, after which data/raw doesn't exist."""
    with pytest.raises(UserError) as error:
        read(**parameters)
    assert not HERE.raw.exists()
    return str(error.value)


def test_each_is_read_by_its_own_layout_and_table(read: Read, both: Path, caplog: pytest.LogCaptureFixture) -> None:
    """HAM10000 as a folder and PH2 as an archive: names, groups and decisions have the name of the data set."""
    caplog.set_level("INFO")
    write_ham(both / "HAM")
    write_ph2(Path("ph2"))
    shutil.make_archive(str(both / "PH2.v1"), "gztar", "ph2", "PH2Dataset")
    for name in ("LICENSE.txt", "=1.txt", ".DS_Store"):
        (both / name).touch()

    read()

    assert (HERE.raw / "labels.csv").read_text().splitlines() == [
        "image_id,dataset,diagnosis,group",
        "HAM_ISIC_1,HAM,nv,HAM: HAM_1",
        "HAM_ISIC_2,HAM,nv,HAM: HAM_1",
        "HAM_ISIC_3,HAM,mel,HAM: HAM_2",
        "PH2.v1_IMD002,PH2.v1,atypical,only PH2.v1_IMD002",
        "PH2.v1_IMD003,PH2.v1,melanoma,only PH2.v1_IMD003",
    ]
    ham, ph2 = [f"HAM_ISIC_{number}" for number in (1, 2, 3)], ["PH2.v1_IMD002", "PH2.v1_IMD003"]
    files = {str(path.relative_to(HERE.raw)) for path in HERE.raw.rglob("*") if path.is_file()}
    assert files == {"labels.csv", "decisions.csv", "reading.json"} | {
        *(f"images/{name}.jpg" for name in ham),
        *(f"images/{name}.png" for name in ph2),
        *(f"masks/{name}.png" for name in ham + ph2),
    }
    found, original = (HERE.raw / "images" / f"{ham[0]}.jpg", both / "HAM/images/ISIC_1.jpg")
    assert found.read_bytes() == original.read_bytes()
    bmp = Path("ph2/PH2Dataset/PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp")
    assert np.array_equal(read_image(HERE.raw / "images" / f"{ph2[1]}.png"), read_image(bmp))
    assert read_mask(HERE.raw / "masks" / f"{ph2[1]}.png").tolist() == [[0, 0, 0, 1, 1, 1]] * 4
    assert read_decisions(HERE) == [
        Decision("Data sets in data.path, each read by its own layout and table", ["HAM", "PH2.v1"], "data.datasets"),
        Decision("HAM: Column of HAM10000_metadata.csv used as image_id", ["image_id"], "data.columns.image"),
        Decision("HAM: Column of HAM10000_metadata.csv used as diagnosis", ["dx"], "data.columns.diagnosis"),
        Decision("HAM: Column of HAM10000_metadata.csv used as group", ["lesion_id"], "data.columns.group"),
        Decision("HAM: Columns of HAM10000_metadata.csv that are not used", ["age"], "data.columns"),
        Decision("PH2.v1: Images and masks told apart by the layout: PH2's folders", ph2, "data.path"),
        Decision("PH2.v1: Column of PH2Dataset/PH2_dataset.txt used as image_id", ["image_id"], "data.columns.image"),
        Decision(
            "PH2.v1: Column of PH2Dataset/PH2_dataset.txt used as diagnosis", ["diagnosis"], "data.columns.diagnosis"
        ),
        Decision("Files beside the data sets, not used", ["LICENSE.txt", "_=1.txt"], "data.path"),
    ]
    messages = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    assert [line for line in messages if "ata set " in line or "Read as" in line] == [
        "Data set HAM:",
        "Read as images/ and masks/: 3 images, 3 masks.",
        "Data set PH2.v1:",
        "Read as PH2's folders: 2 images, 2 masks.",
    ]


def test_a_file_is_refused(read: Read, both: Path) -> None:
    both.rmdir()
    both.touch()

    assert problem(read) == (
        f"{SUBFOLDERS} data.path is a file, data/both. Set data.path to a folder with a subfolder or an archive for "
        "each data set."
    )


@pytest.mark.parametrize(
    ("names", "found"), [((), "0 subfolder(s) or archive(s): none"), (("a",), "1 subfolder(s) or archive(s): a")]
)
def test_less_than_two_are_refused(read: Read, both: Path, names: tuple[str, ...], found: str) -> None:
    for name in names:
        write_set(both / name, "x")

    assert problem(read) == (
        f"{SUBFOLDERS} data/both has {found}. Set data.path to the folder with one for each data set, or set "
        "data.datasets to one."
    )


def test_images_beside_data_sets_are_refused(read: Read, both: Path) -> None:
    write_set(both / "a", "x")
    write_pair(both / "y.JPG", both / "y_mask.png")

    assert problem(read) == (
        f"{SUBFOLDERS} data/both has images beside the subfolders: y.JPG, y_mask.png. Move them into a subfolder, or "
        "set data.datasets to one."
    )


def test_an_archive_that_is_not_read_is_refused(read: Read, both: Path) -> None:
    write_set(both / "a", "x")
    write_set(both / "b", "x")
    (both / "c.7z").touch()

    assert problem(read) == (
        "c.7z is an archive of a format that isn't read. Unpack it and use the folder instead. If it isn't one of the "
        "data sets, move it out of data/both."
    )


@pytest.mark.parametrize("name", ["a+b", "(2018)", "x" * 51])
def test_a_name_that_a_data_set_can_not_have_is_refused(read: Read, both: Path, name: str) -> None:
    write_set(both / name, "x")

    assert problem(read) == (
        f"{name!r} can't be the name of a data set. Rename it: letters, digits, spaces, _, . and -, up to 50 "
        "characters."
    )


def test_a_folder_and_its_archive_are_the_same_data_set(read: Read, both: Path) -> None:
    write_set(both / "Ham", "x")
    shutil.make_archive(str(both / "ham"), "zip", both / "Ham")

    assert problem(read) == "Ham and ham.zip would be two data sets of the same name. Rename or remove one."


def test_ids_that_become_equal_are_refused(read: Read, both: Path) -> None:
    write_set(both / "a", "b_x")
    write_set(both / "a_b", "x")

    assert problem(read) == "a_b_x would be the id of an image in two data sets, one of them a_b. Rename a_b."


def test_an_id_that_becomes_too_long_is_refused(read: Read, both: Path) -> None:
    long = "x" * 190
    write_set(both / "a", "x")
    write_set(both / "long name", long)

    assert problem(read) == (f"{long}.png of the data set long name has a name of more than 200 bytes. Shorten it.")


def test_an_error_names_its_data_set(read: Read, both: Path) -> None:
    """The hint is only for errors that data.classes can solve."""
    write_set(both / "a", "x")
    write_set(both / "b", "x", "y")
    (both / "b/masks/y.png").unlink()

    message = problem(read)

    assert message.startswith("Data set b: There is no mask for y. A mask in masks/ must have the name of its image ")
    assert message.endswith(" set data.masks.missing to empty.")


def test_a_data_set_can_have_other_mask_values(read: Read, both: Path) -> None:
    write_set(both / "a", "x")
    write_set(both / "b", "x", foreground=1)
    own = {"skin": 0, "lesion": 1}

    assert problem(read) == (
        "Data set b: 1 mask(s) contain undeclared values: 1 in masks/x.png. Declared are 0, 255. Add the values to "
        "data.classes, or to data.masks.void if their class is unknown. data.classes is for all data sets. If only b "
        "has other values, use data.classes_by_dataset."
    )
    assert problem(read, classes_by_dataset={"b": own, "d": own, "c": own}) == (
        "data.classes_by_dataset has c, d, but the data sets in data.path are a, b. Use these names."
    )
    read(classes_by_dataset={"b": own})
    assert [read_mask(HERE.raw / f"masks/{name}_x.png").tolist() for name in "ab"] == [[[0, 0, 0, 1, 1, 1]] * 4] * 2


def test_other_mask_values_can_be_colors(read: Read, both: Path) -> None:
    write_set(both / "a", "x")
    write_set(both / "b", "x")
    Image.new("RGB", (6, 4), "#ff0000").save(both / "b/masks/x.png")

    read(classes_by_dataset={"b": {"skin": "#000000", "lesion": "#ff0000"}})

    assert read_mask(HERE.raw / "masks/b_x.png").min() == 1


def test_predefined_splits_that_differ_are_refused(read: Read, both: Path) -> None:
    write_set(both / "a", "x")
    for part in ("train", "test"):
        write_set(both / "b" / part, part)
    write_set(both / "c", "y", "z")
    (both / "c/labels.csv").write_text("image_id,fold\ny,0\nz,1\n")

    assert problem(read) == (
        "Data sets are split together, but their predefined splits differ: a (none), b (split), c (fold). Set "
        "data.split_folders to ignore if folders give a split. Otherwise rename the columns split and fold, or add one "
        "to each table."
    )
    (both / "c/labels.csv").unlink()
    read(split_folders="ignore")
    assert (HERE.raw / "labels.csv").read_text().splitlines()[0] == "image_id,dataset,diagnosis"


def test_splits_and_folds_of_all_data_sets_are_kept(read: Read, both: Path) -> None:
    for name in "ab":
        for part in ("train", "test"):
            write_set(both / name / part, part)

    read()

    assert (HERE.raw / "labels.csv").read_text().splitlines()[1:] == [
        "a_test,a,unlabelled,test",
        "a_train,a,unlabelled,train",
        "b_test,b,unlabelled,test",
        "b_train,b,unlabelled,train",
    ]


def write_deep(folder: Path, highest: int) -> None:
    """Write a data set with one image of 16 bits per channel."""
    write_set(folder, "x")
    (folder / "images/x.png").write_bytes(png_16_bit(np.full((4, 6, 3), highest, np.uint16)))


def test_white_is_that_of_the_data_set_with_more_than_8_bits(read: Read, both: Path) -> None:
    """12 bits are in use, so white is 4095. The images of the other data set have 8 bits, so white is 255 there."""
    write_set(both / "a", "x")
    write_deep(both / "b", 4000)

    read(reading__image_alpha="black")

    assert json.loads((HERE.raw / "reading.json").read_text()) == {"white": 4095, "image_alpha": "black"}
    assert read_decisions(HERE)[1] == Decision(
        "b: Images with 12 of 16 bits in use, white is 4095", ["b_x"], "data.reading.white"
    )


def test_different_whites_are_refused(read: Read, both: Path) -> None:
    write_deep(both / "a", 4000)
    write_deep(both / "b", 60000)

    assert problem(read) == (
        "Data sets have different values of white: a (4095), b (65535), but new images are read with one. Set "
        "data.reading.white to it."
    )
    read(reading__white=65535)


HINT = "If they are, set data.datasets to subfolders"


def test_data_sets_that_can_not_be_read_as_one_are_an_error_with_a_hint(read: Read, both: Path) -> None:
    for name in ("a", "b"):
        write_set(both / name, f"{name}1")
        (both / name / "labels.csv").write_text(f"image_id\n{name}1\n")

    assert problem(read, datasets="one") == (
        "a/labels.csv, b/labels.csv could each be the table with the labels. Write the rows of all into one "
        "labels.csv, or set data.columns.image, diagnosis or group to a column that only one of them has. a, b look "
        f"like data sets of their own. {HINT}."
    )


def test_archives_with_the_same_paths_are_an_error_with_a_hint(read: Read, both: Path) -> None:
    """a.zip and b.zip have an image x each, and c.zip has another one."""
    for name, image in (("a", "x"), ("b", "x"), ("c", "y")):
        write_set(Path(name), image)
        shutil.make_archive(str(both / name), "zip", name)

    assert problem(read, datasets="one") == (
        "Each image and each mask must be one file. Keep one of images/x.png and images/x.png, masks/x.png and "
        f"masks/x.png. a.zip, b.zip look like data sets of their own. {HINT}."
    )


def test_data_sets_that_can_be_read_as_one_are_counted(read: Read, both: Path) -> None:
    """In the layout of HAM10000, the files of PH2 are neither images nor masks."""
    write_ham(both / "HAM")
    write_ph2(both / "PH2")

    read(datasets="one")

    assert len((HERE.raw / "labels.csv").read_text().splitlines()) == 1 + 3
    assert read_decisions(HERE)[-1] == Decision(
        f"Folders that look like data sets of their own, read as one. {HINT}", ["HAM", "PH2"], "data.datasets"
    )


@pytest.mark.parametrize("names", [("a", "b"), ("train", "test")])
def test_folders_with_one_layout_are_not_data_sets_of_their_own(read: Read, both: Path, names: tuple[str, str]) -> None:
    """Folders of patients, and those of a split, lose nothing when they are read as one."""
    for name in names:
        write_set(both / name, f"{name}1")

    read(datasets="one", split_folders="ignore")

    assert "data.datasets" not in (HERE.raw / "decisions.csv").read_text()
