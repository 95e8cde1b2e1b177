"""A user's own images: which files count, what is written, and every way in which they can fail to fit together."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from naevi import folders, tables
from naevi.images import SUFFIXES, read_image, read_mask
from naevi.refusal import Refusal

File = tuple[str, str, bytes]
VALUES = [0, 255]
SUFFIX_LIST = ", ".join(SUFFIXES)


def picture(pixels: Any, kind: str = "PNG") -> bytes:
    """The bytes of a file."""
    content = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(content, kind)
    return content.getvalue()


IMAGE = picture([[[1, 2, 3], [4, 5, 6]]])  # 2 wide, 1 high
MASK = picture([[0, 255]])


def pair(image_id: str) -> list[File]:
    """An image and its mask."""
    return [("images", f"images/{image_id}.png", IMAGE), ("masks", f"masks/{image_id}.png", MASK)]


def labels(text: str | bytes) -> File:
    """A labels.csv."""
    return ("labels", "labels.csv", text if isinstance(text, bytes) else text.encode())


def refused(folder: Path, *files: File, values: list[int] = VALUES) -> str:
    """The words of the refusal."""
    with pytest.raises(Refusal) as refusal:
        folders.collect(files, folder, values)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("images/a.png", "images"),
        ("mine/Masks/left/a.png", "masks"),
        ("/home/images/mine/masks/a.txt", "masks"),
        ("masks/images/a.png", "images"),
        ("labels.csv", "labels"),
        ("mine/images/Labels.CSV", "labels"),
        ("images/other.csv", "images"),
        ("images", ""),
        ("readme.txt", ""),
        ("my images/a.png", ""),
        ("mylabels.csv", ""),
    ],
)
def test_the_last_folder_of_a_path_says_what_a_file_is(name: str, part: str) -> None:
    assert folders.part(name) == part
    assert folders.wanted(name) == (part != "")


def test_images_and_masks_are_written_by_their_ids(tmp_path: Path) -> None:
    """In whatever order they come, in whatever format, with ISIC's names of masks."""
    files = [
        ("masks", "masks/007_segmentation.bmp", picture([[255, 0]], "BMP")),
        ("images", "images/x.y.TIF", picture([[[7, 8, 9]] * 2], "TIFF")),
        ("images", "images/007.bmp", picture([[[1, 2, 3], [4, 5, 6]]], "BMP")),
        ("masks", "masks/x.y_Lesion.png", MASK),
    ]

    table = folders.collect(iter(files), tmp_path, VALUES)

    assert table.to_dict("list") == {"image_id": ["007", "x.y"], "diagnosis": ["unlabelled"] * 2}
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "images/007.png",
        "images/x.y.png",
        "masks/007.png",
        "masks/x.y.png",
    ]
    assert read_image(tmp_path / "images" / "007.png").tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert read_mask(tmp_path / "masks" / "007.png").tolist() == [[1, 0]]
    assert read_mask(tmp_path / "masks" / "x.y.png").tolist() == [[0, 1]]


def test_masks_hold_the_values_of_their_classes(tmp_path: Path) -> None:
    files = [("images", "images/a.png", IMAGE), ("masks", "masks/a.png", picture([[90, 40]]))]

    folders.collect(files, tmp_path, [10, 40, 90])

    assert read_mask(tmp_path / "masks" / "a.png").tolist() == [[2, 1]]


@pytest.mark.parametrize("name", ["_mask", "a_masks", "a_mask_2", "mask"])
def test_only_an_ending_after_a_name_is_dropped(tmp_path: Path, name: str) -> None:
    assert folders.collect(pair(name), tmp_path, VALUES).image_id.tolist() == [name]


def test_an_umlaut_of_a_mac_is_an_umlaut(tmp_path: Path) -> None:
    """U and two dots are one letter or two characters."""
    files = [("images", "images/u\u0308.png", IMAGE), ("masks", "masks/\u00fc.png", MASK)]

    table = folders.collect([*files, labels("image_id,class\nu\u0308.png,\u00fc\n")], tmp_path, VALUES)

    assert table.to_dict("list") == {"image_id": ["\u00fc"], "diagnosis": ["\u00fc"]}


def test_a_folder_without_images_is_told_the_layout(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        "no images were found; put them into a folder images/, their masks with the same names into masks/ beside it, "
        "and labels.csv, if any, beside both."
    )


def test_images_and_masks_without_the_other_are_named(tmp_path: Path) -> None:
    lonely = [pair(name)[0] for name in "ca"] + [pair("b_mask")[1]]
    rule = (
        "a mask in masks/ has the name of its image in images/, whatever their formats "
        "(_segmentation, _mask or _lesion may follow)."
    )

    assert refused(tmp_path, *lonely, *pair("d")) == f"there is no mask for a, c and no image for b; {rule}"
    assert refused(tmp_path, *lonely[:2]) == f"there is no mask for a, c; {rule}"
    assert refused(tmp_path, lonely[2], *pair("d")) == f"there is no image for b; {rule}"
    many = [pair(f"{number:02}")[0] for number in range(11)]
    assert "for 00, 01, 02, 03, 04, 05, 06, 07, 08, 09, …; " in refused(tmp_path, *many)


def test_two_files_for_one_are_named(tmp_path: Path) -> None:
    doubles = [
        *pair("a"),
        ("images", "more/images/a.jpg", IMAGE),
        ("masks", "masks/a_mask.png", MASK),
        labels("image_id\na\n"),
        ("labels", "more/labels.csv", b"image_id\na\n"),
    ]

    assert refused(tmp_path, *doubles) == (
        "each image and each mask has one file, and labels.csv is one; keep one of images/a.png and more/images/a.jpg, "
        "masks/a.png and masks/a_mask.png, labels.csv and more/labels.csv."
    )


def test_files_that_are_no_pictures_are_listed(tmp_path: Path) -> None:
    spoilt = [
        ("images", "images/readme.txt", b"hello"),
        ("images", "images/text.jpg", b"hello"),
        ("images", "images/line\nbreak.png", IMAGE),
        ("masks", "masks/red.png", picture([[[255, 0, 0]]])),
        ("masks", f"masks/{99 * 'ü'}.png", IMAGE),
    ]

    assert refused(tmp_path, *pair("a"), *pair(98 * "ü"), *spoilt).split("\n") == [
        "5 file(s) can't be used as images or masks:",
        f"  images/readme.txt doesn't end like a picture ({SUFFIX_LIST}); take it out.",
        "  images/text.jpg can't be read as an image: its format is unknown.",
        r"  'images/line\nbreak.png' has a character in its name that can't be printed; rename it.",
        "  masks/red.png can't be read as an image: a mask is grey or has a palette, and this one is in color.",
        f"  masks/{99 * 'ü'}.png has a name of more than 200 bytes; shorten it.",
    ]
    many = [("images", f"images/{number}.jpg", b"hello") for number in range(11)]
    assert len(refused(tmp_path, *many).split("\n")) == 12
    assert refused(tmp_path, *many).endswith("\n  …")


def test_values_that_no_class_has_are_told_of_all_masks_at_once(tmp_path: Path) -> None:
    files = [*pair("a"), *pair("b"), *pair("c")]
    files[1] = ("masks", "masks/a.png", picture([[128, 3]]))
    files[3] = ("masks", "masks/b.png", picture([[0, 3]]))

    assert refused(tmp_path, *files) == (
        "2 mask(s) hold values that no class has, 3, 128 in masks/a.png, masks/b.png; data.classes has 0, 255, "
        "so name every value there, or mend the masks."
    )


def test_a_blurred_mask_is_called_so(tmp_path: Path) -> None:
    files = [("images", "images/a.png", picture([[[0] * 3] * 100])), ("masks", "masks/a.png", picture([range(100)]))]

    assert ", 19, 20, … (JPEG and resizing blur masks) in masks/a.png; " in refused(tmp_path, *files)


