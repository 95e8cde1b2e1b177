"""Which images test, validate and train each model."""

import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from naevi.config import SplitConfig
from naevi.refusal import Refusal


def assign(lesions: pd.DataFrame, settings: SplitConfig) -> pd.DataFrame:
    """One row per image: image_id, diagnosis, group, and per model (`0`, `1`, …, `all`) its part: test, val or train.

    Folds have the same mix of diagnoses, groups are never parted, each image is tested once. Of the images outside a
    test part every round(1 / settings.validation)-th validates. The model `all` trains on every image.

    Raises Refusal when a diagnosis has fewer groups than there are folds, or too few are left to validate on.
    """
    groups = lesions.groupby("diagnosis").group.nunique()
    if groups.min() < settings.folds:
        less = f"set split.folds to {groups.min()} or less, or add images" if groups.min() > 1 else "add images"
        raise Refusal(
            f"split.folds is {settings.folds}, but {groups.idxmin()} has {groups.min()} images, duplicates as one; "
            f"{less}."
        )
    split = lesions[["image_id", "diagnosis", "group"]].copy()
    for fold, (_, test) in enumerate(_folds(lesions, settings.folds, settings.seed)):
        part = pd.Series("train", index=lesions.index)
        part.iloc[test] = "test"
        rest = lesions[part == "train"]
        # A small data set is held out in fewer, larger parts: there can't be more than its largest class has groups.
        parts = min(round(1 / settings.validation), int(rest.groupby("diagnosis").group.nunique().max()))
        if parts < 2:
            raise Refusal(f"outside the test part of fold {fold} no diagnosis has two images to share; add images.")
        _, validation = next(_folds(rest, parts, settings.seed))
        part.loc[rest.index[validation]] = "val"
        split[str(fold)] = part
    return split.assign(all="train")


def _folds(lesions: pd.DataFrame, number: int, seed: int) -> Iterator[tuple[Any, Any]]:
    folds = StratifiedGroupKFold(n_splits=number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A rare diagnosis may be missing from some validation part: known, and harmless.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        yield from folds.split(lesions, lesions.diagnosis, lesions.group)


def ids(split: pd.DataFrame, item: str, part: str) -> list[str]:
    """Image ids of a model's part (test, val or train), as the table orders them; KeyError for an unknown model."""
    return split.loc[split[item] == part, "image_id"].tolist()
