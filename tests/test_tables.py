"""Every table that one stage passes to another is checked when it is read."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from naevi import tables
from naevi.errors import UserError
from naevi.files import write_csv
from naevi.tables import Decision, decision_table, describe_decisions
from naevi.workspace import Workspace
from tests.conftest import Tiny
from tests.helpers import ROOT

REMEDY = "Restore the file with `dvc checkout` or `git restore`, or write it again with `dvc repro --force`."


@pytest.fixture
def workspace(tiny: Tiny, tmp_path: Path) -> Workspace:
    """Return a workspace with the tables of a tiny data set and the committed tables under reports/."""
    copy = Workspace(tmp_path)
    copy.raw.mkdir(parents=True)
    copy.prepared.mkdir()
    shutil.copy(tiny.workspace.raw / "labels.csv", copy.raw)
    shutil.copy(tiny.workspace.image_table, copy.prepared)
    write_csv(copy.split, tiny.split)
    (tmp_path / "reports").mkdir()
    for file in (ROOT / "reports").glob("*.csv"):
        shutil.copy(file, tmp_path / "reports")
    return copy


def change(path: Path, column: str, row: int, value: object) -> None:
    table = pd.read_csv(path, dtype=str)
    table.loc[row, column] = value
    table.to_csv(path, index=False)


def test_an_unknown_part_is_an_error(workspace: Workspace, tiny: Tiny) -> None:
    change(workspace.split, "0", 3, "tesu")

    with pytest.raises(UserError) as error:
        tables.read_split(workspace, tiny.image_table)

    assert str(error.value) == f"{workspace.split} has 'tesu' in its column 0 (line 5). {REMEDY}"


def test_a_split_of_other_images_is_an_error(workspace: Workspace, tiny: Tiny) -> None:
    missing = tiny.split.image_id[0]
    write_csv(workspace.split, tiny.split[1:])

    with pytest.raises(UserError, match=f"have different images: {missing}. Run `dvc repro` to write both again."):
        tables.read_split(workspace, tiny.image_table)


Reader = Callable[[Workspace], pd.DataFrame]
READERS: dict[str, tuple[Reader, Callable[[Workspace], Path], str]] = {
    "labels": (tables.read_labels, lambda workspace: workspace.raw / "labels.csv", "diagnosis"),
    "image table": (tables.read_image_table, lambda workspace: workspace.image_table, "lesion_fraction"),
    "curves": (tables.read_curves, lambda workspace: workspace.curves, "train_loss"),
    "per image": (
        lambda workspace: tables.read_per_image(workspace.per_image),
        lambda workspace: workspace.per_image,
        "dice",
    ),
    "thresholds": (tables.read_thresholds, lambda workspace: workspace.thresholds, "precision"),
    "reliability": (tables.read_reliability, lambda workspace: workspace.reliability, "observed"),
    "risk coverage": (tables.read_risk_coverage, lambda workspace: workspace.risk_coverage, "dice"),
}


@pytest.mark.parametrize("name", READERS)
def test_each_table_that_the_pipeline_wrote_is_accepted(workspace: Workspace, name: str) -> None:
    read, _, column = READERS[name]

    assert column in read(workspace)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_column_is_an_error(workspace: Workspace, name: str) -> None:
    read, path, column = READERS[name]
    pd.read_csv(path(workspace), dtype=str).drop(columns=column).to_csv(path(workspace), index=False)

    with pytest.raises(UserError, match=re.escape(f"{path(workspace)} has no column {column}. {REMEDY}")):
        read(workspace)


@pytest.mark.parametrize("name", [name for name in READERS if name != "labels"])
def test_text_instead_of_a_number_is_an_error(workspace: Workspace, name: str) -> None:
    read, path, column = READERS[name]
    change(path(workspace), column, 1, "x")

    with pytest.raises(UserError, match=re.escape(f"has 'x' in its column {column} (line 3). {REMEDY}")):
        read(workspace)


@pytest.mark.parametrize(("column", "value"), [("dice", "1.2"), ("tp", "-1"), ("fold", ""), ("confidence", "-0.1")])
def test_a_score_outside_its_range_is_an_error(workspace: Workspace, column: str, value: str) -> None:
    change(workspace.per_image, column, 0, value)

    with pytest.raises(UserError, match=re.escape(f"in its column {column} (line 2).")):
        tables.read_per_image(workspace.per_image)


def test_a_class_without_a_score_is_an_empty_cell(workspace: Workspace) -> None:
    change(workspace.per_image, "dice", 0, "")

    assert tables.read_per_image(workspace.per_image).dice.isna().sum() == 1


def test_an_image_listed_twice_is_an_error(workspace: Workspace) -> None:
    table = pd.read_csv(workspace.image_table, dtype=str)
    pd.concat([table, table[:1]]).to_csv(workspace.image_table, index=False)

    with pytest.raises(UserError, match=f"has more than one row for {table.image_id[0]}"):
        tables.read_image_table(workspace)


def test_a_file_that_is_no_table_is_an_error(workspace: Workspace) -> None:
    workspace.image_table.write_bytes(b"")

    with pytest.raises(UserError, match="can't be read as a table"):
        tables.read_image_table(workspace)


def test_decisions_without_any_image_are_left_out_and_examples_are_ten() -> None:
    many = [f"i{number:02}" for number in range(12)]
    table = decision_table([Decision("Nothing", [], "a.b"), Decision("Read in another way", many[::-1], "c.d")])

    assert table.to_dict("records") == [
        {
            "decision": "Read in another way",
            "count": 12,
            "examples": "i00, i01, i02, i03, i04, i05, i06, i07, i08, i09, …",
            "parameter": "c.d",
        }
    ]
    assert describe_decisions(table) == [f"Read in another way: 12 ({table.examples[0]}). Parameter: c.d."]
