"""Review a data set before training: score how suspicious each image is, and write the review page."""

from typing import Any

import pandas as pd

from naevi.config import DataConfig
from naevi.rendering.data_sets import DATASET_NAMES, SYNTHETIC_LABEL
from naevi.review.page import write_review
from naevi.review.suspicion import image_checks
from naevi.tables import SUMMARY, read_decisions
from naevi.workspace import Workspace

ORIENTATION = "data.reading.orientation"


def review_data(
    workspace: Workspace,
    data: DataConfig,
    image_table: pd.DataFrame,
    pairs: pd.DataFrame,
    vanished: pd.DataFrame,
    statistics: dict[str, Any],
) -> pd.DataFrame:
    """Write reports/review.html for the images in data/prepared; return a row for each image, see `image_checks`.

    `pairs` and `vanished` are the tables in data/checks, `statistics` is the content of reports/data.json.
    """
    findings = [
        (item, f"{decision}.")
        for decision, items, parameter in read_decisions(workspace)
        if parameter == ORIENTATION
        for item in items
    ]
    orientation = pd.DataFrame(findings, columns=["image_id", "text"])
    checks = image_checks(workspace.prepared, image_table, pairs, vanished, orientation)
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
    return checks
