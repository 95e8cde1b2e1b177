"""Images and masks are resized, measured and checked. Expected values are computed by hand."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from naevi.errors import UserError
from naevi.files import read_csv
from naevi.images.files import VOID, pixel_sha256, read_image, read_mask, write_mask
from tests.preprocessing.raw_data import LEFT, NOISE, noise, prepare_all, prepare_raw, settings_with, write_raw


def test_the_image_table_describes_the_native_images_in_the_order_of_the_labels(tmp_path: Path) -> None:
    workspace = write_raw(tmp_path, {"b": (NOISE, LEFT), "a": (NOISE[:2, ::-1], 1 - LEFT[:2])})

    table = prepare_raw(workspace)

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


def test_lesions_that_touch_the_frame_and_dark_corners_are_detected(tmp_path: Path) -> None:
    """20 x 20 px: a lesion in the middle and one in the last row. Dark corners of one pixel, or none."""
    inside, below = np.zeros((2, 20, 20), np.uint8)
    inside[1:19, 1:19] = below[19, 10] = 1
    bright, corners = np.full((2, 20, 20, 3), 200, np.uint8)
    corners[0, 0] = corners[19, 0] = 70
    corners[0, 19] = 90

    table = prepare_raw(write_raw(tmp_path, {"a": (bright, inside), "b": (corners, below)}), size=20)

    assert table.touches_frame.tolist() == [False, True]
    assert table.dark_corners.tolist() == [0, 2]


def test_the_prepared_images_are_squares_and_the_table_has_their_hash(tmp_path: Path) -> None:
    workspace = write_raw(tmp_path, {"a": (NOISE, LEFT)})
    table = prepare_raw(workspace)
    image = read_image(workspace.prepared / "images" / "a.png")
    mask = read_mask(workspace.prepared / "masks" / "a.png")

    assert image.shape == (4, 4, 3)
    assert mask.tolist() == [[1, 0, 0, 0]] * 4
    assert table.sha256.tolist() == [hashlib.sha256((pixel_sha256(image) + pixel_sha256(mask)).encode()).hexdigest()]


def test_preparing_twice_gives_equal_tables(tmp_path: Path) -> None:
    workspace = write_raw(tmp_path, {name: (noise(), LEFT) for name in "abcdefgh"})

    assert prepare_raw(workspace).equals(prepare_raw(workspace))


def test_the_table_and_the_images_are_in_one_folder_that_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    workspace = write_raw(tmp_path, {"007": (NOISE, LEFT)})
    table = prepare_raw(workspace)
    folder = workspace.prepared

    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "images/007.png",
        "lesions.csv",
        "masks/007.png",
    ]
    assert read_csv(folder / "lesions.csv").equals(table)

    before = (folder / "lesions.csv").read_bytes()
    write_mask(workspace.raw / "masks" / "007.png", LEFT * 0)
    with pytest.raises(UserError):
        prepare_raw(workspace)
    assert (folder / "lesions.csv").read_bytes() == before


def test_masks_may_have_several_classes(tmp_path: Path) -> None:
    """Four of 8 columns are class 1 and two are class 2. Each pixel of the result covers two columns."""
    mask = np.repeat(np.array([[1, 1, 2, 2, 1, 1, 0, 0]], np.uint8), 4, axis=0)

    workspace = write_raw(tmp_path, {"a": (NOISE, mask)})
    table = prepare_raw(workspace, classes=3)

    assert read_mask(workspace.prepared / "masks" / "a.png").tolist() == [[1, 2, 1, 0]] * 4
    assert table.lesion_fraction.tolist() == [0.75]


@pytest.mark.parametrize(("column", "values"), [("split", ["test", "train"]), ("fold", [1, 0])])
def test_the_split_in_the_labels_is_kept(tmp_path: Path, column: str, values: list[str] | list[int]) -> None:
    table = prepare_raw(write_raw(tmp_path, {"a": (noise(), LEFT), "b": (noise(), LEFT)}, **{column: values}))

    assert table.columns.tolist()[3:6] == ["group", column, "height"]
    assert table[column].tolist() == values


def test_a_mask_with_another_size_than_its_image_is_an_error(tmp_path: Path) -> None:
    workspace = write_raw(tmp_path, {"a": (NOISE, LEFT[:, :6])})

    with pytest.raises(UserError) as error:
        prepare_raw(workspace)
    assert str(error.value) == (
        "An image and its mask must have the same size. a is 8x4 px, its mask 6x4 px. Fix them or remove them."
    )


def test_empty_masks_are_an_error_unless_they_are_kept(tmp_path: Path) -> None:
    masks = {"a": LEFT * 0, "b": LEFT, "c": LEFT * 0}
    workspace = write_raw(tmp_path, {name: (noise(), mask) for name, mask in masks.items()})

    with pytest.raises(UserError) as error:
        prepare_raw(workspace)
    assert str(error.value) == (
        "2 mask(s) contain only background: a, c. "
        "Set preprocess.empty_masks to keep, fix the masks, or remove them and their images."
    )
    assert prepare_raw(workspace, empty_masks="keep").lesion_fraction.tolist() == [0, 0.25, 0]


@pytest.mark.parametrize("empty_masks", ["refuse", "keep"])
def test_only_empty_masks_are_an_error(tmp_path: Path, empty_masks: str) -> None:
    workspace = write_raw(tmp_path, {name: (noise(), LEFT * 0) for name in "ab"})

    with pytest.raises(UserError) as error:
        prepare_raw(workspace, empty_masks=empty_masks)
    assert str(error.value) == (
        "All 2 masks contain only background, the smallest value of data.classes. Fix the masks or data.classes."
    )


@pytest.mark.parametrize("subfolder", ["images", "masks"])
def test_a_missing_file_is_an_error(tmp_path: Path, subfolder: str) -> None:
    workspace = write_raw(tmp_path, {"a": (NOISE, LEFT)})
    (workspace.raw / subfolder / "a.png").unlink()

    with pytest.raises(
        UserError, match=rf"^can't read or write .*/{subfolder}/a\.png: No such file or directory\. Please restore"
    ):
        prepare_raw(workspace)


def test_the_fraction_is_zero_only_for_an_empty_mask(tmp_path: Path) -> None:
    """1 of 3,000,000 pixels is 0.0000003, which six digits can't show."""
    one = np.zeros((1500, 2000), np.uint8)
    one[700, 700] = 1
    image = np.zeros((1500, 2000, 3), np.uint8)
    workspace = write_raw(tmp_path, {"one": (image, one), "none": (image, one * 0)})

    assert prepare_raw(workspace, empty_masks="keep").lesion_fraction.tolist() == [1e-6, 0]


