"""Summarize the scores of many images: means, intervals and subgroups (metrics.json and details.json)."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from naevi.config import EvaluateConfig
from naevi.errors import UserError
from naevi.evaluation.calibration import Counts, expected_calibration_error, risk_coverage_curve
from naevi.evaluation.surface_distance import SURFACE_SCORES
from naevi.metrics import FAILURE_IOU, OVERLAP_SCORES, overlap_scores

ALL_SCORES = [*OVERLAP_SCORES, *SURFACE_SCORES, "brier", "confidence"]
IMAGE_PROPERTIES = [
    "dataset",
    "diagnosis",
    "lesion_fraction",
    "touches_frame",
    "dark_corners",
]  # equal for all classes of an image
AREA_THIRDS = ["small", "middle", "large"]  # thirds of the images by foreground fraction
COVERAGES = (80, 50)  # percent of the images, the most confident


def average_classes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each image and fold from one for each class: means of the scores, sums of the pixels.

    A mean is over the classes that have the score. It is NaN if none has it.
    """
    aggregations = (
        dict.fromkeys(IMAGE_PROPERTIES, "first")
        | dict.fromkeys(ALL_SCORES, "mean")
        | dict.fromkeys(["tp", "fp", "fn", "tn"], "sum")
    )
    present = {name: how for name, how in aggregations.items() if name in rows}
    return rows.groupby(["image_id", "fold"], sort=False, as_index=False).agg(present)


def absent_classes(rows: pd.DataFrame) -> pd.Series:
    """Return for each row of a per_image.csv whether its class is neither in the mask nor in the prediction, bool.

    It is False if there are two classes, because then an empty mask has a score, and if counts are missing.
    """
    counts = ["tp", "fp", "fn"]
    if "class" not in rows or rows["class"].nunique() == 1 or not set(counts) <= set(rows):
        return pd.Series(False, index=rows.index)
    return rows[counts].eq(0).all(axis=1)


def scored_images(images: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `average_classes` that have a score. With two classes, all have one."""
    return images[images.dice.notna()]


def pool_images(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the overlap scores of each class by its name, over the pixels of all images.

    With more than two classes, those that no mask and no prediction has are left out.
    """
    counts = rows.groupby("class", sort=False)[["tp", "fp", "fn", "tn"]].sum()
    return overlap_scores(counts, classes=len(counts) + 1).dropna(subset="dice")


def summarize(test: pd.DataFrame, pixels: Counts, settings: EvaluateConfig) -> dict[str, Any]:
    """Return the scores of tested images as nested dicts. `test` is per_image.csv, `pixels` as in `ImageScores`.

    An image's score is the mean over its classes; by_class has each class if there are several. `micro` pools the
    pixels of all images, as much public code does, so large lesions count more. Images without any score are counted
    as `unscored` and left out of everything else. `images` of a class or subgroup is the number of images with a score.

    Raises UserError if no image has a score.
    """
    images = average_classes(test)
    scored = scored_images(images)
    if scored.empty:
        raise UserError(
            f"None of the {len(images)} tested images has a score, because no mask and no prediction contains a class "
            "besides the background. Add other folds to cv.models, or images with other masks."
        )
    pooled = pool_images(test)
    errors = {
        name: expected_calibration_error(counts) for name, counts in zip(test["class"].unique(), pixels, strict=True)
    }
    by_class = {str(name): _summarize_group(rows, settings) for name, rows in test.groupby("class", sort=False)}
    return (
        {
            "images": len(images),
            "empty_masks": int((images.tp + images.fn == 0).sum()),
            "empty_predictions": int((images.tp + images.fp == 0).sum()),
            "failed": int((scored.iou < FAILURE_IOU).sum()),
            "unscored": len(images) - len(scored),
        }
        | {name: distribution(scored[name], settings) for name in ALL_SCORES}
        | {
            "micro": {"dice": float(pooled.dice.mean()), "iou": float(pooled.iou.mean())},
            "calibration": {"expected_error": float(np.mean([errors[name] for name in pooled.index]))},
            "kept": selective_dice(scored.confidence, scored.dice),
        }
        | {
            f"by_{name}": {
                str(value): _summarize_group(scored[labels == value], settings) for value in sorted(labels.unique())
            }
            for name, labels in subgroups(scored).items()
        }
        | ({"by_class": by_class} if len(by_class) > 1 else {})
    )


def summarize_cross_validation(
    test: pd.DataFrame, pixels: Counts, validation: pd.DataFrame, settings: EvaluateConfig
) -> dict[str, Any]:
    """Return what `summarize` returns, with means of folds and of validation images.

    `validation` has the columns of `test` without surface distances, and a row for each fold that used the image for
    validation. `val` and `fold` lack what no image has a score for.
    """
    scored, validated = (scored_images(average_classes(rows)) for rows in (test, validation))
    return summarize(test, pixels, settings) | {
        "folds": int(test.fold.nunique()),
        "val": {name: float(validated[name].mean()) for name in ("dice", "iou") if len(validated)},
        "fold": {str(fold): _summarize_group(rows, settings) for fold, rows in sorted(scored.groupby("fold"))},
    }


def subgroups(images: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the subgroup of each image by diagnosis, area, frame, corners and, if there are several, data set.

    `images` is a table of `average_classes`.
    """
    third = 3 * (images.lesion_fraction.rank(method="first").astype(int) - 1) // len(images)
    return {
        "diagnosis": images.diagnosis,
        "area": third.map(dict(enumerate(AREA_THIRDS))),
        "frame": images.touches_frame.map({True: "touching", False: "inside"}),
        "corners": (images.dark_corners > 0).map({True: "dark", False: "bright"}),
    } | ({"dataset": images.dataset} if images.dataset.nunique() > 1 else {})


def selective_dice(confidences: pd.Series, dice: pd.Series) -> dict[str, float]:
    """Return the mean Dice of the most confident images, if the others are set aside for a person to look at."""
    curve = risk_coverage_curve(confidences, dice)
    return {f"dice_at_{percent}": float(np.interp(percent / 100, curve.coverage, curve.dice)) for percent in COVERAGES}


def _summarize_group(rows: pd.DataFrame, settings: EvaluateConfig) -> dict[str, float]:
    dice = distribution(rows.dice, settings)
    if not dice:
        return {"images": 0}
    means = {"dice": dice["mean"], "low": dice["low"], "high": dice["high"], "iou": float(rows.iou.mean())}
    return {"images": int(rows.dice.count())} | means


def distribution(values: pd.Series, settings: EvaluateConfig) -> dict[str, float]:
    """Return mean, 95 % percentile bootstrap interval, median, standard deviation, 5th and 95th percentile.

    Images without the score are left out. The result is empty if no image has it.
    """
    sample: NDArray[np.float64] = values.dropna().to_numpy(dtype=float)
    if not len(sample):
        return {}
    low = high = sample[0]
    if np.ptp(sample) > 0:  # scipy warns about equal values, whose interval is a point
        from scipy.stats import bootstrap  # imported lazily: it takes a second, and training doesn't need it

        interval = bootstrap(
            (sample,),
            np.mean,
            n_resamples=settings.resamples,
            method="percentile",
            batch=1000,
            rng=np.random.default_rng(settings.seed),
        ).confidence_interval
        low, high = interval.low, interval.high
    return {
        "mean": float(sample.mean()),
        "low": float(low),
        "high": float(high),
        "median": float(np.median(sample)),
        "sd": float(sample.std()),
        "p05": float(np.percentile(sample, 5)),
        "p95": float(np.percentile(sample, 95)),
    }
