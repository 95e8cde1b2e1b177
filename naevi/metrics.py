"""How well predictions match masks: per image first, averaged last.

Written here, because the scores are what this project exists for; a test holds them against scikit-learn's.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from naevi.config import EvaluateConfig

SCORES = ["dice", "iou", "sensitivity", "specificity"]


def counts(masks: ArrayLike, predictions: ArrayLike) -> pd.DataFrame:
    """Pixels by outcome, one row per image: tp, fp, fn, tn, from masks and predictions (N, ...) of 0 and 1."""
    mask = np.asarray(masks, dtype=bool).reshape(len(np.asarray(masks)), -1)
    prediction = np.asarray(predictions, dtype=bool).reshape(mask.shape)
    tp = (mask & prediction).sum(axis=1)
    fp = prediction.sum(axis=1) - tp
    fn = mask.sum(axis=1) - tp
    return pd.DataFrame({"tp": tp, "fp": fp, "fn": fn, "tn": mask.shape[1] - tp - fp - fn})


def scores(counts: pd.DataFrame) -> pd.DataFrame:
    """Dice, IoU, sensitivity and specificity of each row of counts, 0..1.

    NaN where a score is not defined: Dice and IoU of an empty mask and an empty prediction, sensitivity of an empty
    mask, specificity of a mask that fills the frame. An empty prediction of a lesion scores 0.
    """
    tp, fp, fn, tn = (counts[name].astype(float) for name in ("tp", "fp", "fn", "tn"))
    return pd.DataFrame(
        {
            "dice": 2 * tp / (2 * tp + fp + fn),
            "iou": tp / (tp + fp + fn),
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
        }
    )


def summary(test: pd.DataFrame, validation: pd.DataFrame, settings: EvaluateConfig) -> dict[str, Any]:
    """The figures of reports/metrics.json, numbers in nested dicts.

    `test` is per_image.csv: one row per image, by a model that never saw it; `validation` has the same columns, one
    row per image and fold in whose validation part it was.
    """
    return {
        "images": len(test),
        "folds": int(test.fold.nunique()),
        "dice": distribution(test.dice, settings),
        "iou": distribution(test.iou, settings),
        "sensitivity": {"mean": float(test.sensitivity.mean())},
        "specificity": {"mean": float(test.specificity.mean())},
        "val": _means(validation),
        "by_diagnosis": {name: _means(rows) for name, rows in sorted(test.groupby("diagnosis"))},
        "fold": {str(fold): _means(rows) for fold, rows in sorted(test.groupby("fold"))},
    }


def distribution(values: pd.Series, settings: EvaluateConfig) -> dict[str, float]:
    """Mean with its 95 % percentile bootstrap interval over images, median and 5th percentile."""
    sample: NDArray[np.float64] = values.to_numpy(dtype=float)
    low = high = sample[0]
    if np.ptp(sample) > 0:  # scipy warns of equal values, whose interval is a point
        found = bootstrap(
            (sample,),
            np.mean,
            n_resamples=settings.resamples,
            method="percentile",
            batch=1000,
            rng=np.random.default_rng(settings.seed),
        ).confidence_interval
        low, high = found.low, found.high
    return {
        "mean": float(sample.mean()),
        "low": float(low),
        "high": float(high),
        "median": float(np.median(sample)),
        "p05": float(np.percentile(sample, 5)),
    }


def _means(rows: pd.DataFrame) -> dict[str, float]:
    return {"dice": float(rows.dice.mean()), "iou": float(rows.iou.mean())}


def read(path: Path) -> dict[str, Any]:
    """The figures of a metrics.json, nested as `summary` made them."""
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures
