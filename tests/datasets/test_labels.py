"""The table beside the images is found and read as text. A problem in it is an error that says what to do."""

from pathlib import Path
from typing import Any

import pytest

from naevi.config import DataConfig, load_config
from naevi.datasets.labels import label_images, read_labels
from naevi.errors import UserError, shorten
from naevi.files import read_csv
from naevi.tables import Decision
from tests.helpers import HERE


@pytest.fixture
def settings(folder: Path) -> DataConfig:
    """Return the settings of the committed params.yaml, for a user's own images."""
    return load_config(HERE).data.model_copy(update={"source": "folder", "path": "mine"})


def with_columns(settings: DataConfig, **columns: str) -> DataConfig:
    """Return the settings with other columns."""
    return settings.model_copy(update={"columns": settings.columns.model_copy(update=columns)})


def paths(ids: str) -> dict[str, str]:
    """Return the path of an image for each letter."""
    return {image_id: f"images/{image_id}.png" for image_id in ids}


def found(decisions: list[Decision], parameter: str) -> list[tuple[str, list[str]]]:
    """Return the decisions that a parameter governs, with their ids."""
    return [(text, ids) for text, ids, governed_by in decisions if governed_by == parameter]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image_id\n1e3\n007\n", {"diagnosis": ["unlabelled"] * 2}),
        ("image_id,diagnosis\n1e3,NA\n007,b c\n", {"diagnosis": ["b c", "NA"]}),
        ("label,image_id\nx,1e3.JPG\ny,007.png\n", {"diagnosis": ["y", "x"]}),
        ("image_id,class,group\n1e3,x,007\n007,x,7\n", {"diagnosis": ["x", "x"], "group": ["7", "007"]}),
        ("image_id,split\n1e3,train\n007,test\n", {"diagnosis": ["unlabelled"] * 2, "split": ["test", "train"]}),
        ("image_id,Split\n1e3,Training\n007,valid\n", {"diagnosis": ["unlabelled"] * 2, "split": ["val", "train"]}),
        ("image_id,fold\n1e3,0\n007,1\n", {"diagnosis": ["unlabelled"] * 2, "fold": [1, 0]}),
        # As spreadsheets write it: a byte order mark, spaces, quotes, Windows line endings and empty lines.
        ('\ufeffimage_id, class\r\n1e3, "x "\r\n\r\n,\r\n007,x\r\n', {"diagnosis": ["x", "x"]}),
        # The column that has the names of images is the image column, with or without folders and suffixes.
        ("id,File Name,dx\n1,images/1e3.jpg,x\n2,mine\\007.png,y\n", {"diagnosis": ["y", "x"]}),
    ],
)
def test_labels_are_text_in_the_order_of_the_ids(
    settings: DataConfig, text: str, expected: dict[str, list[Any]]
) -> None:
    table, _, left_out = read_labels("labels.csv", text.encode(), ["007", "1e3"], settings)

    assert table.to_dict("list") == {"image_id": ["007", "1e3"]} | expected
    assert left_out == []


def test_a_table_of_ham10000_is_recognized(settings: DataConfig) -> None:
    """Two pictures of lesion 1 stay together."""
    text = b"lesion_id,image_id,dx,dx_type,age\nHAM_1,a,nv,histo,80.0\nHAM_1,b,nv,histo,80.0\nHAM_2,c,mel,follow_up,\n"

    labels = label_images({"HAM10000_metadata.csv": text}, paths("abc"), settings)

    assert labels.table.to_dict("list") == {
        "image_id": ["a", "b", "c"],
        "diagnosis": ["nv", "nv", "mel"],
        "group": ["HAM_1", "HAM_1", "HAM_2"],
    }
    assert labels.decisions == [
        Decision("Column of HAM10000_metadata.csv used as image_id", ["image_id"], "data.columns.image"),
        Decision("Column of HAM10000_metadata.csv used as diagnosis", ["dx"], "data.columns.diagnosis"),
        Decision("Column of HAM10000_metadata.csv used as group", ["lesion_id"], "data.columns.group"),
        Decision("Columns of HAM10000_metadata.csv that are not used", ["dx_type", "age"], "data.columns"),
    ]


