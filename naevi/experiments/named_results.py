"""Results by name: the workspace, the committed default, published results, DVC experiments, git revisions."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from naevi.errors import UserError, describe_error, first_ten
from naevi.experiments.published import DEFAULT, experiment_name, published_names
from naevi.experiments.repository import experiment_revisions, run_command, text_at
from naevi.files import read_csv
from naevi.images import Pixels
from naevi.workspace import Workspace

WORKSPACE = "workspace"
REQUIRED_COLUMNS = ["image_id", "fold", "dice", "iou"]
FILLED_COLUMNS = ["image_id", "dataset", "dice", "iou"]  # no cell may be empty, if the table has the column
NUMBER_COLUMNS = ["dice", "iou", "tp", "fn"]

# Returns the prediction for an image id: uint8 (H, W), class indices; None if there is none.
ReadPrediction = Callable[[str], Pixels | None]


@dataclass(frozen=True)
class NamedResult:
    """A result: its name, its per_image.csv, and a function that reads its predictions if they may be available."""

    name: str
    per_image: pd.DataFrame
    predictions: ReadPrediction | None = None


def load_result(workspace: Workspace, name: str) -> NamedResult:
    """Return a result: `workspace`, `default`, a published result, a DVC experiment or a git revision.

    Raises UserError if nothing has this name, or if its per_image.csv is missing or can't be used.
    """
    path = workspace.relative(workspace.per_image)
    if name == WORKSPACE:
        text = _read_text(workspace.per_image) if workspace.per_image.exists() else None
        return NamedResult(name, _parse_per_image(name, path, text), _from_folder(workspace.predictions))
    if name in published_names(workspace):
        text = _read_text(_published_table(workspace, name))
        # The experiment that produced it may still be here, with its predictions.
        revisions = [revision for other, revision in experiment_revisions(workspace) if other == experiment_name(name)]
        same = [revision for revision in revisions if text_at(workspace, revision, path) == text]
        predictions = _from_cache(workspace, same[0]) if same else None
        return NamedResult(name, _parse_per_image(name, path, text), predictions)
    revision = _find_revision(workspace, name)
    table = _parse_per_image(name, path, text_at(workspace, revision, path))
    return NamedResult(name, table, _from_cache(workspace, revision))


def other_results(workspace: Workspace) -> Iterator[NamedResult]:
    """Yield the committed default, all published results and all DVC experiments, except those that can't be read."""
    path = workspace.relative(workspace.per_image)
    revisions = ["HEAD", *(revision for _, revision in experiment_revisions(workspace))]
    texts = [text_at(workspace, revision, path) for revision in revisions]
    texts += [_read_text(_published_table(workspace, name)) for name in published_names(workspace)]
    for text in texts:
        try:
            yield NamedResult("another result", _parse_per_image("another result", path, text))
        except UserError:  # such as an experiment that failed before it wrote the table
            continue


def _published_table(workspace: Workspace, name: str) -> Path:
    return workspace.results / name / workspace.per_image.name


def _find_revision(workspace: Workspace, name: str) -> str:
    """Return the commit of the default, an experiment or a git revision; raise UserError if there is none."""
    revision = _git_revision(workspace, "HEAD") if name == DEFAULT else _experiment_revision(workspace, name)
    revision = revision or _git_revision(workspace, name)
    if revision is None:
        experiments = [experiment for experiment, _ in experiment_revisions(workspace)]
        known = [WORKSPACE, DEFAULT, *published_names(workspace), *experiments]
        raise UserError(f"{name!r} is not a result. Use one of {first_ten(known)}, or any git revision.")
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


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")  # _parse_per_image reports what is corrupt


def _parse_per_image(name: str, path: str, text: str | None) -> pd.DataFrame:
    if text is None:
        raise UserError(f"{name} has no {path}. Run `dvc repro` or `dvc exp run` first, or use another result.")
    try:
        rows = read_csv(io.StringIO(text))
        rows = rows.astype({column: float for column in NUMBER_COLUMNS if column in rows})
    except ValueError as error:
        raise UserError(f"{path} of {name} can't be read ({describe_error(error)}). Use another result.") from error
    if missing := [column for column in REQUIRED_COLUMNS if column not in rows]:
        raise UserError(f"{path} of {name} has no column {', '.join(missing)}. Use another result.")
    columns = [column for column in FILLED_COLUMNS if column in rows]
    filled = rows[columns].replace([np.inf, -np.inf], np.nan).notna()
    if not filled.all(axis=None):
        empty = ", ".join(filled.columns[~filled.all()])
        raise UserError(f"{path} of {name} has rows without {empty}. Use another result.")
    return rows


def _from_folder(folder: Path) -> ReadPrediction:
    def read(image_id: str) -> Pixels | None:
        file = folder / f"{image_id}.png"
        return _decode_prediction(file.read_bytes()) if file.exists() else None

    return read


def _from_cache(workspace: Workspace, revision: str) -> ReadPrediction:
    """Return a function that reads predictions of a commit from DVC's cache or remote."""
    opened: list[Any] = []

    def read(image_id: str) -> Pixels | None:
        from dvc.api import DVCFileSystem

        try:
            if not opened:
                opened.append(DVCFileSystem(str(workspace.root), rev=revision))
            path = workspace.relative(workspace.predictions / f"{image_id}.png")
            return _decode_prediction(opened[0].read_bytes(path))
        except Exception:  # caches and remotes raise many kinds of errors, and a comparison works without images
            return None

    return read


def _decode_prediction(content: bytes) -> Pixels:
    with Image.open(io.BytesIO(content)) as image:
        pixels: Pixels = np.asarray(image)
        # Old predictions, from before there were classes, are gray: 255 in the lesion.
        return pixels if image.mode == "P" else (pixels > 0).astype(np.uint8)
