"""labels.csv is read as text, and every problem in it is an error that says what to do."""

from pathlib import Path
from typing import Any

import pytest

from naevi.datasets.labels import read_labels
from naevi.errors import UserError
from naevi.files import read_csv


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image_id\n1e3\n007\n", {"diagnosis": ["unlabelled"] * 2}),
        ("image_id,diagnosis\n1e3,NA\n007,b c\n", {"diagnosis": ["b c", "NA"]}),
        ("label,image_id\nx,1e3.JPG\ny,007.png\n", {"diagnosis": ["y", "x"]}),
        ("image_id,class,group\n1e3,x,007\n007,x,7\n", {"diagnosis": ["x", "x"], "group": ["7", "007"]}),
        ("image_id,split\n1e3,train\n007,test\n", {"diagnosis": ["unlabelled"] * 2, "split": ["test", "train"]}),
        ("image_id,fold\n1e3,0\n007,1\n", {"diagnosis": ["unlabelled"] * 2, "fold": [1, 0]}),
        # As spreadsheets write it: a byte order mark, spaces, quotes, Windows line endings and empty lines.
        ('\ufeffimage_id, class\r\n1e3, "x "\r\n\r\n,\r\n007,x\r\n', {"diagnosis": ["x", "x"]}),
    ],
)
def test_labels_are_text_in_the_order_of_the_ids(text: str, expected: dict[str, list[Any]]) -> None:
    table = read_labels("labels.csv", text.encode(), ["007", "1e3"])

    assert table.to_dict("list") == {"image_id": ["007", "1e3"]} | expected


def test_unused_columns_are_listed_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    table = read_labels("labels.csv", b"age,image_id,sex,class\n50,a,f,x\n", ["a"])

    assert table.to_dict("list") == {"image_id": ["a"], "diagnosis": ["x"]}
    assert caplog.messages == ["labels.csv has columns that are not used: age, sex."]


NO_ID = (
    "labels.csv has no column image_id, only {}. Rename the column that contains the image names to image_id, and "
    "separate columns with commas."
)
INVALID_NAMES = (
    "labels.csv has diagnoses that can't be used as names in reports: {}. Use up to 50 letters, digits, spaces, _ and "
    "-, and don't begin with a space or -."
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\na,x\nb,x\n", NO_ID.format("name, class")),
        ("image_id;class\na;x\nb;x\n", NO_ID.format("image_id;class")),
        ("image_id\na\nb\na.png\n", "labels.csv has more than one row for a. Keep one."),
        (
            "image_id\na\nc\n",
            "There is no image for c and no row for b in labels.csv. It must have one row for each image, with the "
            "image name as image_id.",
        ),
        (
            "image_id,class,label\na,x,x\nb,x,x\n",
            "labels.csv has the columns class, label, but can have only one of them. Remove the others.",
        ),
        (
            "image_id,split,fold\na,test,0\nb,train,1\n",
            "labels.csv has the columns split, fold, but can have only one of them. Remove the others.",
        ),
        (
            "image_id,class,group\na,x,1\n\nb,x, \n",
            "labels.csv has no group in line 4. Fill every cell, or remove the column.",
        ),
        ("image_id,class\na,x\nb\n", "labels.csv has no diagnosis in line 3. Fill every cell, or remove the column."),
        ("image_id,class\na,x\n,y\n", "labels.csv has no image_id in line 3. Fill every cell, or remove the column."),
        ("image_id,class\na,x/y\nb,-\n", INVALID_NAMES.format("'x/y', '-'")),
        (
            "image_id,split\na,train\nb,validation\n",
            "labels.csv has validation in its column split. Use only train, val, test.",
        ),
        ("image_id,fold\na,1\nb,2\n", "labels.csv has 1, 2 in its column fold. Use whole numbers from 0 without gaps."),
        (
            "image_id,fold\na,0\nb,1.0\n",
            "labels.csv has 0, 1.0 in its column fold. Use whole numbers from 0 without gaps.",
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
def test_labels_that_do_not_match_are_an_error(text: str | bytes, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_labels("labels.csv", text if isinstance(text, bytes) else text.encode(), ["a", "b"])
    assert str(error.value) == message


def test_other_stages_read_the_same_table(tmp_path: Path) -> None:
    table = read_labels("labels.csv", b"image_id,class,group,fold\n007,NA,1e3,0\n", ["007"])
    table.to_csv(tmp_path / "labels.csv", index=False)

    assert read_csv(tmp_path / "labels.csv").equals(table)