@pytest.mark.parametrize(
    ("header", "group", "column"),
    [
        ("image_id,lesion_id,patient_id", ["2", "2", "4", "6"], "patient_id"),
        ("image_id,Lesion,GROUP", ["2", "2", "4", "6"], "GROUP"),
        ("image_id,CaseID,Subject-ID", ["2", "2", "4", "6"], "Subject-ID"),
        ("image_id,Lesion ID,camera", ["1", "1", "3", "1"], "Lesion ID"),
    ],
)
def test_the_coarsest_common_name_is_the_group(
    settings: DataConfig, header: str, group: list[str], column: str
) -> None:
    text = f"{header}\na,1,2\nb,1,2\nc,3,4\nd,1,6\n".encode()

    labels = read_labels("labels.csv", text, [*"abcd"], settings)

    assert labels.table.group.tolist() == group
    assert found(labels.decisions, "data.columns.group")[0] == ("Column of labels.csv used as group", [column])


UNUSED_GROUPS = "Columns of labels.csv that look like groups but are not used (their images may be in different parts)"


@pytest.mark.parametrize(
    ("text", "group", "columns"),
    [
        ("image_id,person_id\na,1\nb,1\nc,2\n", "auto", ["person_id"]),
        ("image_id,patient_id\na,1\nb,1\nc,2\n", "none", ["patient_id"]),
        ("image_id,patient_id,lesion_id\na,1,7\nb,2,7\nc,2,8\n", "auto", ["lesion_id"]),  # lesion 7 has two patients
        ("image_id,patient_id,lesion_id\na,1,7\nb,1,8\nc,2,9\n", "lesion_id", ["patient_id"]),
        # No image is separated from another by these:
        ("image_id,patient_id,lesion_id\na,1,7\nb,1,7\nc,1,8\n", "auto", []),
        ("image_id,person_id\na,1\nb,2\nc,3\n", "auto", []),
        # Not names of groups:
        ("image_id,camera\na,1\nb,1\nc,2\n", "auto", []),
        ("image_id,lesion\na,yes\nb,yes\nc,no\n", "auto", []),
        ("image_id,patient_id\na,\nb,\nc,\n", "auto", []),
    ],
)
def test_a_column_that_looks_like_a_group_and_is_not_used_is_reported(
    settings: DataConfig, text: str, group: str, columns: list[str]
) -> None:
    labels = read_labels("labels.csv", text.encode(), [*"abc"], with_columns(settings, group=group))

    warnings = [ids for decision, ids in found(labels.decisions, "data.columns.group") if decision == UNUSED_GROUPS]
    assert warnings == [columns] * bool(columns)


def test_named_columns_come_before_common_names(settings: DataConfig) -> None:
    named = with_columns(settings, image="photo", diagnosis="finding", group="visit")

    labels = read_labels(
        "t.csv", b"image_id,photo,dx,finding,group,visit\nx,a,n,m,1,2\ny,b,n,k,1,3\n", ["a", "b"], named
    )

    assert labels.table.to_dict("list") == {"image_id": ["a", "b"], "diagnosis": ["m", "k"], "group": ["2", "3"]}


def test_none_turns_diagnosis_and_group_off(settings: DataConfig) -> None:
    off = with_columns(settings, diagnosis="none", group="none")

    table = read_labels("t.csv", b"image_id,class,label,group\na,x/y,z,1\nb,,,1\n", ["a", "b"], off).table

    assert table.to_dict("list") == {"image_id": ["a", "b"], "diagnosis": ["unlabelled", "unlabelled"]}


