"""Tables as plain text and as Markdown."""

import re
from typing import NamedTuple

from tabulate import DataRow, TableFormat, tabulate

# Markdown without padding: a changed number changes one line.
_ROW = DataRow("|", "|", "|")
_COMPACT = TableFormat(
    lineabove=None,
    linebelowheader=lambda widths, alignments: "|" + "---|" * len(widths),
    linebetweenrows=None,
    linebelow=None,
    headerrow=_ROW,
    datarow=_ROW,
    padding=1,
    with_header_hide=None,
)


class Table(NamedTuple):
    """A table of text. The first cell of a row names the row."""

    head: list[str]
    rows: list[list[str]]


def text_table(table: Table, text_columns: int = 1) -> str:
    """Return a table for a terminal. Columns after the first `text_columns` hold numbers and are aligned right."""
    alignments = _alignments(table, text_columns)
    return str(tabulate(table.rows, table.head, "simple", colalign=alignments, disable_numparse=True))


def markdown_table(table: Table, text_columns: int = 1) -> str:
    """Return a Markdown table whose source is aligned too. Columns after the first `text_columns` hold numbers."""
    head, *rows = _escaped_rows(table)
    alignments = _alignments(table, text_columns)
    return str(tabulate(rows, head, "pipe", colalign=alignments, disable_numparse=True))


def compact_markdown_table(table: Table) -> str:
    """Return a Markdown table without padding and alignment."""
    head, *rows = _escaped_rows(table)
    return str(tabulate(rows, head, _COMPACT, stralign=None, disable_numparse=True))


def escape_cell(text: str) -> str:
    """Return text for Markdown, such as a cell: bars, line breaks, links and HTML tags don't take effect."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("](", "\\](")
    return re.sub(r"<(?=\S)", "&lt;", text)


def _escaped_rows(table: Table) -> list[list[str]]:
    return [[escape_cell(text) for text in row] for row in [table.head, *table.rows]]


def _alignments(table: Table, text_columns: int) -> list[str]:
    return ["left" if column < text_columns else "right" for column in range(len(table.head))]