def test_an_image_and_a_mask_of_different_sizes_are_named(tmp_path: Path) -> None:
    files = [("images", "images/a.png", IMAGE), ("masks", "masks/a.png", picture([[0], [255]])), *pair("b")]

    assert refused(tmp_path, *files) == (
        "an image and its mask have one size, and these differ: a (2x1 px, its mask 1x2 px); "
        "mend them or take them out."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image_id\n1e3\n007\n", {"diagnosis": ["unlabelled"] * 2}),
        ("image_id,diagnosis\n1e3,NA\n007,b c\n", {"diagnosis": ["b c", "NA"]}),
        ("label,image_id\nx,1e3.JPG\ny,007.png\n", {"diagnosis": ["y", "x"]}),
        ("image_id,class,group\n1e3,x,007\n007,x,7\n", {"diagnosis": ["x", "x"], "group": ["7", "007"]}),
        ("image_id,split\n1e3,train\n007,test\n", {"diagnosis": ["unlabelled"] * 2, "split": ["test", "train"]}),
        ("image_id,fold\n1e3,0\n007,1\n", {"diagnosis": ["unlabelled"] * 2, "fold": [1, 0]}),
        # A spreadsheet's mark at the start, blanks, quotes, its ends of lines, and empty lines.
        ('\ufeffimage_id, class\r\n1e3, "x "\r\n\r\n,\r\n007,x\r\n', {"diagnosis": ["x", "x"]}),
    ],
)
def test_labels_are_text_in_the_order_of_the_ids(tmp_path: Path, text: str, expected: dict[str, list[Any]]) -> None:
    table = folders.collect([labels(text), *pair("1e3"), *pair("007")], tmp_path, VALUES)

    assert table.to_dict("list") == {"image_id": ["007", "1e3"]} | expected


def test_columns_that_are_not_used_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = folders.collect([*pair("a"), labels("age,image_id,sex,class\n50,a,f,x\n")], tmp_path, VALUES)

    assert table.to_dict("list") == {"image_id": ["a"], "diagnosis": ["x"]}
    assert capsys.readouterr().out == "naevi: labels.csv has columns that are not used: age, sex.\n"


NO_ID = (
    "labels.csv has no column image_id, but {}; name the one with the images' names so, and put commas between columns."
)
NO_KEY = (
    "labels.csv has diagnoses that can't be keys of reports, {}; one has letters, digits, blanks, _ and -, 50 at most, "
    "and starts with none of the blanks and -."
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\na,x\nb,x\n", NO_ID.format("name, class")),
        ("image_id;class\na;x\nb;x\n", NO_ID.format("image_id;class")),
        ("image_id\na\nb\na.png\n", "labels.csv has more than one row for a; keep one."),
        (
            "image_id\na\nc\n",
            "there is no image for c and no row for b in labels.csv; it has one row for each image, with its name as "
            "image_id.",
        ),
        (
            "image_id,class,label\na,x,x\nb,x,x\n",
            "labels.csv has the columns class, label, of which it takes one; remove the others.",
        ),
        (
            "image_id,split,fold\na,test,0\nb,train,1\n",
            "labels.csv has the columns split, fold, of which it takes one; remove the others.",
        ),
        (
            "image_id,class,group\na,x,1\n\nb,x, \n",
            "labels.csv has no group in line 4; fill every cell, or remove the column.",
        ),
        ("image_id,class\na,x\nb\n", "labels.csv has no diagnosis in line 3; fill every cell, or remove the column."),
        ("image_id,class\na,x\n,y\n", "labels.csv has no image_id in line 3; fill every cell, or remove the column."),
        ("image_id,class\na,x/y\nb,-\n", NO_KEY.format("'x/y', '-'")),
        (
            "image_id,split\na,train\nb,validation\n",
            "labels.csv has validation in split; it takes train, val, test.",
        ),
        ("image_id,fold\na,1\nb,2\n", "labels.csv has 1, 2 in fold; it takes whole numbers from 0 on without gaps."),
        (
            "image_id,fold\na,0\nb,1.0\n",
            "labels.csv has 0, 1.0 in fold; it takes whole numbers from 0 on without gaps.",
        ),
        (
            "image_id,class\na,x,\nb,x,\n",
            "labels.csv has rows with more cells than its first line has names; name every column there.",
        ),
        (
            "image_id\n\u00fc\n".encode("latin-1"),
            "labels.csv is no table in UTF-8 with commas ('utf-8' codec can't decode byte 0xfc in position 9: "
            "invalid start byte); save it as CSV UTF-8.",
        ),
        (
            "",
            "labels.csv is no table in UTF-8 with commas (No columns to parse from file); save it as CSV UTF-8.",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert refused(tmp_path, *pair("a"), *pair("b"), labels(text)) == message


def test_other_stages_read_what_is_returned(tmp_path: Path) -> None:
    table = folders.collect([*pair("007"), labels("image_id,class,group,fold\n007,NA,1e3,0\n")], tmp_path, VALUES)
    table.to_csv(tmp_path / "labels.csv", index=False)

    assert tables.read(tmp_path / "labels.csv").equals(table)
