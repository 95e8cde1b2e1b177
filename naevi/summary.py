"""What is known of many images, from the scores of each: means, intervals, groups; metrics.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap

from naevi import metrics
from naevi.config import EvaluateConfig


def by_image(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per image (and fold) from one per image and class: means of the scores, sums of the pixels."""
    how = dict.fromkeys(metrics.SCORES, "mean") | dict.fromkeys(["tp", "fp", "fn", "tn"], "sum")
    keys = ["image_id", "dataset", "diagnosis", "fold"]
    return rows.groupby(keys, sort=False, as_index=False).agg(how)


def tested(test: pd.DataFrame, settings: EvaluateConfig) -> dict[str, Any]:
    """What is known of tested images, numbers in nested dicts; `test` is per_image.csv.

    An image's score is the mean over its classes; by_class has them apart where there are several.
    """
    images = by_image(test)
    classes = {str(name): _means(rows) for name, rows in test.groupby("class", sort=False)}
    return {
        "images": len(images),
        "empty_masks": int((test.tp + test.fn == 0).sum()),
        "dice": distribution(images.dice, settings),
        "iou": distribution(images.iou, settings),
        "sensitivity": {"mean": float(images.sensitivity.mean())},
        "specificity": {"mean": float(images.specificity.mean())},
        "by_diagnosis": {str(name): _means(rows) for name, rows in sorted(images.groupby("diagnosis"))},
    } | ({"by_class": classes} if len(classes) > 1 else {})


def cross_validated(test: pd.DataFrame, validation: pd.DataFrame, settings: EvaluateConfig) -> dict[str, Any]:
    """The figures of reports/metrics.json: those of `tested`, with means of the folds and of the validation parts.

    `validation` has the columns of `test`, with rows for each fold in whose validation part an image was.
    """
    folds = by_image(test).groupby("fold")
    return tested(test, settings) | {
        "folds": len(folds),
        "val": _means(by_image(validation)),
        "fold": {str(fold): _means(rows) for fold, rows in sorted(folds)},
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
    """The figures of a metrics.json, nested as `cross_validated` made them."""
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures
