"""What is known of many images, from the scores of each: means, intervals, groups; metrics.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from naevi import calibration, metrics, surfaces
from naevi.config import EvaluateConfig

SCORES = [*metrics.SCORES, *surfaces.SURFACES, "brier", "confidence"]
OF_IMAGE = ["dataset", "diagnosis", "lesion_fraction", "touches_frame", "dark_corners"]  # the same for each class
AREAS = ["small", "middle", "large"]  # thirds of the images by the part of the frame that is not background
KEPT = (80, 50)  # per cent of the images, the most confident


def by_image(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per image (and fold) from one per image and class: means of the scores, sums of the pixels."""
    how = (
        dict.fromkeys(OF_IMAGE, "first")
        | dict.fromkeys(SCORES, "mean")
        | dict.fromkeys(["tp", "fp", "fn", "tn"], "sum")
    )
    there = {name: each for name, each in how.items() if name in rows}
    return rows.groupby(["image_id", "fold"], sort=False, as_index=False).agg(there)


def tested(test: pd.DataFrame, pixels: calibration.Counts, settings: EvaluateConfig) -> dict[str, Any]:
    """What is known of tested images, numbers in nested dicts; `test` is per_image.csv, `pixels` as in `Scored`.

    An image's score is the mean over its classes; by_class has them apart where there are several. `micro` takes the
    pixels of all images together, as much public code does: large lesions then count more.
    """
    images = by_image(test)
    together = metrics.scores(test.groupby("class", sort=False)[["tp", "fp", "fn", "tn"]].sum())
    by_class = {str(name): _group(rows, settings) for name, rows in test.groupby("class", sort=False)}
    return (
        {
            "images": len(images),
            "empty_masks": int((test.tp + test.fn == 0).sum()),
            "empty_predictions": int((test.tp + test.fp == 0).sum()),
            "failed": int((images.iou < metrics.FAILED).sum()),
        }
        | {name: distribution(images[name], settings) for name in SCORES}
        | {
            "micro": {"dice": float(together.dice.mean()), "iou": float(together.iou.mean())},
            "calibration": {"expected_error": float(np.mean([calibration.expected_error(each) for each in pixels]))},
            "kept": kept(images.confidence, images.dice),
        }
        | {
            f"by_{name}": {str(value): _group(images[labels == value], settings) for value in sorted(labels.unique())}
            for name, labels in slices(images).items()
        }
        | ({"by_class": by_class} if len(by_class) > 1 else {})
    )


def cross_validated(
    test: pd.DataFrame, pixels: calibration.Counts, validation: pd.DataFrame, settings: EvaluateConfig
) -> dict[str, Any]:
    """The figures of reports/metrics.json: those of `tested`, with means of the folds and of the validation parts.

    `validation` has the columns of `test` but for outlines, with rows for each fold in whose validation part an image
    was.
    """
    folds = {str(fold): _group(rows, settings) for fold, rows in sorted(by_image(test).groupby("fold"))}
    validated = by_image(validation)
    return tested(test, pixels, settings) | {
        "folds": len(folds),
        "val": {"dice": float(validated.dice.mean()), "iou": float(validated.iou.mean())},
        "fold": folds,
    }


def slices(images: pd.DataFrame) -> dict[str, pd.Series]:
    """To which part each image belongs, by the name of what divides them; `images` is that of `by_image`."""
    third = 3 * (images.lesion_fraction.rank(method="first").astype(int) - 1) // len(images)
    return {
        "diagnosis": images.diagnosis,
        "area": third.map(dict(enumerate(AREAS))),
        "frame": images.touches_frame.map({True: "touching", False: "inside"}),
        "corners": (images.dark_corners > 0).map({True: "dark", False: "bright"}),
    }


def kept(confidences: pd.Series, dice: pd.Series) -> dict[str, float]:
    """Mean Dice of the most confident images: what is left when the others are set aside for a person."""
    curve = calibration.risk_coverage(confidences, dice)
    return {f"dice_at_{part}": float(np.interp(part / 100, curve.coverage, curve.dice)) for part in KEPT}


def _group(rows: pd.DataFrame, settings: EvaluateConfig) -> dict[str, float]:
    dice = distribution(rows.dice, settings)
    means = {"dice": dice["mean"], "low": dice["low"], "high": dice["high"], "iou": float(rows.iou.mean())}
    return {"images": len(rows)} | means


def distribution(values: pd.Series, settings: EvaluateConfig) -> dict[str, float]:
    """Mean with its 95 % percentile bootstrap interval over images, median, deviation, 5th and 95th percentile.

    Over the images that have the score; nothing where none has it.
    """
    sample: NDArray[np.float64] = values.dropna().to_numpy(dtype=float)
    if not len(sample):
        return {}
    low = high = sample[0]
    if np.ptp(sample) > 0:  # scipy warns of equal values, whose interval is a point
        from scipy.stats import bootstrap  # here, because it takes a second, and training draws none

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
        "sd": float(sample.std()),
        "p05": float(np.percentile(sample, 5)),
        "p95": float(np.percentile(sample, 95)),
    }


def read(path: Path) -> dict[str, Any]:
    """The figures of a metrics.json, nested as `cross_validated` made them."""
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures
