"""Write files and folders atomically; read and write CSV, JSON and YAML."""

import io
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

from naevi.errors import UserError, describe_error

KIB, MIB = 2**10, 2**20
MAX_FILE_BYTES = 512 * MIB  # of a file that is read whole
MAX_YAML_BYTES = MIB // 2
MAX_YAML_NODES = 100_000  # also after each alias was replaced by what it stands for; these take seconds to read
MAX_YAML_DEPTH = 100  # of brackets

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


def read_bytes(path: Path) -> bytes:
    """Return the content of a file. Raises UserError if it isn't a regular file, or larger than MAX_FILE_BYTES."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is a device, a pipe or a folder, not a file. Remove it or name a file.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(f"{path} is larger than {MAX_FILE_BYTES // MIB} MiB. Make it smaller or remove it.")
    return path.read_bytes()


def read_csv(source: Path | TextIO) -> pd.DataFrame:
    """Return a table. Only an empty cell is a missing value.

    Raises ValueError if it isn't a table, and UserError as `read_bytes` does.
    """
    content = io.BytesIO(read_bytes(source)) if isinstance(source, Path) else source
    table = pd.read_csv(content, dtype=TEXT_COLUMNS, keep_default_na=False, na_values=[""])
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the surplus cells for an index
        raise ValueError("a row has more cells than there are columns")
    return table


def write_csv(path: Path, table: pd.DataFrame, *, digits: int | None = None) -> None:
    """Write a table without its index, floats with `digits` decimals if given."""
    with atomic_file(path) as partial:
        table.to_csv(partial, index=False, float_format=None if digits is None else f"%.{digits}f")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises UserError as `read_bytes` does."""
    return json.loads(read_bytes(path))


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with a newline at the end, keys in their order."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML 1.2 file, as DVC reads it. Raises UserError if it can't be read.

    PyYAML would read 1e-4 as a string and `no` as False, and accept duplicate keys.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_YAML_BYTES + 1).decode("utf-8")
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not YAML: {describe_error(error)}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Return the content of YAML 1.2. `name` says in messages where it is from.

    Raises UserError if it isn't YAML, has more than MAX_YAML_BYTES, would become more than MAX_YAML_NODES, or has more
    than MAX_YAML_DEPTH nested brackets. Both are counted in the text, including its comments.
    """
    if len(text) > MAX_YAML_BYTES:
        raise UserError(f"{name} is larger than {MAX_YAML_BYTES // KIB} KiB. Make it smaller.")
    try:
        _check_signs(text)
        if "*" in text:  # the events take as long as the values, and without aliases their number can't explode
            _check_aliases(text)
        return YAML(typ="safe").load(text)
    except Exception as error:  # YAML makes ruamel raise anything, such as RecursionError, ValueError and TypeError
        raise UserError(f"{name} is not YAML: {describe_error(error)[:300]}. Correct it.") from error


def _check_signs(text: str) -> None:
    """Raise ValueError for text with too many signs that begin or end values, or too many open brackets."""
    if sum(map(text.count, "\n,:[{")) > MAX_YAML_NODES:
        raise ValueError(f"it has more than {MAX_YAML_NODES} lines and values")
    brackets = ({"[": 1, "{": 1}.get(sign, -1) for sign in re.findall(r"[][{}]", text))
    if max(itertools.accumulate(brackets), default=0) > MAX_YAML_DEPTH:
        raise ValueError(f"it has more than {MAX_YAML_DEPTH} nested brackets")


def _check_aliases(text: str) -> None:
    """Raise ValueError if an alias is inside its own value, or if the aliases stand for too many values."""
    sizes: dict[str, int] = {}  # the number of values by anchor
    open_ones: list[tuple[str | None, int]] = [(None, 0)]  # collections that haven't ended: anchor and number so far
    for event in YAML(typ="safe").parse(text):
        anchor, size = getattr(event, "anchor", None), 1
        if isinstance(event, CollectionStartEvent):
            open_ones.append((anchor, 1))
            continue
        if isinstance(event, AliasEvent):
            if anchor not in sizes:
                raise ValueError(f"the alias *{anchor} is inside the value that it stands for, or stands for none")
            size = sizes[anchor]
        elif isinstance(event, CollectionEndEvent):
            anchor, size = open_ones.pop()
        elif not isinstance(event, NodeEvent):
            continue
        if anchor and not isinstance(event, AliasEvent):
            sizes[anchor] = size
        outer, number = open_ones.pop()
        open_ones.append((outer, number + size))
        if number + size > MAX_YAML_NODES:
            raise ValueError(f"its aliases stand for more than {MAX_YAML_NODES} values")


def yaml_text(values: dict[str, Any]) -> str:
    """Return nested values as YAML."""
    buffer = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(values, buffer)
    return buffer.getvalue().rstrip()
