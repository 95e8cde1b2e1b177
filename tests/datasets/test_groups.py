"""Folders of images as groups."""

import pandas as pd
import pytest

from naevi.datasets.groups import UNCLEAR, USED, group_by_folders
from naevi.errors import UserError
from naevi.tables import Decision

PATIENTS = {"a": "mine/p1/images/a.png", "b": "mine/p1/images/b.png", "c": "mine/p2/images/c.png", "d": "mine/d.png"}


def table(paths: dict[str, str], **columns: str) -> pd.DataFrame:
    return pd.DataFrame({"image_id": sorted(paths), "diagnosis": "x"} | columns)


def test_the_folder_of_a_patient_is_a_group() -> None:
    labels, decisions = group_by_folders(table(PATIENTS), PATIENTS, "use")

    assert labels.to_dict("list") == {
        "image_id": ["a", "b", "c", "d"],
        "diagnosis": ["x"] * 4,
        "group": ["p1", "p1", "p2", "only d"],
    }
    assert decisions == [Decision(USED, ["p1", "p2"], "data.group_folders")]


def test_folders_that_could_be_groups_are_named() -> None:
    labels, decisions = group_by_folders(table(PATIENTS), PATIENTS, "ignore")

    assert list(labels) == ["image_id", "diagnosis"]
    assert decisions == [Decision(UNCLEAR, ["p1", "p2"], "data.group_folders")]


@pytest.mark.parametrize(
    ("paths", "columns"),
    [
        (["images/a.png", "images/b.png"], {}),
        (["train/images/a.png", "test/images/b.png", "test/images/c.png"], {}),
        (["x/images/x.png", "y/images/y.png"], {}),  # a folder for each image
        (["p1/a.png", "p1/b.png", "p2/c.png"], {"group": "g"}),
        (["p1/a.png", "p1/b.png", "p2/c.png"], {"split": "train"}),
    ],
)
def test_other_folders_are_not_named(paths: list[str], columns: dict[str, str]) -> None:
    by_id = {path.rpartition("/")[2]: path for path in paths}

    assert group_by_folders(table(by_id, **columns), by_id, "ignore")[1] == []


def test_a_name_like_a_formula_is_no_formula() -> None:
    paths = {"a": "=1/a.png", "b": "=2/b.png"}

    assert group_by_folders(table(paths), paths, "use")[0].group.tolist() == ["_=1", "_=2"]


@pytest.mark.parametrize(
    ("paths", "columns", "message"),
    [
        (
            PATIENTS,
            {"group": "g"},
            "data.group_folders is use, but your table has groups, too. Set data.columns.group to none, or "
            "data.group_folders to ignore.",
        ),
        (
            {"a": "images/a.png", "b": "images/b.png"},
            {},
            "data.group_folders is use, but all images are in one folder. Set it to ignore.",
        ),
    ],
)
def test_folders_that_cannot_be_groups_are_an_error(
    paths: dict[str, str], columns: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as error:
        group_by_folders(table(paths, **columns), paths, "use")

    assert str(error.value) == message
