"""The folder that predictions are written to. A later run with the same model and settings continues it.

The line of an image is appended to the record before its mask and overlay are written, so a killed run leaves no file
that isn't in the record. The SHA-256 in it say whether both were written. At the end, the tables are written, and the
record again: a line for each image of this run, in their order. So its bytes don't depend on earlier runs.
"""

import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from naevi.datasets.layout import file_key, safe_name
from naevi.datasets.members import HIDDEN
from naevi.deploy.prediction_record import RECORD, RUN, Record, read_record
from naevi.digests import file_digest
from naevi.errors import UserError, check_output, first_ten, visible
from naevi.files import atomic_file

REGION_TABLE, SKIPPED_TABLE = "lesions.csv", "skipped.csv"
REGION_COLUMNS = [
    "image",
    "class",
    "lesion",
    "area_px",
    "perimeter_px",
    "equivalent_diameter_px",
    "left",
    "top",
    "width",
    "height",
    "confidence",
]
WriteMore = Callable[[Path, Path], None]  # the file to write, and lesions.csv

PARTIAL = re.compile(r"\.\d+\.partial$")  # of `atomic_file`, if its process was killed
OF_SYSTEM = ("thumbs.db", "desktop.ini")  # files that an operating system adds, besides hidden ones
ADVICE = "Choose a new name, or overwrite it with --force."


def open_record(out: Path, run: dict[str, Any], *, force: bool) -> Record:
    """Return the record of the folder `out`. `run` describes this run, see `prediction_record.describe_run`.

    With `force`, a record of another run is returned without images. Raises UserError as `check_output` and
    `read_record` do, and without `force` for another run.
    """
    check_output(out, force=force or (out / RECORD).is_file())
    record = read_record(out)
    if not record.run or record.run == run:
        return record
    if not force:
        differences = [text for key, text in RUN.items() if record.run.get(key) != run.get(key)]
        raise UserError(f"--out {out} was written with {', '.join(differences)}. {ADVICE}")
    return Record({}, {}, record.files, 0)


def remove_unfinished(out: Path, record: Record, unchanged: Collection[str], *, force: bool) -> set[str]:
    """Remove what is recorded from the folder `out`, except masks and overlays that are done. Return their names.

    `unchanged` has the names of the recorded images that are among those to predict. Files that aren't recorded stay.

    Raises UserError without `force`, before anything is removed, if there are files that aren't recorded or that were
    changed, or predictions of other images.
    """
    present = {file_key(path.relative_to(out).as_posix()): path for path in _files(out)}
    recorded = {file_key(path): sha256 for path, sha256 in record.files.items()}
    written = {*recorded, *map(file_key, (RECORD, REGION_TABLE, SKIPPED_TABLE))}
    partial = {key for key in present if PARTIAL.search(key) and PARTIAL.sub("", key) in written}
    intact = {key for key in present if key in recorded and file_digest(present[key], "sha256") == recorded[key]}
    if not force:
        changed = [str(present[key]) for key in present if key in recorded and key not in intact]
        foreign = [str(present[key]) for key in present.keys() - recorded.keys() - partial if not _is_usual(key)]
        others = [name for name in record.images.keys() - unchanged if not present.keys().isdisjoint(_keys(name))]
        if foreign:
            raise UserError(
                f"--out {out} has files that `naevi predict` didn't write: {first_ten(sorted(foreign))}. Move them, "
                "choose a new name, or keep them there with --force."
            )
        if changed:
            raise UserError(f"{first_ten(changed)} changed after the prediction. {ADVICE}")
        if others:
            raise UserError(
                f"--out {out} has predictions of {len(others)} image(s) that aren't named now or that have changed: "
                f"{first_ten(sorted(others))}. Choose a new name, or remove these predictions with --force."
            )
    done = {name for name in unchanged if intact.issuperset(_keys(name))}
    kept = {key for name in done for key in _keys(name)}
    for key in (present.keys() & recorded.keys() | partial) - kept:
        _remove(present[key], out)
    return done


