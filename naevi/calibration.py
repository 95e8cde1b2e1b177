"""Whether a probability means what it says: of the pixels called .8, eight in ten should be lesion.

Pixels are counted by probability in fine bins and added up over images, since all of PH2's at once would fill a memory;
a probability is then known to half a BINS-th. All curves come from these counts.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BINS = 1000  # of probability
SHOWN = 10  # bins of the reliability curve and of the expected calibration error

Counts = NDArray[np.int64]
CENTERS = (np.arange(BINS) + 0.5) / BINS


def counts(probability: NDArray[np.float32], area: NDArray[np.bool_]) -> Counts:
    """Pixels outside and inside of the area (H, W) by probability (H, W): int64 (2, BINS)."""
    places = np.minimum((probability * BINS).astype(np.int64), BINS - 1) + BINS * area
    return np.bincount(places.ravel(), minlength=2 * BINS).reshape(2, BINS)


def brier(probability: NDArray[np.float32], area: NDArray[np.bool_]) -> float:
    """The mean squared difference of probability and truth over the pixels of one image: 0 is best, .25 is chance."""
    return float(np.square(probability - area, dtype=np.float64).mean())


def confidence(probability: NDArray[np.float32], prediction: NDArray[np.bool_]) -> float:
    """The Dice that the probabilities (H, W) let expect of a prediction (H, W), 0..1; 1 where nothing is predicted.

    Twice the probability inside of the prediction, by all of it and the prediction's area: the soft Dice confidence of
    Borges, Pacheco, Silva, 2024, https://arxiv.org/abs/2402.10665.
    """
    total = float(probability.sum(dtype=np.float64)) + float(prediction.sum())
    return 2 * float(probability[prediction].sum(dtype=np.float64)) / total if prediction.any() else 1.0


def reliability(found: Counts) -> pd.DataFrame:
    """One row per SHOWN-th of the range that has pixels: their mean probability, the part observed in the area, number.

    Columns: probability, observed, pixels.
    """
    outside, inside = found.reshape(2, SHOWN, BINS // SHOWN)
    pixels = (outside + inside).sum(axis=1)
    weighted = ((outside + inside) * CENTERS.reshape(SHOWN, -1)).sum(axis=1)
    there = pixels > 0
    return pd.DataFrame(
        {
            "probability": weighted[there] / pixels[there],
            "observed": inside.sum(axis=1)[there] / pixels[there],
            "pixels": pixels[there],
        }
    )


def expected_error(found: Counts) -> float:
    """The expected calibration error: |probability - observed| of the reliability curve, the mean over pixels."""
    curve = reliability(found)
    return float(((curve.probability - curve.observed).abs() * curve.pixels).sum() / curve.pixels.sum())


def thresholds(found: Counts) -> pd.DataFrame:
    """What each threshold would do to the pixels of all images together, from "everything is the area" to "nothing is".

    One row per lower border of a bin, and 1: threshold, sensitivity, false_positive_rate, precision (1 where nothing is
    left).
    """
    # From each bin on.
    false, true = (np.append(np.cumsum(side[::-1])[::-1], 0) for side in found)
    return pd.DataFrame(
        {
            "threshold": np.arange(BINS + 1) / BINS,
            "sensitivity": true / max(1, true[0]),
            "false_positive_rate": false / max(1, false[0]),
            "precision": np.divide(true, true + false, out=np.ones(BINS + 1), where=true + false > 0),
        }
    )


def risk_coverage(confidences: pd.Series, dice: pd.Series) -> pd.DataFrame:
    """What is left of the error when the least confident images are set aside for a person to look at.

    One row per number of images kept: coverage (their part, rising to 1) and dice (their mean). Of equal confidence,
    the first row counts as the more confident.
    """
    order = np.argsort(-confidences.to_numpy(), kind="stable")
    kept = np.arange(1, len(dice) + 1)
    return pd.DataFrame({"coverage": kept / len(dice), "dice": np.cumsum(dice.to_numpy()[order]) / kept})
