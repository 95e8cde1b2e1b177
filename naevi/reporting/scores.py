"""The scores of all images: how they were measured, and their tables."""

import math
from typing import Any

from naevi.metrics import FAILURE_IOU
from naevi.rendering.data_sets import DATASET_NAMES
from naevi.rendering.tables import Table
from naevi.reporting.formatting import format_interval, format_number, format_numbers
from naevi.reporting.result import ReportData

# The label and the number of decimals of each score, the most important first.
SCORE_LABELS = {
    "dice": ("Dice", 3),
    "iou": ("IoU", 3),
    "threshold_jaccard": (f"threshold Jaccard (IoU, or 0 if below {FAILURE_IOU})", 3),
    "sensitivity": ("sensitivity", 3),
    "specificity": ("specificity", 3),
    "precision": ("precision", 3),
    "area_error": ("area error (excess of the predicted area, relative to the mask)", 3),
    "nsd_2": ("outline within 2 px (NSD)", 3),
    "nsd_5": ("outline within 5 px (NSD)", 3),
    "hd95": ("95th percentile of outline distance (HD95), px", 1),
    "assd": ("mean outline distance (ASSD), px", 1),
    "brier": ("Brier score", 3),
    "confidence": ("confidence (expected Dice)", 3),
}
POOLED_LABELS = {"dice": "Dice", "iou": "IoU"}
ABSENT_CLASSES_NOTE = (
    "The score of an image is the mean over its classes. Classes that are neither in the mask nor in the prediction "
    "are left out. A class that is predicted but not in the mask has a Dice and an IoU of 0."
)


def describe_test(result: ReportData) -> str:
    """Return which images were tested, and by which models."""
    images, all_images = result.metrics["images"], len(result.image_table)
    if result.curves is None:
        (model,) = result.models
        return (
            f"{images} images, scored at their native size by the model {model['item']}, which was trained on "
            f"{model['data']['train']['images']} images ({DATASET_NAMES.get(model['dataset'], model['dataset'])}). "
            "It is unknown whether any of the tested images was used for training."
        )
    folds, all_folds = result.metrics["folds"], result.config.split.folds
    tested = f"{images} of {all_images}" if images < all_images else str(images)
    used = f"{folds} of {all_folds}" if folds < all_folds else str(folds)
    return (
        f"{tested} images, each tested once at its native size, by a model that was not trained on it "
        f"({used} {'folds' if all_folds > 1 else 'fold'})."
    )


def describe_scores(result: ReportData) -> str:
    """Return how the headline scores were computed, and how many images failed, are empty or have no score."""
    scores = result.metrics
    several, unscored = "by_class" in scores, scores.get("unscored", 0)  # older results lack the latter
    sensitivity, specificity = (
        format_number(scores[name].get("mean", math.nan)) for name in ("sensitivity", "specificity")
    )
    sentences = [
        f"Scores are computed for each image and then averaged. Mean sensitivity is {sensitivity}, mean specificity "
        f"{specificity}. The interval is a bootstrap over the images ({result.config.evaluate.resamples:,} samples). "
        "It doesn't include the variation between training runs.",
        f"{scores['failed']} of {scores['images'] - unscored} images have an IoU below {FAILURE_IOU}, which ISIC 2018 "
        "counted as failed.",
    ]
    if several:
        sentences.append(ABSENT_CLASSES_NOTE)
    if scores["empty_masks"]:
        rule = "" if several else ": their Dice and IoU are 1 if nothing was predicted, otherwise 0"
        sentences.append(f"{scores['empty_masks']} masks are empty{rule}.")
    if scores["empty_predictions"]:
        sentences.append(f"{scores['empty_predictions']} predictions are empty.")
    if several:
        sentences.append(
            f"Images without a score, because mask and prediction are empty: {unscored} of {scores['images']}. They "
            "are left out of all means."
        )
    return " ".join(sentences)


def headline_table(result: ReportData) -> Table:
    """Return the headline scores, the means in bold, for Markdown."""
    label = f" ({result.plot_title})" if result.is_synthetic else ""
    rows = []
    for key, name in POOLED_LABELS.items():
        scores = format_numbers(result.metrics[key])
        interval = format_interval(result.metrics[key])
        rows.append([name + label, f"**{scores['mean']}**", interval, scores["median"], scores["p05"]])
    return Table(["score", "mean", "95 % interval", "median", "5th percentile"], rows)


def score_table(metrics: dict[str, Any]) -> Table:
    """Return the distribution of each score over the images, and Dice and IoU of all pixels pooled."""
    rows = []
    for name, (label, digits) in SCORE_LABELS.items():
        if values := metrics[name]:
            mean, median, low, high, deviation = (
                format_number(values[key], digits) for key in ("mean", "median", "p05", "p95", "sd")
            )
            rows.append([label, mean, format_interval(values, digits), median, f"{low} to {high}", deviation])
    pooled = format_numbers(metrics["micro"])
    rows += [[f"{label}, micro (all pixels pooled)", pooled[name], *4 * [""]] for name, label in POOLED_LABELS.items()]
    head = ["score of an image", "mean", "95 % interval", "median", "5th to 95th percentile", "standard deviation"]
    return Table(head, rows)


def part_table(metrics: dict[str, Any]) -> Table | None:
    """Return the mean scores of the test and validation parts, or None for an external validation."""
    if "val" not in metrics:
        return None
    validation = dict.fromkeys(POOLED_LABELS, math.nan) | metrics["val"]  # its images may have no score
    parts = {"test": {key: metrics[key]["mean"] for key in POOLED_LABELS}, "validation": validation}
    rows = [[name, *(format_number(scores[key]) for key in POOLED_LABELS)] for name, scores in parts.items()]
    return Table(["part", *POOLED_LABELS.values()], rows)


def class_table(metrics: dict[str, Any]) -> Table | None:
    """Return the mean scores of each class, or None if there is only one besides the background.

    `images` is the number of images that have a score for the class.
    """
    rows = []
    for name, scores in metrics.get("by_class", {}).items():
        values = dict.fromkeys(("dice", "low", "high", "iou"), math.nan) | scores  # a class may be in no image
        dice, iou = (format_number(values[key]) for key in ("dice", "iou"))
        rows.append([name, str(scores["images"]), dice, format_interval(values), iou])
    return Table(["class", "images", "Dice", "95 % interval", "IoU"], rows) if rows else None


def fold_table(result: ReportData) -> Table | None:
    """Return the test scores of each fold, and its validation scores after the last epoch, at the training size."""
    if result.curves is None:
        return None
    last = result.curves.drop_duplicates("model", keep="last").set_index("model")  # .last() would skip NaN
    rows = []
    for fold, scores in result.metrics["fold"].items():
        values = (scores["dice"], last.val_dice[fold], scores["iou"], last.val_iou[fold])
        rows.append([fold, str(scores["images"]), *map(format_number, values)])
    return Table(["fold", "images", "Dice", "validation Dice", "IoU", "validation IoU"], rows)
