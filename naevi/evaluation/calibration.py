"""Calibration: of the pixels with a probability of .8, eight in ten should be foreground.

Pixels are counted by probability in N_BINS bins and summed over images, because all pixels of PH2 at once would fill
the memory. All curves come from these counts, so a probability is exact to half a bin.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

N_BINS = 1000  # of probability
N_SHOWN_BINS = 10  # of the reliability curve and of the expected calibration error

Counts = NDArray[np.int64]
CENTERS = (np.arange(N_BINS) + 0.5) / N_BINS


def count_by_probability(probability: NDArray[np.float32], area: NDArray[np.bool_]) -> Counts:
    """Return the pixels outside and inside an area by probability, of one shape, int64 (2, N_BINS)."""
    bins = np.minimum((probability * N_BINS).astype(np.int64), N_BINS - 1) + N_BINS * area
    return np.bincount(bins.ravel(), minlength=2 * N_BINS).reshape(2, N_BINS)


def brier_score(probability: NDArray[np.float32], area: NDArray[np.bool_]) -> float:
    """Return the mean squared difference of probability and truth over pixels: 0 is best, .25 chance."""
    return float(np.square(probability - area, dtype=np.float64).mean())


def dice_confidence(probability: NDArray[np.float32], prediction: NDArray[np.bool_]) -> float:
    """Return the expected Dice of a prediction (H, W), estimated from probabilities (H, W), 0..1.

    This is the soft Dice confidence of Borges, Pacheco, Silva, 2024, https://arxiv.org/abs/2402.10665: twice the
    probability inside the prediction, divided by the sum of all probability and the prediction's area. It is 1 if
    nothing is predicted.
    """
    total = float(probability.sum(dtype=np.float64)) + float(prediction.sum())
    return 2 * float(probability[prediction].sum(dtype=np.float64)) / total if prediction.any() else 1.0


def reliability_curve(counts: Counts) -> pd.DataFrame:
    """Return one row for each of N_SHOWN_BINS bins that has pixels: probability (mean), observed (share), pixels."""
    outside, inside = counts.reshape(2, N_SHOWN_BINS, N_BINS // N_SHOWN_BINS)
    pixels = (outside + inside).sum(axis=1)
    weighted = ((outside + inside) * CENTERS.reshape(N_SHOWN_BINS, -1)).sum(axis=1)
    filled = pixels > 0
    return pd.DataFrame(
        {
            "probability": weighted[filled] / pixels[filled],
            "observed": inside.sum(axis=1)[filled] / pixels[filled],
            "pixels": pixels[filled],
        }
    )


def expected_calibration_error(counts: Counts) -> float:
    """Return the expected calibration error: |probability - observed| of the reliability curve, mean over pixels."""
    curve = reliability_curve(counts)
    return float(((curve.probability - curve.observed).abs() * curve.pixels).sum() / curve.pixels.sum())


def threshold_curve(counts: Counts) -> pd.DataFrame:
    """Return pooled pixel scores by threshold: threshold, sensitivity, false_positive_rate, precision.

    One row for the lower border of each bin and one for 1. Precision is 1 if no pixel is predicted.
    """
    # Pixels with at least each threshold.
    false, true = (np.append(np.cumsum(side[::-1])[::-1], 0) for side in counts)
    return pd.DataFrame(
        {
            "threshold": np.arange(N_BINS + 1) / N_BINS,
            "sensitivity": true / max(1, true[0]),
            "false_positive_rate": false / max(1, false[0]),
            "precision": np.divide(true, true + false, out=np.ones(N_BINS + 1), where=true + false > 0),
        }
    )


def risk_coverage_curve(confidences: pd.Series, dice: pd.Series) -> pd.DataFrame:
    """Return the mean Dice of the most confident images, if the others are set aside for a person to look at.

    One row for each number of images: coverage (their share, rising to 1) and dice (their mean). Ties in confidence
    keep the order of the rows. Images without a Dice are left out.
    """
    confidences, dice = confidences[dice.notna()], dice.dropna()
    order = np.argsort(-confidences.to_numpy(), kind="stable")
    number = np.arange(1, len(dice) + 1)
    return pd.DataFrame({"coverage": number / len(dice), "dice": np.cumsum(dice.to_numpy()[order]) / number})
