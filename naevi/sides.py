"""Results by name: what lies here, what is committed, published results, DVC experiments, git revisions."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from naevi import commands, history, paths, results, tables
from naevi.images import Pixels
from naevi.refusal import Refusal, reason, some

WORKSPACE = "workspace"
NEEDED = ["image_id", "fold", "dice", "iou"]
FILLED = ["image_id", "dataset", "dice", "iou"]  # in each row, where the table has the column
NUMBERS = ["dice", "iou", "tp", "fn"]


@dataclass(frozen=True)
class Side:
    """One of two results: its name, its per_image.csv, and what gives the prediction of an image, where it is at hand.

    A prediction is uint8 (H, W) of classes; None where there is none.
    """

    name: str
    per_image: pd.DataFrame
    predictions: Callable[[str], Pixels | None] | None = None


def side(name: str) -> Side:
    """A result by its name: `workspace`, `default`, a published one, a DVC experiment or a git revision.

    Raises Refusal where nothing has this name, or what has it holds no per_image.csv that can be read.
    """
    if name == WORKSPACE:
        text = _text(paths.PER_IMAGE) if paths.PER_IMAGE.exists() else None
        return Side(name, _table(name, text), _from_folder(paths.PREDICTIONS))
    if name in results.names():
        text = _text(paths.RESULTS / name / paths.PER_IMAGE.name)
        # What published it was an experiment of this name, which may still be here with its predictions.
        made = [revision for experiment, revision in _experiments() if experiment == f"result-{name}"]
        same = [each for each in made if history.text_at(each, paths.PER_IMAGE.as_posix()) == text]
        return Side(name, _table(name, text), _from_cache(same[0]) if same else None)
    revision = _revision("HEAD") if name == results.DEFAULT else _experiment(name) or _revision(name)
    if not revision:
        raise Refusal(f"{name!r} is no result; these are: {some(_known())}, or any git revision.")
    return Side(name, _table(name, history.text_at(revision, paths.PER_IMAGE.as_posix())), _from_cache(revision))


def others() -> Iterator[Side]:
    """All that was measured: the committed default, the published results and the DVC experiments that can be read."""
    path = paths.PER_IMAGE.as_posix()
    texts = [history.text_at(revision, path) for revision in ["HEAD", *(revision for _, revision in _experiments())]]
    texts += [_text(paths.RESULTS / name / paths.PER_IMAGE.name) for name in results.names()]
    for text in texts:
        try:
            yield Side("another result", _table("another result", text))
        except Refusal:  # it failed before it wrote one
            continue


def _known() -> list[str]:
    return [WORKSPACE, results.DEFAULT, *results.names(), *(name for name, _ in _experiments())]


def _experiments() -> list[tuple[str, str]]:
    """Name and revision of each DVC experiment."""
    return [each for found in history.experiments().values() for each in found.items()]


def _experiment(name: str) -> str | None:
    found = [revision for experiment, revision in _experiments() if experiment == name]
    if len(found) > 1:
        short = ", ".join(revision[:7] for revision in found)
        raise Refusal(f"{len(found)} DVC experiments are named {name} ({short}): name one by its revision.")
    return found[0] if found else None


def _revision(name: str) -> str | None:
    try:
        wanted = f"{name}^{{commit}}"
        return commands.run("git", "rev-parse", "--quiet", "--verify", "--end-of-options", wanted).strip()
    except Refusal:
        return None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")  # spoilt bytes are told of with the rest


def _table(name: str, text: str | None) -> pd.DataFrame:
    path = paths.PER_IMAGE.as_posix()
    if text is None:
        raise Refusal(f"{name} has no {path}: name a result after `dvc repro` or `dvc exp run`.")
    try:
        rows = tables.read(io.StringIO(text))
        rows = rows.astype({name: float for name in NUMBERS if name in rows})
    except ValueError as error:
        raise Refusal(f"{path} of {name} can't be read ({reason(error)}): name another result.") from error
    if missing := [column for column in NEEDED if column not in rows]:
        raise Refusal(f"{path} of {name} lacks {', '.join(missing)}: name another result.")
    filled = rows[[column for column in FILLED if column in rows]].replace([np.inf, -np.inf], np.nan).notna()
    if not filled.all(axis=None):
        empty = ", ".join(filled.columns[~filled.all()])
        raise Refusal(f"{path} of {name} has rows without {empty}: name another result.")
    return rows


def _from_folder(folder: Path) -> Callable[[str], Pixels | None]:
    def read(image_id: str) -> Pixels | None:
        file = folder / f"{image_id}.png"
        return _prediction(file.read_bytes()) if file.exists() else None

    return read


def _from_cache(revision: str) -> Callable[[str], Pixels | None]:
    """Predictions of a commit from DVC's cache, or its remote."""
    opened: list[Any] = []

    def read(image_id: str) -> Pixels | None:
        from dvc.api import DVCFileSystem

        try:
            if not opened:
                opened.append(DVCFileSystem(rev=revision))
            return _prediction(opened[0].read_bytes((paths.PREDICTIONS / f"{image_id}.png").as_posix()))
        except Exception:  # caches and remotes fail in many ways without a common class; a picture is an extra
            return None

    return read


def _prediction(content: bytes) -> Pixels:
    with Image.open(io.BytesIO(content)) as picture:
        pixels: Pixels = np.asarray(picture)
        # Before there were classes, predictions were grey: 255 where the lesion is.
        return pixels if picture.mode == "P" else (pixels > 0).astype(np.uint8)
