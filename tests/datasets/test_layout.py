"""Folders named train, val and test are a predefined split, and equal names in them are different images."""

import pytest

from naevi.datasets.layout import folder_split, given_parts, part_of, unique_ids
from naevi.errors import UserError
from naevi.tables import Decision

PARAMETER = "data.split_folders"


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("train/images/x.png", "train"),
        ("images/Training/x.png", "train"),
        ("images/train/left/x.png", "train"),
        ("mine\\TEST\\images\\x.png", "test"),
        ("valid/x.png", "val"),
        ("validation/masks/x.png", "val"),
        ("test/train/x.png", "train"),  # the innermost folder
        ("holdout/images/train.png", "test"),
        ("images/test.png", ""),
        ("my train/images/x.png", ""),
        ("training_set/x.png", ""),
    ],
)
def test_a_folder_with_the_name_of_a_part_is_that_part(path: str, part: str) -> None:
    assert part_of(path) == part


def test_an_image_and_its_mask_get_one_id() -> None:
    """The mask may be in the folder of the same part, or one of them in no such folder."""
    images = [("train", "a"), ("test", "b"), ("", "c"), ("", "d")]
    masks = [("train", "a"), ("", "b"), ("val", "c"), ("", "d")]

    ids, decisions = unique_ids(images, masks)

    assert [ids[key] for key in images] == [ids[key] for key in masks] == ["a", "b", "c", "d"]
    assert decisions == []


def test_equal_names_in_several_parts_begin_with_the_part() -> None:
    images = [("train", "1"), ("test", "1"), ("", "1"), ("train", "2")]

    ids, decisions = unique_ids(images, [*images])

    assert [ids[key] for key in images] == ["train_1", "test_1", "1", "2"]
    text = "Images with the same name in several of the folders train, val and test, whose ids begin with the folder"
    assert decisions == [Decision(text, ["test_1", "train_1"], PARAMETER)]


@pytest.mark.parametrize(
    ("images", "masks", "image_ids", "mask_ids"),
    [
        ([("train", "1")], [("test", "1")], ["train_1"], ["test_1"]),
        ([("train", "1")], [("train", "1"), ("", "1")], ["train_1"], ["train_1", "1"]),
        ([("train", "1"), ("test", "1")], [("", "1")], ["train_1", "test_1"], ["1"]),
    ],
)
def test_a_mask_of_another_part_has_another_id(
    images: list[tuple[str, str]], masks: list[tuple[str, str]], image_ids: list[str], mask_ids: list[str]
) -> None:
    ids, _ = unique_ids(images, masks)

    assert [ids[key] for key in images] == image_ids
    assert [ids[key] for key in masks] == mask_ids


def test_an_id_that_another_file_has_as_its_name_is_an_error() -> None:
    keys = [("train", "1"), ("test", "1"), ("", "train_1")]

    with pytest.raises(UserError) as error:
        unique_ids(keys, keys)
    assert str(error.value) == (
        "Images with the same name in several of the folders train, val and test get the ids train_1, which are the "
        "names of other images. Rename one of each."
    )


def test_folders_of_parts_are_a_given_split() -> None:
    paths = {"a": "train/images/a.png", "b": "val/images/b.png", "c": "test/images/c.png", "d": "train/images/d.png"}
    parts = {"a": "train", "b": "val", "c": "test", "d": "train"}

    assert given_parts(paths) == parts
    assert folder_split(paths, "use", None) == (
        parts,
        [Decision("Images in folders train (2) and val (1) and test (1), used as the split", [*"abcd"], PARAMETER)],
    )


@pytest.mark.parametrize(
    ("folders", "split_folders", "column", "outcome"),
    [
        (
            ["train", "test", "."],
            "use",
            None,
            "1) and test (1), not used as the split, because 1 image(s) are in none of them",
        ),
        (
            ["train", "val", "val"],
            "use",
            None,
            "1) and val (2), not used as the split, because there is no folder test",
        ),
        (
            ["val", "test", "val"],
            "use",
            None,
            "2) and test (1), not used as the split, because there is no folder train",
        ),
        (["train", "test", "test"], "ignore", None, "1) and test (2), not used as the split"),
        (
            ["train", "test", "test"],
            "use",
            "fold",
            "1) and test (2), not used as the split, because the table has a column fold",
        ),
    ],
)
def test_folders_that_are_not_used_are_counted(
    folders: list[str], split_folders: str, column: str | None, outcome: str
) -> None:
    paths = {name: f"images/{folder}/{name}.png" for name, folder in zip("abc", folders, strict=True)}

    parts, [decision] = folder_split(paths, split_folders, column)

    assert parts == {}
    assert decision.decision.endswith(outcome)
    assert decision.ids == [name for name, folder in zip("abc", folders, strict=True) if folder != "."]
    assert decision.parameter == PARAMETER


@pytest.mark.parametrize("folder", ["train", "images", "all/train"])
def test_one_folder_for_all_images_divides_nothing(folder: str) -> None:
    assert folder_split({"a": f"{folder}/a.png", "b": f"{folder}/b.png"}, "use", None) == ({}, [])
