"""Read the per_image.csv of any result, also of earlier versions."""

import io
import json
from typing import Any

import numpy as np
import pandas as pd

from naevi.errors import UserError, describe_error
from naevi.evaluation.summary import absent_classes
from naevi.files import read_csv
from naevi.record import score_problems

REQUIRED_COLUMNS = ["image_id", "fold", "dice", "iou"]
FILLED_COLUMNS = ["image_id", "dataset", "dice", "iou"]  # without empty cells, if the table has the column
SCORE_COLUMNS = ["dice", "iou"]  # empty for an absent class, which has no score
NUMBER_COLUMNS = ["dice", "iou", "tp", "fn"]


def parse_per_image(name: str, path: str, content: bytes | None) -> pd.DataFrame:
    """Return the table in the bytes of a per_image.csv. `name` and `path` are for messages.

    Raises UserError if `content` is None or can't be used.
    """
    if content is None:
        raise UserError(f"{name} has no {path}. Run `dvc repro` or `dvc exp run` first, or use another result.")
    try:
        rows = read_csv(io.StringIO(content.decode("utf-8", errors="replace")))
        rows = rows.astype({column: float for column in NUMBER_COLUMNS if column in rows})
    except ValueError as error:
        raise UserError(f"{path} of {name} can't be read ({describe_error(error)}). Use another result.") from error
    if missing := [column for column in REQUIRED_COLUMNS if column not in rows]:
        raise UserError(f"{path} of {name} has no column {', '.join(missing)}. Use another result.")
    columns = [column for column in FILLED_COLUMNS if column in rows]
    filled = rows[columns].replace([np.inf, -np.inf], np.nan).notna()
    filled.loc[absent_classes(rows), SCORE_COLUMNS] = True
    if not filled.all(axis=None):
        empty = ", ".join(filled.columns[~filled.all()])
        raise UserError(f"{path} of {name} has rows without {empty}. Use another result.")
    return rows


def table_source(per_image: pd.DataFrame) -> str:
    """Return data.source from the column `dataset`, or "" if the table lacks it."""
    return " and ".join(sorted(set(per_image.dataset))) if "dataset" in per_image else ""


def parse_metrics(path: str, content: bytes) -> dict[str, Any]:
    """Return the scores in the bytes of a metrics.json. Raises UserError if they can't be read."""
    try:
        scores: dict[str, Any] = json.loads(content)
        for name in SCORE_COLUMNS:
            scores[name].get("mean")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} can't be read ({describe_error(error)}). Restore it with `git restore`.") from error
    return scores


def check_scores(path: str, metrics: bytes, per_image: pd.DataFrame) -> dict[str, Any]:
    """Return the scores in the bytes of a metrics.json. Raises UserError if they contradict the table of its images."""
    scores = parse_metrics(path, metrics)
    if problems := score_problems(scores, per_image):
        raise UserError(
            f"{path} contradicts its per_image.csv: {problems[0]}. Restore both with `git restore`, or run again."
        )
    return scores
