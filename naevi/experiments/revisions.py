"""The result at a git revision: its files, checked against the dvc.lock of the same revision."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from naevi.errors import UserError
from naevi.experiments.repository import bytes_at
from naevi.record import Record, parse_lock
from naevi.results.data_sets import DataSet, recorded_data_set
from naevi.results.per_image import check_scores, parse_per_image, table_source
from naevi.workspace import Workspace


class RevisionResult(NamedTuple):
    """The result at a revision."""

    content: bytes  # of per_image.csv
    per_image: pd.DataFrame
    data_set: DataSet
    has_record: bool
    predictor: str  # MD5 of data/predictor in its record, "" if it isn't known


def record_at(workspace: Workspace, revision: str) -> Record | None:
    """Return the record of the result at a revision, or None if it has no dvc.lock that this version can read.

    The first commits have other stages or no dvc.lock, so their results have no record.
    """
    lock = bytes_at(workspace, revision, workspace.relative(workspace.lock))
    try:
        return None if lock is None else parse_lock(lock.decode("utf-8", errors="replace"), "dvc.lock")
    except UserError:
        return None


def file_at(workspace: Workspace, revision: str, path: Path, record: Record | None) -> bytes | None:
    """Return the content of an output at a revision, or None if the revision doesn't have it.

    Raises UserError if it isn't the file that the record lists.
    """
    name = workspace.relative(path)
    content = bytes_at(workspace, revision, name)
    md5 = record.outs.get(name) if record else None
    if content is not None and md5 and hashlib.md5(content).hexdigest() != md5:
        raise UserError(
            f"{name} at {revision[:7]} isn't the file that dvc.lock lists there. Use another result, or restore both "
            "files and commit them."
        )
    return content


def result_at(workspace: Workspace, name: str, revision: str) -> RevisionResult:
    """Return the result at a revision; `name` is for messages.

    Raises UserError if its table is missing, can't be used, isn't the recorded file, or contradicts metrics.json.
    """
    record = record_at(workspace, revision)
    content = file_at(workspace, revision, workspace.per_image, record)
    table = parse_per_image(name, workspace.relative(workspace.per_image), content)
    metrics = file_at(workspace, revision, workspace.metrics, record)
    if metrics is not None:
        check_scores(f"{workspace.relative(workspace.metrics)} of {name}", metrics, table)
    data_set = data_set_at(workspace, revision, record) if record else DataSet(table_source(table))
    predictor = record.md5(workspace, workspace.predictor) if record else ""
    return RevisionResult(content or b"", table, data_set, record is not None, predictor)


def data_set_at(workspace: Workspace, revision: str, record: Record) -> DataSet:
    """Return the data set of the result with this record at a revision."""
    content = file_at(workspace, revision, workspace.data_statistics, record)
    return recorded_data_set(record, json.loads(content) if content else None)
