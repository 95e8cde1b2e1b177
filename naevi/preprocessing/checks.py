"""Report what preprocessing noticed about a data set: tables in data/checks, warnings, and statistics."""

import logging
from typing import Any

import pandas as pd

from naevi.config import PreprocessConfig
from naevi.files import atomic_folder, write_csv, write_json
from naevi.preprocessing.near_duplicates import near_duplicate_warnings
from naevi.preprocessing.prepare import Prepared
from naevi.preprocessing.statistics import statistics_by_diagnosis
from naevi.preprocessing.vanished import MAX_SIZE, MIN_PIXELS, suggest_size
from naevi.tables import Decision, decision_table, describe_decisions, read_decisions
from naevi.workspace import Workspace

logger = logging.getLogger(__name__)


def write_checks(
    workspace: Workspace, prepared: Prepared, statistics: dict[str, Any], suspicions: pd.DataFrame | None
) -> None:
    """Write data/checks: data.json, near_duplicates.csv, vanished.csv (lesions that are too small), suspicions.csv.

    `statistics` is the result of `check_data`, `suspicions` that of `review.suspicion.image_checks`, if there is one.
    """
    with atomic_folder(workspace.checks) as folder:
        write_json(folder / workspace.statistics_source.name, statistics)
        write_csv(folder / workspace.near_duplicates.name, prepared.near_duplicates)
        write_csv(folder / workspace.vanished.name, prepared.vanished)
        if suspicions is not None:
            write_csv(folder / workspace.suspicions.name, suspicions)


def check_data(workspace: Workspace, prepared: Prepared, settings: PreprocessConfig) -> dict[str, Any]:
    """Return the content of data.json and print its warnings.

    images, digest, near_duplicate_correlation, near_duplicates (number of pairs), decisions (of download and
    preprocess, see `tables.decision_table`), warnings, and statistics of all images and of each diagnosis.
    """
    own = preprocess_decisions(prepared, settings)
    warnings = near_duplicate_warnings(prepared.image_table, prepared.near_duplicates, prepared.chains)
    for line in [*describe_decisions(decision_table(own)), *warnings]:
        logger.warning("%s", line)
    decisions = decision_table([*read_decisions(workspace), *own])
    return {
        "images": len(prepared.image_table),
        "digest": prepared.digest,
        "near_duplicate_correlation": settings.near_duplicates,
        "near_duplicates": len(prepared.near_duplicates),
        "decisions": decisions.to_dict("records"),
        "warnings": warnings,
    } | statistics_by_diagnosis(prepared.image_table)


def preprocess_decisions(prepared: Prepared, settings: PreprocessConfig) -> list[Decision]:
    """Return the decisions that preprocessing made about images."""
    decisions = []
    minute = prepared.vanished.pixels < MIN_PIXELS
    if minute.any():
        text = f"Masks with lesions of fewer than {MIN_PIXELS} pixels at native size, possibly mistakes; check them"
        decisions.append(Decision(text, _ids(prepared.vanished[minute]), "preprocess.size"))
    if len(small := prepared.vanished[~minute]):
        size = suggest_size(small)
        text = f"{size} px would keep them" if size else f"not even {MAX_SIZE} px would keep all of them"
        text = f"Lesions with fewer than {MIN_PIXELS} pixels at {settings.size} px; {text}"
        decisions.append(Decision(text, _ids(small), "preprocess.size"))
    pairs = prepared.near_duplicates
    in_pairs = sorted({*pairs["first"], *pairs["second"]})
    decisions.append(Decision("Near-duplicates, kept in one part of the split", in_pairs, "preprocess.near_duplicates"))
    empty = prepared.image_table.image_id[prepared.image_table.lesion_fraction == 0].tolist()
    decisions.append(Decision("Empty masks, kept", empty, "preprocess.empty_masks"))
    return decisions


def _ids(vanished: pd.DataFrame) -> list[str]:
    return vanished.image_id.unique().tolist()
