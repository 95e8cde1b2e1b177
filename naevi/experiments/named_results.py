"""Results by name: the workspace, the committed default, published results, DVC experiments, git revisions."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd

from naevi.errors import UserError, first_ten, shorten
from naevi.experiments.published import DEFAULT, experiment_name
from naevi.experiments.repository import bytes_at, experiment_revisions, run_command
from naevi.experiments.revisions import result_at
from naevi.experiments.workspace_result import read_workspace_result
from naevi.images.files import Pixels, open_image
from naevi.images.folders import INDEX, shard_name, stored_bytes
from naevi.results.data_sets import UNKNOWN_DATA_SET, DataSet, are_versions, data_set_labels, is_same
from naevi.results.folders import published_names, read_published
from naevi.results.per_image import parse_per_image
from naevi.workspace import Workspace

WORKSPACE = "workspace"

logger = logging.getLogger(__name__)

# Returns the prediction for an image id: uint8 (H, W), class indices; None if there is none.
ReadPrediction = Callable[[str], Pixels | None]


@dataclass(frozen=True)
class NamedResult:
    """A result.

    Attributes:
        name: the name that the user gave.
        per_image: the content of per_image.csv.
        predictions: reads its predictions; None if there are none.
        data_set: its data set, as far as it is known.
        has_record: whether a dvc.lock or record.json describes it.
        predictor: the MD5 of data/predictor in its record, "" if it isn't known.
    """

    name: str
    per_image: pd.DataFrame
    predictions: ReadPrediction | None = None
    data_set: DataSet = UNKNOWN_DATA_SET
    has_record: bool = True
    predictor: str = ""


def load_result(workspace: Workspace, name: str) -> NamedResult:
    """Return a result: `workspace`, `default`, a published result, a DVC experiment or a git revision.

    Its files are checked against its record, see `read_workspace_result`, `result_at` and `read_published`.

    Raises UserError if no result has this name, if its per_image.csv is missing or can't be used, or if a file isn't
    the one that its record lists.
    """
    if name == WORKSPACE:
        table, data_set, predictor = read_workspace_result(workspace)
        return NamedResult(name, table, _from_folder(workspace.predictions), data_set, predictor=predictor)
    if name in published_names(workspace):
        return _published_result(workspace, name)
    revision = _find_revision(workspace, name)
    result, predictions = result_at(workspace, name, revision), _from_cache(workspace, revision)
    return NamedResult(name, result.per_image, predictions, result.data_set, result.has_record, result.predictor)


def check_data_sets(a: NamedResult, b: NamedResult) -> None:
    """Raise UserError if two results are of different data sets. Two versions of one data set may be compared."""
    if not is_same(a.data_set, b.data_set) and not are_versions(a.data_set, b.data_set):
        labels = data_set_labels([a.data_set, b.data_set])
        raise UserError(
            f"{a.name} was measured on the data set {labels[0]}, {b.name} on {labels[1]}. Compare results of one data "
            "set. If these are versions of one data set, set the same data.name for both and run them again."
        )


def other_results(workspace: Workspace) -> Iterator[NamedResult]:
    """Yield the committed default, all published results and all DVC experiments.

    Results that can't be used are left out with a warning. Experiments that failed before they wrote a table are left
    out without a warning.
    """
    path, another = workspace.relative(workspace.per_image), "another result"
    revisions = [(DEFAULT, "HEAD"), *experiment_revisions(workspace)]
    tables = [(name, bytes_at(workspace, revision, path)) for name, revision in revisions]
    for name, table in tables:
        try:
            if table is not None:
                yield NamedResult(another, parse_per_image(name, path, table))
        except UserError as error:
            logger.warning("%s is not counted as a result: %s", name, error)
    for name in published_names(workspace):
        try:
            published = read_published(workspace, name)
            yield NamedResult(another, parse_per_image(name, path, published.per_image), None, published.data_set)
        except UserError as error:
            logger.warning("%s is not counted as a result: %s", name, error)


def _published_result(workspace: Workspace, name: str) -> NamedResult:
    published = read_published(workspace, name)
    path = workspace.relative(workspace.per_image)
    table = parse_per_image(name, f"{published.folder}/{workspace.per_image.name}", published.per_image)
    # The experiment that produced it may still be here, with its predictions.
    revisions = [revision for other, revision in experiment_revisions(workspace) if other == experiment_name(name)]
    same = [revision for revision in revisions if bytes_at(workspace, revision, path) == published.per_image]
    predictions = _from_cache(workspace, same[0]) if same else None
    return NamedResult(name, table, predictions, published.data_set, published.has_record, published.predictor)


def _find_revision(workspace: Workspace, name: str) -> str:
    """Return the commit of the default, an experiment or a git revision; raise UserError if there is none."""
    revision = _git_revision(workspace, "HEAD") if name == DEFAULT else _experiment_revision(workspace, name)
    revision = revision or _git_revision(workspace, name)
    if revision is None:
        experiments = [experiment for experiment, _ in experiment_revisions(workspace)]
        known = [WORKSPACE, DEFAULT, *published_names(workspace), *experiments]
        raise UserError(f"{shorten(repr(name))} is not a result. Use one of {first_ten(known)}, or any git revision.")
    return revision


def _experiment_revision(workspace: Workspace, name: str) -> str | None:
    revisions = [revision for experiment, revision in experiment_revisions(workspace) if experiment == name]
    if len(revisions) > 1:
        short = ", ".join(revision[:7] for revision in revisions)
        raise UserError(f"{len(revisions)} DVC experiments are named {name} ({short}). Use one of these revisions.")
    return revisions[0] if revisions else None


def _git_revision(workspace: Workspace, name: str) -> str | None:
    command = ("git", "rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
    try:
        return run_command(*command, folder=workspace.root).strip()
    except UserError:
        return None


def _from_folder(folder: Path) -> ReadPrediction:
    def read(image_id: str) -> Pixels | None:
        content = stored_bytes(folder, f"{image_id}.png")
        return None if content is None else _decode_prediction(content)

    return read


def _from_cache(workspace: Workspace, revision: str) -> ReadPrediction:
    """Return a function that reads predictions of a commit from DVC's cache or remote."""
    opened: list[Any] = []

    def read(image_id: str) -> Pixels | None:
        from dvc.api import DVCFileSystem

        try:
            if not opened:
                opened.append(DVCFileSystem(str(workspace.root), rev=revision))
            return _decode_prediction(
                _read_file(opened[0], workspace.relative(workspace.predictions), f"{image_id}.png")
            )
        except Exception:  # caches and remotes raise many kinds of errors, and a comparison works without images
            return None

    return read


def _read_file(files: Any, folder: str, name: str) -> bytes:
    """Return the content of a file in a folder of images, see `images.folders`. `files` is a file system of DVC."""
    if not files.exists(f"{folder}/{INDEX}"):
        return bytes(files.read_bytes(f"{folder}/{name}"))
    shard = shard_name(json.loads(files.read_bytes(f"{folder}/{INDEX}")), name)
    with ZipFile(io.BytesIO(files.read_bytes(f"{folder}/{shard}"))) as shard_files:
        return shard_files.read(name)


def _decode_prediction(content: bytes) -> Pixels:
    with open_image(content) as image:
        pixels: Pixels = np.asarray(image)
        # Old predictions, from before there were classes, are gray: 255 in the lesion.
        return pixels if image.mode == "P" else (pixels > 0).astype(np.uint8)
