"""Review a data set before training: score how suspicious each image is, and write the review page."""

import logging
from typing import Any

import pandas as pd

from naevi.config import DataConfig
from naevi.preprocessing.prepare import Prepared
from naevi.rendering.data_sets import DATASET_NAMES, SYNTHETIC_LABEL
from naevi.review.page import write_review
from naevi.review.suspicion import count_reasons, image_checks, not_compared, number_flagged
from naevi.tables import SUMMARY, read_decisions
from naevi.workspace import Workspace

logger = logging.getLogger(__name__)

ORIENTATION = "data.reading.orientation"
CHECK = "; check them"  # how the text of a decision ends if each of its images needs a look


def review_data(
    workspace: Workspace,
    data: DataConfig,
    prepared: Prepared,
    statistics: dict[str, Any],
) -> pd.DataFrame:
    """Write reports/review.html for the images in data/prepared; return a row for each image, see `image_checks`.

    A line on the terminal has the number of images for each reason.

    `statistics` is the content of data.json.
    """
    findings = [
        (item, f"{decision}.")
        for decision, items, parameter in read_decisions(workspace)
        if parameter == ORIENTATION and decision.endswith(CHECK)
        for item in items
    ]
    orientation = pd.DataFrame(findings, columns=["image_id", "text"])
    image_table, pairs = prepared.image_table, prepared.near_duplicates
    checks = image_checks(prepared.reviewed, image_table, pairs, prepared.vanished, orientation)
    write_review(
        workspace.review_html,
        workspace.prepared,
        image_table,
        checks,
        pairs,
        pd.DataFrame(statistics["decisions"], columns=SUMMARY),
        name=DATASET_NAMES[data.source],
        classes=data.names(),
        synthetic_label=SYNTHETIC_LABEL if data.source == "phantoms" else "",
    )
    logger.info("%s", _summary(workspace, checks))
    return checks


def _summary(workspace: Workspace, checks: pd.DataFrame) -> str:
    """Return a sentence about the number of images for each reason."""
    page = workspace.relative(workspace.review_html)
    flagged, missing = number_flagged(checks), not_compared(checks)
    if not flagged:
        return f"review: no image has a reason for a closer look. {page} shows all of them. {missing}".rstrip()
    text = ", ".join(f"{reason.name} {number}" for reason, number in count_reasons(checks))
    start = f"review: {flagged} of {len(checks)} images have a reason for a closer look ({text}). See {page}."
    return f"{start} {missing}".rstrip()
