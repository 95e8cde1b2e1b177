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


def counts(masks: ArrayLike, predictions: ArrayLike, *, classes: int = 2) -> pd.DataFrame:
    """Pixels by outcome, from masks and predictions (N, ...) of classes: columns place (1 ... K - 1), tp, fp, fn, tn.

    One row per image and class that is not the background, the first image's before the second's.
    """
    images = len(masks := np.asarray(masks))
    predictions = np.asarray(predictions)
    rows = []
    for place in range(1, classes):
        mask, prediction = ((array == place).reshape(images, -1) for array in (masks, predictions))
        tp = (mask & prediction).sum(axis=1)
        fp = prediction.sum(axis=1) - tp
        fn = mask.sum(axis=1) - tp
        rows.append(pd.DataFrame({"place": place, "tp": tp, "fp": fp, "fn": fn, "tn": mask.shape[1] - tp - fp - fn}))
    return pd.concat(rows).sort_index(kind="stable").reset_index(drop=True)


def scores(counts: pd.DataFrame) -> pd.DataFrame:
    """Dice, IoU, sensitivity and specificity of each row of counts, 0..1.

    Where nothing was there to be found, Dice and IoU are 1 if nothing was predicted, else 0. NaN where a score is not
    defined: sensitivity of an empty mask, specificity of a mask that fills the frame.
    """
    tp, fp, fn, tn = (counts[name].astype(float) for name in ("tp", "fp", "fn", "tn"))
    return pd.DataFrame(
        {
            "dice": (2 * tp / (2 * tp + fp + fn)).fillna(1),
            "iou": (tp / (tp + fp + fn)).fillna(1),
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
        }
    )


def by_image(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per image (and fold) from one per image and class: means of the scores, sums of the pixels."""
    how = dict.fromkeys(SCORES, "mean") | dict.fromkeys(["tp", "fp", "fn", "tn"], "sum")
    keys = ["image_id", "dataset", "diagnosis", "fold"]
    return rows.groupby(keys, sort=False, as_index=False).agg(how)


def summary(test: pd.DataFrame, settings: EvaluateConfig) -> dict[str, Any]:
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
    """The figures of reports/metrics.json: the summary, with means of the folds and of the validation parts.

    `validation` has the columns of `test`, with rows for each fold in whose validation part an image was.
    """
    folds = by_image(test).groupby("fold")
    return summary(test, settings) | {
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
    """The figures of a metrics.json, nested as `summary` made them."""
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures
