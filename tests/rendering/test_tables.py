"""Tables: columns, alignment, and cells that can't break a row."""

import re

import pytest

from naevi.rendering.tables import Table, compact_markdown_table, escape_cell, markdown_table, text_table

TABLE = Table(["image", "what", "Dice"], [["i1", "", "0.5"], ["a|b\\", "two\nlines  <b>", "-0.1000"]])


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_columns_are_aligned_in_the_source_too() -> None:
    assert markdown_table(TABLE, text_columns=2).splitlines() == [
        "| image   | what             |    Dice |",
        "|:--------|:-----------------|--------:|",
        "| i1      |                  |     0.5 |",
        "| a\\|b\\\\  | two lines &lt;b> | -0.1000 |",
    ]


def test_a_compact_table_has_the_same_cells_without_padding() -> None:
    assert compact_markdown_table(TABLE).splitlines() == [
        "| image | what | Dice |",
        "|---|---|---|",
        "| i1 |  | 0.5 |",
        "| a\\|b\\\\ | two lines &lt;b> | -0.1000 |",
    ]
    aligned = [line for line in markdown_table(TABLE).splitlines() if "--" not in line]
    compact = [line for line in compact_markdown_table(TABLE).splitlines() if "--" not in line]
    assert [cells(line) for line in compact] == [cells(line) for line in aligned]


def test_text_columns_are_aligned_and_text_is_left_as_it_is() -> None:
    table = Table(["score", "A", "B|"], [["Dice", "0.5000", "1e3"], ["<IoU>", "-1.0000", "007"]])

    assert text_table(table).splitlines() == [
        "score          A    B|",
        "-------  -------  ----",
        "Dice      0.5000   1e3",
        "<IoU>    -1.0000   007",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", "a\\|b"),
        ("a\\|b", "a\\\\\\|b"),
        ("a\n b\tc ", "a b c"),
        ("<img src=x>", "&lt;img src=x>"),
        ("![a](http://x)", "![a\\](http://x)"),
        ("Dice [95 % interval]", "Dice [95 % interval]"),
        ("< 0.0001", "< 0.0001"),
        ("", ""),
    ],
)
def test_a_cell_cannot_begin_another_cell_row_or_tag(text: str, expected: str) -> None:
    assert escape_cell(text) == expected


def test_a_table_without_rows_has_its_head() -> None:
    empty = Table(["image", "Dice"], [])

    assert cells(markdown_table(empty).splitlines()[0]) == empty.head
    assert compact_markdown_table(empty) == "| image | Dice |\n|---|---|"
    assert text_table(empty).split()[:2] == empty.head