class PredictionFolder:
    """Writes predictions, their record and the tables. A context manager that closes the record."""

    def __init__(self, out: Path, run: dict[str, Any], record: Record, done: Collection[str]) -> None:
        """Continue a record. The images in `done` count as written."""
        out.mkdir(parents=True, exist_ok=True)
        self._out = out
        self._first_line = _to_line({"run": run})
        self._places = {name: record.images[name].place for name in done}  # not the lines, which may be long
        self._record = (out / RECORD).open("a+b")
        self._record.truncate(record.size)
        if not record.size:
            self._append(self._first_line)

    def __enter__(self) -> Self:
        """Return the folder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the record."""
        self._record.close()

    def __len__(self) -> int:
        """Return the number of images that are done."""
        return len(self._places)

    def add(self, name: str, sha256: str, contents: tuple[bytes, bytes], regions: list[dict[str, Any]]) -> None:
        """Write the mask and the overlay of an image, whose file has this SHA-256. Regions are rows of lesions.csv."""
        files = dict(zip(_paths(name), contents, strict=True))
        entry = {
            "image": name,
            "sha256": sha256,
            "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
            "regions": [[region[column] for column in REGION_COLUMNS[1:]] for region in regions],
        }
        place = self._append(_to_line(entry))
        for path, content in files.items():
            file = self._out / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as partial:
                partial.write_bytes(content)
        self._places[name] = place

    def finish(self, names: Iterable[str], skipped: Sequence[tuple[str, str]], more: Mapping[str, WriteMore]) -> None:
        """Write the tables, and the record of these images.

        `skipped` has path and reason of unreadable files. `more` has functions that write other files, by name, from
        lesions.csv.
        """
        names = [name for name in names if name in self._places]
        with ExitStack() as replaced:  # in reverse order: first the record, which lists the tables
            tables = {REGION_TABLE: replaced.enter_context(atomic_file(self._out / REGION_TABLE))}
            _write_table(tables[REGION_TABLE], REGION_COLUMNS, self._rows(names))
            if skipped:
                tables[SKIPPED_TABLE] = replaced.enter_context(atomic_file(self._out / SKIPPED_TABLE))
                rows = ([safe_name(visible(text)) for text in row] for row in skipped)
                _write_table(tables[SKIPPED_TABLE], ["file", "reason"], rows)
            for name, write in more.items():
                tables[name] = replaced.enter_context(atomic_file(self._out / name))
                write(tables[name], tables[REGION_TABLE])
            with replaced.enter_context(atomic_file(self._out / RECORD)).open("wb") as record:
                record.write(self._first_line)
                record.writelines(self._lines(names))
                record.write(_to_line({"files": {name: file_digest(path, "sha256") for name, path in tables.items()}}))
            self._record.close()

    def _append(self, line: bytes) -> int:
        """Append a line to the record and return where it begins."""
        self._record.write(line)
        self._record.flush()
        return self._record.tell() - len(line)

    def _lines(self, names: Iterable[str]) -> Iterator[bytes]:
        for name in names:
            self._record.seek(self._places[name])
            yield self._record.readline()

    def _rows(self, names: Iterable[str]) -> Iterator[list[Any]]:
        for entry in map(json.loads, self._lines(names)):
            for region in entry["regions"]:
                yield [entry["image"], *region]


def _to_line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _write_table(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    """Write a table row by row, because all rows of very many images would fill the memory."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _paths(name: str) -> tuple[str, str]:
    """Return the paths of mask and overlay."""
    return f"masks/{name}.png", f"overlays/{name}.jpg"


def _keys(name: str) -> list[str]:
    return [file_key(path) for path in _paths(name)]


def _is_usual(key: str) -> bool:
    """Return whether a file isn't in the record, but may be in the folder: the record and files of the system."""
    return key == file_key(RECORD) or bool(HIDDEN.search(key)) or key.rpartition("/")[2] in OF_SYSTEM


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder. Links to folders aren't followed."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _remove(file: Path, top: Path) -> None:
    """Remove a file, and the folders up to `top` that are then empty."""
    file.unlink()
    for folder in file.parents:
        if folder == top or any(folder.iterdir()):
            break
        folder.rmdir()