def test_an_image_without_a_group_is_its_own_group(settings: DataConfig) -> None:
    labels = read_labels("labels.csv", b"image_id,group\na,1\nb,1\nc,\nd,\n", [*"abcd"], settings)

    assert labels.table.groupby("group").image_id.apply(list).tolist() == [["a", "b"], ["c"], ["d"]]
    text = "Images without a group in labels.csv, each in its own"
    assert (text, ["c", "d"]) in found(labels.decisions, "data.columns.group")


TABLE = b"image_id,group\na,1\nb,2\nc,3\n"


@pytest.mark.parametrize(
    ("tables", "used"),
    [
        ({}, None),
        ({"mine/images/Labels.CSV": TABLE, "other.csv": TABLE + b"d,4\n"}, "mine/images/Labels.CSV"),
        ({"few.csv": b"image_id\na\n", "most.csv": TABLE, "none.csv": b"image_id\nx\n", "text.csv": b""}, "most.csv"),
        ({"again.csv": TABLE, "table.csv": TABLE}, "again.csv"),
        ({"colors.csv": b"color,value\nred,1\n"}, None),
    ],
)
def test_the_table_with_the_most_image_names_is_used(
    settings: DataConfig, tables: dict[str, bytes], used: str | None
) -> None:
    labels = label_images(tables, paths("abc"), settings)

    assert ("group" in labels.table) == (used is not None)
    unused = sorted(set(tables) - {used})
    assert ([("Tables that are not used", unused)] if unused else []) == [
        decision for decision in found(labels.decisions, "data.columns.image") if decision[0].startswith("Tables")
    ]