def test_pixels_without_a_known_class_are_neither_lesion_nor_background(tmp_path: Path) -> None:
    """Of 8 x 4 px, half are unknown, with the whole border but four pixels; 6 of the other 16 are lesion."""
    mask = np.zeros((4, 8), np.uint8)
    mask[[0, 3]] = VOID
    mask[1:3, 2:5] = 1
    workspace = write_raw(tmp_path, {"a": (NOISE, mask)})

    table = prepare_raw(workspace)

    assert table[["lesion_fraction", "touches_frame"]].to_numpy().tolist() == [[6 / 16, False]]
    assert set(np.unique(read_mask(workspace.prepared / "masks" / "a.png"))) == {0, 1, VOID}


def test_the_pixels_for_the_review_are_smaller_in_large_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The left quarter of the mask is foreground; a void pixel isn't."""
    void = LEFT.copy()
    void[:, 0] = VOID
    workspace = write_raw(tmp_path, {"a": (np.full((4, 8, 3), 9, np.uint8), LEFT), "b": (NOISE, void)})
    settings = settings_with(size=64, near_duplicates="off")
    few = prepare_all(workspace, settings).reviewed
    monkeypatch.setattr("naevi.preprocessing.prepare.MANY", 1)
    many = prepare_all(workspace, settings).reviewed

    for pixels, side in ((few, 64), (many, 32)):
        assert pixels.shape == (2, side, side, 4)
        assert (pixels[0, ..., :3] == 9).all()
        assert np.flatnonzero(pixels[0, 0, :, 3]).tolist() == list(range(side // 4))
        assert np.flatnonzero(pixels[1, 0, :, 3]).tolist() == list(range(side // 8, side // 4))
    assert np.array_equal(few[1, ..., :3], read_image(workspace.prepared / "images/b.png"))
