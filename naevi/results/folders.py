"""The folders of published results, reports/results/<name>.

Each has overrides.txt, metrics.json, per_image.csv and record.json, which describes their origin. Results that were
published by earlier versions have no record.json.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from naevi.errors import UserError, describe_error
from naevi.files import atomic_file, write_text
from naevi.record import Record
from naevi.results.data_sets import DataSet, recorded_data_set
from naevi.results.per_image import check_scores, parse_metrics, parse_per_image, table_source
from naevi.workspace import Workspace

OVERRIDES, RECORD = "overrides.txt", "record.json"
WITHOUT_RECORD = "without a record"


class PublishedResult(NamedTuple):
    """A published result."""

    name: str
    folder: str  # as git names it
    metrics: dict[str, Any]  # the content of metrics.json
    per_image: bytes  # the content of per_image.csv
    data_set: DataSet
    has_record: bool
    predictor: str = ""  # MD5 of data/predictor in its record


def published_names(workspace: Workspace) -> list[str]:
    """Return the names of the published results, sorted."""
    return sorted(path.parent.name for path in workspace.results.glob(f"*/{OVERRIDES}"))


def read_published(workspace: Workspace, name: str) -> PublishedResult:
    """Return a published result after checking its files against its record.json.

    Without one, metrics.json is checked against per_image.csv.

    Raises UserError if a file is missing or isn't the recorded one.
    """
    folder = workspace.results / name
    label = workspace.relative(folder)
    files = [workspace.metrics, workspace.per_image]
    metrics, per_image = (_read_bytes(workspace, folder / file.name) for file in files)
    if not (folder / RECORD).exists():
        table = parse_per_image(name, f"{label}/{workspace.per_image.name}", per_image)
        scores = check_scores(f"{label}/{workspace.metrics.name}", metrics, table)
        return PublishedResult(name, label, scores, per_image, DataSet(table_source(table)), has_record=False)
    data_set, md5s = _read_record(workspace, folder / RECORD)
    for file, content in zip(files, (metrics, per_image), strict=True):
        if hashlib.md5(content).hexdigest() != md5s.get(workspace.relative(file)):
            raise UserError(
                f"{label}/{file.name} isn't the file that its {RECORD} lists. Restore it with `git restore`, or "
                "publish again."
            )
    scores = parse_metrics(f"{label}/{workspace.metrics.name}", metrics)
    predictor = md5s.get(workspace.relative(workspace.predictor), "")
    return PublishedResult(name, label, scores, per_image, data_set, has_record=True, predictor=predictor)


def read_all_published(workspace: Workspace) -> list[PublishedResult]:
    """Return all published results, sorted by name. Raises UserError as `read_published` does."""
    return [read_published(workspace, name) for name in published_names(workspace)]


def write_published(workspace: Workspace, name: str, files: dict[str, bytes], record: dict[str, Any]) -> None:
    """Write the folder of a published result: files by name, and its record."""
    folder = workspace.results / name
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, content in files.items():
        with atomic_file(folder / file_name) as partial:
            partial.write_bytes(content)
    write_text(folder / RECORD, json.dumps(record, indent=2, sort_keys=True) + "\n")


def describe_record(workspace: Workspace, record: Record, statistics: dict[str, Any], baseline: str) -> dict[str, Any]:
    """Return the content of record.json. `statistics` is that of reports/data.json, `baseline` the commit."""
    outs, data_set = record.outs, recorded_data_set(record, statistics)
    data = [workspace.relative(path) for path in (workspace.raw, workspace.prepared, workspace.split)]
    return {
        "baseline": baseline,
        "code": record.code,
        "data": {path: outs[path] for path in data},
        "data_set": {"name": data_set.name, "digest": data_set.digest},
        "files": outs,
        "parameters": record.config.model_dump(mode="json"),
    }


def _read_record(workspace: Workspace, path: Path) -> tuple[DataSet, dict[str, str]]:
    """Return the data set and the MD5 of each file by path from a record.json."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        name, digest = (str(record["data_set"][key]) for key in ("name", "digest"))
        data_set = DataSet(str(record["parameters"]["data"]["source"]), name, digest)
        return data_set, {str(name): str(md5) for name, md5 in record["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{workspace.relative(path)} can't be read ({describe_error(error)[:100]}). Restore it with `git restore`, "
            "or publish again."
        ) from error


def _read_bytes(workspace: Workspace, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"There is no {workspace.relative(path)}. Restore it with `git restore`, or publish again."
        ) from None
