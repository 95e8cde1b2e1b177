"""Failure detection: whether a low confidence indicates a low Dice."""

import math

import numpy as np
import pandas as pd

from naevi.evaluation.summary import COVERAGES, scored_images, selective_dice
from naevi.rendering.tables import Table
from naevi.reporting.formatting import format_number
from naevi.reporting.result import ReportData
from naevi.reporting.selection import select_worst

CONFIDENCE_NOTE = (
    "Confidence is the expected Dice of a prediction, estimated from the probabilities of its pixels (soft Dice "
    "confidence, Borges, Pacheco, Silva, 2024, arXiv 2402.10665). It needs no mask, so it is available for new images "
    "too. With more than two classes, it is the mean over the predicted classes, and 0 if nothing is predicted. The "
    "upper bound ranks images by their true Dice."
)


def failure_detection(result: ReportData) -> str:
    """Return how well confidence ranks the images, and how many of the worst are among the least confident.

    Images without a score are left out.
    """
    images = scored_images(result.per_image)
    worst = set(select_worst(images).image_id)
    n_rejected = len(images) - round(max(COVERAGES) / 100 * len(images))
    rejected = set(images.sort_values("confidence", kind="stable").image_id.head(n_rejected))
    correlation = format_number(spearman(images.confidence, images.dice))
    return (
        f"Rank correlation of confidence and Dice (Spearman): {correlation}. "
        f"{len(worst & rejected)} of the {len(worst)} worst images are among the {n_rejected} least confident of "
        f"{len(images)}."
    )


def spearman(first: pd.Series, second: pd.Series) -> float:
    """Return the rank correlation, or NaN if one of the series is constant."""
    ranks = first.rank(), second.rank()
    return float(np.corrcoef(*ranks)[0, 1]) if all(series.nunique() > 1 for series in ranks) else math.nan


def selective_table(result: ReportData) -> Table:
    """Return the mean Dice of the most confident images, and its upper bound."""
    best = selective_dice(result.per_image.dice, result.per_image.dice)
    mean = format_number(result.metrics["dice"]["mean"])
    rows = [["all", mean, mean]]
    for coverage in COVERAGES:
        dice, bound = (scores[f"dice_at_{coverage}"] for scores in (result.metrics["kept"], best))
        rows.append([f"most confident {coverage} %", format_number(dice), format_number(bound)])
    return Table(["images kept", "mean Dice", "upper bound"], rows)
