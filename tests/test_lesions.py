"""The table of lesions by hand, what is refused, and which images belong together."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from naevi import lesions, tables
from naevi.config import DataConfig, PhantomsConfig, PreprocessConfig
from naevi.images import Pixels, pixel_sha256, read_image, read_mask, write_image, write_mask
from naevi.refusal import Refusal

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (4, 8, 3), dtype=np.uint8)
LEFT = np.repeat(np.array([[1, 1, 0, 0, 0, 0, 0, 0]], np.uint8), 4, axis=0)  # a quarter of 4 x 8
SPAN = ("lowest", "median", "highest")


def write_raw(folder: Path, pairs: dict[str, tuple[Pixels, Pixels]], **columns: list[str] | list[int]) -> Path:
    """data/raw with these images and masks, all of them common nevi, and more columns in labels.csv."""
    for part in ("images", "masks"):
        (folder / "raw" / part).mkdir(parents=True)
    for image_id, (image, mask) in pairs.items():
        write_image(folder / "raw" / "images" / f"{image_id}.png", image)
        write_mask(folder / "raw" / "masks" / f"{image_id}.png", mask)
    labels = pd.DataFrame({"image_id": list(pairs), "diagnosis": "common"} | columns)
    labels.to_csv(folder / "raw" / "labels.csv", index=False)
    return folder / "raw"


def noise() -> Pixels:
    """Another picture each time, 8 x 4 px."""
    return RNG.integers(0, 256, (4, 8, 3), dtype=np.uint8)


def settings(size: int, classes: int, empty_masks: str) -> tuple[DataConfig, PreprocessConfig]:
    """As if it were PH2, but for the number of classes."""
    phantoms = PhantomsConfig(number=1, height=64, width=64, seed=0)
    data = DataConfig(source="ph2", classes={f"class {value}": value for value in range(classes)}, phantoms=phantoms)
    # Smaller than params.yaml may have it, so that masks can be drawn.
    return data, PreprocessConfig.model_construct(size=size, empty_masks=empty_masks)


def prepare(raw: Path, size: int = 4, classes: int = 2, empty_masks: str = "refuse") -> pd.DataFrame:
    """The table; pictures go beside the raw ones."""
    return lesions.prepare(raw, raw.parent / "prepared", *settings(size, classes, empty_masks))


def test_the_table_tells_of_the_native_images_in_the_order_of_the_labels(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, {"b": (NOISE, LEFT), "a": (NOISE[:2, ::-1], 1 - LEFT[:2])})

    table = prepare(raw)

    assert table.drop(columns="sha256").to_dict("records") == [
        {
            "image_id": "b",
            "dataset": "ph2",
            "diagnosis": "common",
            "group": "b",
            "height": 4,
            "width": 8,
            "lesion_fraction": 0.25,
            "touches_frame": True,
            "dark_corners": 0,
        },
        {
            "image_id": "a",
            "dataset": "ph2",
            "diagnosis": "common",
            "group": "a",
            "height": 2,
            "width": 8,
            "lesion_fraction": 0.75,
            "touches_frame": True,
            "dark_corners": 0,
        },
    ]


def test_lesions_that_touch_the_frame_and_corners_that_are_dark_are_told(tmp_path: Path) -> None:
    """20 x 20 px: a lesion in the middle and one at the last row; black corners of a pixel, or none."""
    inside, below = np.zeros((2, 20, 20), np.uint8)
    inside[1:19, 1:19] = below[19, 10] = 1
    bright, corners = np.full((2, 20, 20, 3), 200, np.uint8)
    corners[0, 0] = corners[19, 0] = 70
    corners[0, 19] = 90

    table = prepare(write_raw(tmp_path, {"a": (bright, inside), "b": (corners, below)}), size=20)

    assert table.touches_frame.tolist() == [False, True]
    assert table.dark_corners.tolist() == [0, 2]


def test_the_overview_by_hand(tmp_path: Path) -> None:
    """Two lesions of a quarter and one of a half; and two pictures are the same."""
    half = np.array([[1, 1, 1, 1, 0, 0, 0, 0]] * 4, np.uint8)
    pictures = {"a": (NOISE, LEFT), "b": (NOISE, half), "c": (noise(), LEFT)}
    write_raw(tmp_path, pictures, diagnosis=["x", "y", "x"])
    prepare(tmp_path / "raw")

    found = lesions.overview(tmp_path / "prepared")

    size = {"height": dict.fromkeys(SPAN, 4), "width": dict.fromkeys(SPAN, 8)}
    assert found == {
        "images": 3,
        "near_duplicates": 1,
        "all": {"images": 3, "touches_frame": 3, "dark_corners": 0}
        | size
        | {"lesion_fraction": {"lowest": 0.25, "median": 0.25, "highest": 0.5}},
        "by_diagnosis": {
            name: {"images": number, "touches_frame": number, "dark_corners": 0}
            | size
            | {"lesion_fraction": dict.fromkeys(SPAN, area)}
            for name, number, area in (("x", 2, 0.25), ("y", 1, 0.5))
        },
    }


def test_the_prepared_pictures_are_squares_that_the_table_has_the_hash_of(tmp_path: Path) -> None:
    table = prepare(write_raw(tmp_path, {"a": (NOISE, LEFT)}))
    image = read_image(tmp_path / "prepared" / "images" / "a.png")
    mask = read_mask(tmp_path / "prepared" / "masks" / "a.png")

    assert image.shape == (4, 4, 3)
    assert mask.tolist() == [[1, 0, 0, 0]] * 4
    assert table.sha256.tolist() == [hashlib.sha256((pixel_sha256(image) + pixel_sha256(mask)).encode()).hexdigest()]


def test_preparing_twice_gives_equal_tables(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, {name: (noise(), LEFT) for name in "abcdefgh"})

    assert prepare(raw).equals(prepare(raw))


def test_the_table_and_the_pictures_lie_in_one_folder_that_is_replaced_whole(tmp_path: Path) -> None:
    table = prepare(write_raw(tmp_path, {"007": (NOISE, LEFT)}))
    folder = tmp_path / "prepared"

    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "images/007.png",
        "lesions.csv",
        "masks/007.png",
        "near_duplicates.csv",
    ]
    assert tables.read(folder / "lesions.csv").equals(table)

    before = (folder / "lesions.csv").read_bytes()
    with pytest.raises(Refusal):
        prepare(write_raw(tmp_path / "2", {"a": (NOISE, LEFT * 0)}))
    with pytest.raises(Refusal):
        lesions.prepare(tmp_path / "2" / "raw", folder, *settings(4, 2, "refuse"))
    assert (folder / "lesions.csv").read_bytes() == before


def test_masks_may_have_several_classes(tmp_path: Path) -> None:
    """Of 8 columns, 4 are class 1 and 2 are class 2; each pixel takes two."""
    mask = np.repeat(np.array([[1, 1, 2, 2, 1, 1, 0, 0]], np.uint8), 4, axis=0)

    table = prepare(write_raw(tmp_path, {"a": (NOISE, mask)}), classes=3)

    assert read_mask(tmp_path / "prepared" / "masks" / "a.png").tolist() == [[1, 2, 1, 0]] * 4
    assert table.lesion_fraction.tolist() == [0.75]


@pytest.mark.parametrize(("column", "values"), [("split", ["test", "train"]), ("fold", [1, 0])])
def test_what_labels_say_of_the_split_stays_with_the_images(
    tmp_path: Path, column: str, values: list[str] | list[int]
) -> None:
    table = prepare(write_raw(tmp_path, {"a": (noise(), LEFT), "b": (noise(), LEFT)}, **{column: values}))

    assert table.columns.tolist()[3:6] == ["group", column, "height"]
    assert table[column].tolist() == values


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    raw = write_raw(tmp_path, {"a": (NOISE, LEFT[:, :6])})

    with pytest.raises(Refusal, match=r"^An image and its mask have one size; a is 8x4 px, its mask 6x4 px\.$"):
        prepare(raw)


def test_empty_masks_are_refused_unless_they_are_kept(tmp_path: Path) -> None:
    masks = {"a": LEFT * 0, "b": LEFT, "c": LEFT * 0}
    raw = write_raw(tmp_path, {name: (noise(), mask) for name, mask in masks.items()})

    with pytest.raises(Refusal) as refusal:
        prepare(raw)
    assert str(refusal.value) == (
        "2 mask(s) hold nothing but the background: a, c; "
        "set preprocess.empty_masks to keep, mend them, or take them out with their images."
    )
    assert prepare(raw, empty_masks="keep").lesion_fraction.tolist() == [0, 0.25, 0]


@pytest.mark.parametrize("empty_masks", ["refuse", "keep"])
def test_masks_that_are_all_empty_are_refused(tmp_path: Path, empty_masks: str) -> None:
    raw = write_raw(tmp_path, {name: (noise(), LEFT * 0) for name in "ab"})

    with pytest.raises(Refusal) as refusal:
        prepare(raw, empty_masks=empty_masks)
    assert str(refusal.value) == (
        "all 2 masks hold nothing but the background, the smallest value of data.classes; mend them or data.classes."
    )


@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_missing_file_is_refused(tmp_path: Path, part: str) -> None:
    raw = write_raw(tmp_path, {"a": (NOISE, LEFT)})
    (raw / part / "a.png").unlink()

    with pytest.raises(Refusal, match=f"{part}/a.png can't be read as an image: .*No such file"):
        prepare(raw)


def test_a_chain_of_near_duplicates_is_one_group_named_after_its_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Patterns at 0, 8 and 16 degrees correlate by cos 8 = .990 with the next, by cos 16 = .961 end to end."""
    across, along, other = RNG.choice([-1, 1], (3, 32, 32, 1))
    mask = np.ones((32, 32), np.uint8)

    def turned(degrees: int) -> Pixels:
        angle = np.radians(degrees)
        grey = 128 + 80 * (np.cos(angle) * across + np.sin(angle) * along)
        return np.repeat(grey.round().astype(np.uint8), 3, axis=2)

    other = np.repeat((128 + 80 * other).astype(np.uint8), 3, axis=2)
    pictures = {"far": turned(16), "other": other, "start": turned(0), "between": turned(8)}

    table = prepare(write_raw(tmp_path, {name: (image, mask) for name, image in pictures.items()}), size=32)
    told = capsys.readouterr().out
    without = prepare(write_raw(tmp_path / "2", {name: (pictures[name], mask) for name in ("far", "start")}), size=32)

    assert table.group.tolist() == ["far", "other", "far", "far"]
    listed = tmp_path / "prepared" / "near_duplicates.csv"
    pairs = pd.read_csv(listed)
    assert pairs[["first", "second"]].values.tolist() == [["far", "between"], ["start", "between"]]
    assert pairs.correlation.tolist() == pytest.approx([0.990, 0.990], abs=0.002)
    assert told == f"naevi: 2 pair(s) of near-duplicate images stay in one part; {listed} lists them.\n"

    assert without.group.tolist() == ["far", "start"]
    assert (tmp_path / "2" / "prepared" / "near_duplicates.csv").read_text() == "first,second,correlation\n"
    assert capsys.readouterr().out == ""


def test_groups_of_the_labels_and_near_duplicates_are_one(tmp_path: Path) -> None:
    """One patient has a and b, c is a copy of b, the next has d, the last e and f."""
    pictures = {name: noise() for name in "abcdef"}
    pictures["c"] = pictures["b"]
    raw = write_raw(
        tmp_path,
        {name: (image, LEFT) for name, image in pictures.items()},
        group=["007", "007", "8", "7", "NA", "NA"],
    )

    assert prepare(raw).group.tolist() == ["a", "a", "a", "d", "e", "e"]
