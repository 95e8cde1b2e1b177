"""Dice, IoU and other overlap scores, per image and class.

Implemented here because the scores are the purpose of this project. Tests compare them with scikit-learn, MONAI and
torchmetrics.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from naevi.images.files import VOID

OVERLAP_SCORES = ["dice", "iou", "sensitivity", "specificity", "precision", "threshold_jaccard", "area_error"]
FAILURE_IOU = 0.65  # ISIC 2018 counted a lower IoU as 0, because people agree better than that


def confusion_counts(masks: ArrayLike, predictions: ArrayLike, *, classes: int = 2) -> pd.DataFrame:
    """Return pixel counts for masks and predictions, (N, ...) of class indices: class_index, tp, fp, fn, tn.

    One row for each image and foreground class (class_index 1 ... K - 1), in the order of the images. Pixels that are
    VOID in the mask aren't counted.
    """
    masks, predictions = np.asarray(masks), np.asarray(predictions)
    rows, void = [], masks.reshape(len(masks), -1) == VOID
    known = void.shape[1] - void.sum(axis=1)
    for class_index in range(1, classes):
        mask, prediction = ((array == class_index).reshape(len(masks), -1) for array in (masks, predictions))
        tp = (mask & prediction).sum(axis=1)
        fp = (prediction & ~void).sum(axis=1) - tp
        fn = mask.sum(axis=1) - tp
        tn = known - tp - fp - fn
        rows.append(pd.DataFrame({"class_index": class_index, "tp": tp, "fp": fp, "fn": fn, "tn": tn}))
    return pd.concat(rows).sort_index(kind="stable").reset_index(drop=True)


def overlap_scores(counts: pd.DataFrame, *, classes: int) -> pd.DataFrame:
    """Return the OVERLAP_SCORES of each row of counts, 0..1; area_error is the excess of the predicted area, relative.

    threshold_jaccard is the IoU, or 0 below FAILURE_IOU. Undefined scores are NaN: sensitivity and area_error of an
    empty mask, specificity of a mask that fills the image, precision if nothing was predicted.

    If a class is predicted but not in the mask, Dice, IoU and threshold_jaccard are 0. If it is in neither, they are 1
    with two classes. With more classes all scores are NaN, because a mean over many absent classes would be high for a
    prediction of nothing. MONAI and nnU-Net leave out absent classes too.
    """
    tp, fp, fn, tn = (counts[name].astype(float) for name in ("tp", "fp", "fn", "tn"))
    iou = (tp / (tp + fp + fn)).fillna(1)
    scores = pd.DataFrame(
        {
            "dice": (2 * tp / (2 * tp + fp + fn)).fillna(1),
            "iou": iou,
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "precision": tp / (tp + fp),
            "threshold_jaccard": iou.where(iou >= FAILURE_IOU, 0),
            "area_error": ((fp - fn) / (tp + fn)).where(tp + fn > 0),
        }
    )
    if classes > 2:
        scores.loc[tp + fp + fn == 0] = np.nan
    return scores