def test_a_named_column_decides_between_tables(settings: DataConfig) -> None:
    tables = {"labels.csv": TABLE, "one.csv": TABLE, "two.csv": b"image_id,visit\na,1\nb,1\nc,2\n"}

    labels = label_images(tables, paths("abc"), with_columns(settings, group="visit"))

    assert labels.table.group.tolist() == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("tables", "columns", "message"),
    [
        (
            {"one.csv": TABLE, "two.csv": TABLE + b"d,4\n"},
            {},
            "one.csv, two.csv could each be the table with the labels. Write the rows of all into one labels.csv, or "
            "set data.columns.image, diagnosis or group to a column that only one of them has.",
        ),
        (
            {"test.csv": b"image_id\na\n", "train.csv": b"image_id\nb\nc\n"},
            {},
            "train.csv lacks rows for images that are in test.csv. Write all rows into one labels.csv, or set "
            "data.mismatches to leave-out to use only the images in train.csv.",
        ),
        (
            {},
            {"group": "patient"},
            "data.columns names patient, which requires a table with the names of the images, but there is no .csv "
            "file. Add such a table beside images/, or set these parameters to auto.",
        ),
        (
            {"a.csv": b"x\n1\n", "b.csv": b""},
            {"group": "patient"},
            "data.columns names patient, which requires a table with the names of the images, but a.csv, b.csv have "
            "none. Add such a table beside images/, or set these parameters to auto.",
        ),
        (
            {"a.csv": TABLE},
            {"group": "patient"},
            "a.csv has no column patient, only image_id, group. Set data.columns.group to one of these or to auto, and "
            "separate columns with commas.",
        ),
        (
            {"a.csv": TABLE},
            {"image": "photo"},
            "a.csv has no column photo, only image_id, group. Set data.columns.image to one of these or to auto, and "
            "separate columns with commas.",
        ),
    ],
)
def test_tables_that_do_not_fit_are_an_error(
    settings: DataConfig, tables: dict[str, bytes], columns: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as error:
        label_images(tables, paths("abc"), with_columns(settings, **columns))
    assert str(error.value) == message


def test_inconsistent_rows_are_counted(settings: DataConfig) -> None:
    """Rows for nothing, an image without a row, a row twice, and two rows that differ."""
    accepting = settings.model_copy(update={"mismatches": "leave-out", "repeated_rows": "first"})
    text = b"image_id,dx,age\na,x,1\np2/z.png,x,1\nb,x,1\na.png,x,2\n,y,3\nb,y,1\n"

    labels = read_labels("labels.csv", text, [*"abc"], accepting)

    assert labels.table.to_dict("list") == {"image_id": ["a", "b"], "diagnosis": ["x", "x"]}
    assert labels.left_out == ["c"]
    assert labels.decisions[3:] == [
        Decision("Equal rows of labels.csv for one image, merged", ["a"], "data.repeated_rows"),
        Decision("Rows of labels.csv after the first for an image, ignored", ["b"], "data.repeated_rows"),
        Decision("Rows of labels.csv without an image, ignored", ["p2/z.png", "line 6"], "data.extra_rows"),
        Decision("Images without a row in labels.csv, left out", ["c"], "data.mismatches"),
    ]


FOLDERS = {"a": "train/images/a.png", "b": "test/images/b.png", "c": "val/images/c.png"}


def test_folders_of_parts_become_the_split(settings: DataConfig) -> None:
    labels = label_images({}, FOLDERS, settings)

    assert labels.table.to_dict("list") == {
        "image_id": ["a", "b", "c"],
        "diagnosis": ["unlabelled"] * 3,
        "split": ["train", "test", "val"],
    }
    text = "Images in folders train (1) and val (1) and test (1), used as the split"
    assert labels.decisions == [Decision(text, ["a", "b", "c"], "data.split_folders")]


def test_folders_of_parts_can_be_pooled(settings: DataConfig) -> None:
    labels = label_images({}, FOLDERS, settings.model_copy(update={"split_folders": "ignore"}))

    assert "split" not in labels.table
    text = "Images in folders train (1) and val (1) and test (1), not used as the split"
    assert labels.decisions == [Decision(text, ["a", "b", "c"], "data.split_folders")]


def test_a_split_in_the_table_comes_before_folders(settings: DataConfig) -> None:
    labels = label_images({"t.csv": b"image_id,fold\na,0\nb,0\nc,1\n"}, FOLDERS, settings)

    assert labels.table.to_dict("list") == {"image_id": [*"abc"], "diagnosis": ["unlabelled"] * 3, "fold": [0, 0, 1]}
    [(text, _)] = found(labels.decisions, "data.split_folders")
    assert text.endswith("not used as the split, because the table has a column fold")


def test_a_table_names_equal_names_in_two_parts_by_their_folders(settings: DataConfig) -> None:
    both = {"train_1": "train/images/1.png", "test_1": "test/images/1.png"}

    labels = label_images({"labels.csv": b"image,dx\ntrain/1.png,x\ntest/1.png,y\n"}, both, settings)

    assert labels.table.to_dict("list") == {
        "image_id": ["test_1", "train_1"],
        "diagnosis": ["y", "x"],
        "split": ["test", "train"],
    }


def test_names_without_their_folders_are_an_error_that_says_so(settings: DataConfig) -> None:
    several = {"p1_1": "p1/1.png", "p2_1": "p2/1.png"}

    with pytest.raises(UserError) as error:
        label_images({"labels.csv": b"image,dx\n1.png,x\n"}, several, settings)
    assert str(error.value) == (
        "labels.csv has no row for any image. Its column image has 1.png. Images in different folders have the same "
        "name, such as p1_1, so write their paths."
    )
    labels = label_images({"labels.csv": b"image,dx\np1/1.png,x\np2/1.png,y\n"}, several, settings)
    assert labels.table.diagnosis.tolist() == ["x", "y"]


NO_ID = (
    "labels.csv has no column with a common name for image names, such as image_id, only {}. Set data.columns.image to "
    "the column, and separate columns with commas."
)
INVALID_NAMES = (
    "labels.csv has diagnoses that are longer than 100 characters or have unprintable ones: {}. Shorten them, or set "
    "data.columns.diagnosis to none."
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,class\na,x\nb,x\n", NO_ID.format("photo, class")),
        ("image_id;class\na;x\nb;x\n", NO_ID.format("image_id;class")),
        (
            "image_id,class\na,x\nb,x\na.png,y\n",
            "labels.csv has rows that differ for a. Keep one row for each image, or set data.repeated_rows to first to "
            "use the first.",
        ),
        (
            "image_id\na\nc\n",
            "There is no row for b in labels.csv, and no image for c. Add rows or correct the names, or set "
            "data.mismatches to leave-out to leave these images out.",
        ),
        (
            "image_id,class\na,x\nb,x\nc,x\n,y\n",
            "There is no image for c, line 5 in labels.csv. Remove these rows, or set data.extra_rows to ignore.",
        ),
        (
            "image_id,class\n1,x\n2,x\n",
            "labels.csv has no row for any image. Its column image_id has 1, 2. Set data.columns.image to the column "
            "that has the image names.",
        ),
        (
            "image_id,class,label\na,x,x\nb,x,x\n",
            "labels.csv has the columns class, label, but only one of them can be the diagnosis. Set "
            "data.columns.diagnosis to one of them, or to none.",
        ),
        (
            "image_id,split,fold\na,test,0\nb,train,1\n",
            "labels.csv has the columns split, fold, but only one of them can be the predefined split. Remove or "
            "rename the others.",
        ),
        (
            "image_id,class\na,x\n\nb\n",
            "labels.csv has no class in line 4. Fill every cell, or set data.columns.diagnosis to none.",
        ),
        ("image_id,split\na,test\nb,\n", "labels.csv has no split in line 3. Fill every cell, or rename the column."),
        (
            f"image_id,class\na,x\u200by\nb,{'z' * 101}\n",
            INVALID_NAMES.format(f"'x\\u200by', {shorten(repr('z' * 101))}"),
        ),
        (
            "image_id,split\na,train\nb,extra\n",
            "labels.csv has extra in its column split. Use only train, val, test, or rename the column.",
        ),
        (
            "image_id,fold\na,1\nb,2\n",
            "labels.csv has 1, 2 in its column fold. Use whole numbers from 0 without gaps, or rename the column.",
        ),
        (
            "image_id,fold\na,0\nb,1.0\n",
            "labels.csv has 0, 1.0 in its column fold. Use whole numbers from 0 without gaps, or rename the column.",
        ),
        (
            "image_id,class\na,x,\nb,x,\n",
            "labels.csv has rows with more cells than the first line has names. Name every column there.",
        ),
        (
            "image_id\n\u00fc\n".encode("latin-1"),
            "labels.csv is not a comma-separated table in UTF-8 ('utf-8' codec can't decode byte 0xfc in position 9: "
            "invalid start byte). Save it as CSV UTF-8.",
        ),
        (
            "",
            "labels.csv is not a comma-separated table in UTF-8 (No columns to parse from file). Save it as CSV UTF-8.",
        ),
    ],
)
def test_labels_that_do_not_match_are_an_error(settings: DataConfig, text: str | bytes, message: str) -> None:
    strict = settings.model_copy(update={"extra_rows": "refuse"})
    data = text if isinstance(text, bytes) else text.encode()

    with pytest.raises(UserError) as error:
        label_images({"labels.csv": data}, paths("ab"), strict)
    assert str(error.value) == message


def test_any_text_is_a_diagnosis(settings: DataConfig) -> None:
    """Names that spreadsheets take for formulas begin with _."""
    data = b'image_id,dx\na,"Nevus, NOS"\nb,=1+1\nc,Bowen\'s disease (in situ) / <b>\nd,-\n'

    labels = label_images({"labels.csv": data}, paths("abcd"), settings)

    assert labels.table.diagnosis.tolist() == ["Nevus, NOS", "_=1+1", "Bowen's disease (in situ) / <b>", "_-"]


def test_other_stages_read_the_same_table(settings: DataConfig, tmp_path: Path) -> None:
    table = read_labels("labels.csv", b"image_id,class,group,fold\n007,NA,1e3,0\n", ["007"], settings).table
    table.to_csv(tmp_path / "labels.csv", index=False)

    assert read_csv(tmp_path / "labels.csv").equals(table)
