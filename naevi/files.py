"""Write files and folders atomically; read and write CSV and JSON."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

# Read as text, so that an id such as 007 or NA stays what it is.
TEXT_COLUMNS = dict.fromkeys(
    ["image_id", "dataset", "diagnosis", "group", "class", "model", "first", "second", "item"], str
)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder next to `path`. At the end it replaces `path`, unless an error was raised."""
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path next to `path` to write to. At the end that file replaces `path`, unless an error was raised.

    Each process writes to a file of its own. If several write the same path, the last one wins.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_csv(source: Path | TextIO) -> pd.DataFrame:
    """Return a table. Only an empty cell is a missing value."""
    return pd.read_csv(source, dtype=TEXT_COLUMNS, keep_default_na=False, na_values=[""])


def write_csv(path: Path, table: pd.DataFrame, *, digits: int | None = None) -> None:
    """Write a table without its index, floats with `digits` decimals if given."""
    with atomic_file(path) as partial:
        table.to_csv(partial, index=False, float_format=None if digits is None else f"%.{digits}f")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with a newline at the end, keys in their order."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
