"""How well a prediction matches its mask, image by image.

Written here, because the scores are what this project exists for; a test holds them against scikit-learn's.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

SCORES = ["dice", "iou", "sensitivity", "specificity"]


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
