"""How well a prediction matches its mask, image by image.

Written here, because the scores are what this project exists for; a test holds them against scikit-learn's.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

SCORES = ["dice", "iou", "sensitivity", "specificity", "precision", "threshold_jaccard", "area_error"]
FAILED = 0.65  # IoU below which ISIC 2018 counted a segmentation as 0: people disagree less than that


def counts(masks: ArrayLike, predictions: ArrayLike, *, classes: int = 2) -> pd.DataFrame:
    """Pixels by outcome, from masks and predictions (N, ...) of classes: columns place (1 ... K - 1), tp, fp, fn, tn.

    One row per image and class that is not the background, the first image's before the second's.
    """
    masks, predictions = np.asarray(masks), np.asarray(predictions)
    rows = []
    for place in range(1, classes):
        mask, prediction = ((array == place).reshape(len(masks), -1) for array in (masks, predictions))
        tp = (mask & prediction).sum(axis=1)
        fp = prediction.sum(axis=1) - tp
        fn = mask.sum(axis=1) - tp
        rows.append(pd.DataFrame({"place": place, "tp": tp, "fp": fp, "fn": fn, "tn": mask.shape[1] - tp - fp - fn}))
    return pd.concat(rows).sort_index(kind="stable").reset_index(drop=True)


def scores(counts: pd.DataFrame) -> pd.DataFrame:
    """The SCORES of each row of counts: 0..1, but for area_error, the predicted area's excess as part of the mask's.

    threshold_jaccard is the IoU, or 0 below FAILED. Where nothing was there to be found, Dice, IoU and
    threshold_jaccard are 1 if nothing was predicted, else 0. NaN where a score is not defined: sensitivity and
    area_error of an empty mask, specificity of a mask that fills the frame, precision where nothing was predicted.
    """
    tp, fp, fn, tn = (counts[name].astype(float) for name in ("tp", "fp", "fn", "tn"))
    iou = (tp / (tp + fp + fn)).fillna(1)
    return pd.DataFrame(
        {
            "dice": (2 * tp / (2 * tp + fp + fn)).fillna(1),
            "iou": iou,
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "precision": tp / (tp + fp),
            "threshold_jaccard": iou.where(iou >= FAILED, 0),
            "area_error": ((fp - fn) / (tp + fn)).where(tp + fn > 0),
        }
    )
