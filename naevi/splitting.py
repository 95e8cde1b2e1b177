"""Which images test, validate and train each model."""

import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd

from naevi import paths
from naevi.config import SplitConfig
from naevi.refusal import Refusal, some


def assign(lesions: pd.DataFrame, settings: SplitConfig) -> pd.DataFrame:
    """One row per image: image_id, diagnosis, group, and per model (`0`, `1`, …, `all`) its part: test, val or train.

    Lesions with a column `split` give one model these parts, those with a column `fold` (0, 1, …) each fold's model its
    test part. Else folds have the same mix of diagnoses, and each image is tested once. Where no part is val, of the
    images outside the test part every round(1 / settings.validation)-th validates. Groups are never parted. The model
    `all` trains on every image.

    Raises Refusal when a diagnosis has fewer groups than there are folds, when what is given isn't split.folds in
    number or parts a group, and when a model has too few images to train or validate on.
    """
    split = lesions[["image_id", "diagnosis", "group"]].copy()
    given = next((column for column in ("split", "fold") if column in lesions), None)
    if given:
        _check_given(lesions, given, settings.folds)
    parts = _given(lesions, given) if given else _drawn(lesions, settings)
    for model, part in enumerate(parts):
        split[str(model)] = part if "val" in set(part) else _validated(lesions, part, model, settings)
    return split.assign(all="train")


def _check_given(lesions: pd.DataFrame, column: str, folds: int) -> None:
    number = 1 if column == "split" else lesions.fold.nunique()
    if folds != number:
        models = ",".join(map(str, [*range(number), "all"]))
        raise Refusal(
            f"split.folds is {folds}, but labels.csv has {number} by its column {column}; "
            f"set split.folds={number} and cv.models=[{models}]."
        )
    parts = set(_given(lesions, column)[0])
    lacking = [part for part in ("train", "test") if part not in parts]
    if lacking:
        raise Refusal(f"labels.csv leaves no image for {lacking[0]} in its column {column}; each model needs some.")
    parted = lesions[lesions.groupby("group")[column].transform("nunique") > 1]
    examples = parted.drop_duplicates(["group", column]).groupby("group", sort=False)
    pairs = [
        " and ".join(f"{image_id} ({part})" for image_id, part in zip(rows.image_id, rows[column], strict=True))
        for _, rows in examples
    ]
    if pairs:
        raise Refusal(
            f"labels.csv parts images that belong together, by their group or as near-duplicates ({paths.PREPARED}/"
            f"near_duplicates.csv): {some(pairs)}; give them one {column}, or take all but one out."
        )


def _given(lesions: pd.DataFrame, column: str) -> list[pd.Series]:
    if column == "split":
        return [lesions.split]
    return [(lesions.fold == fold).map({True: "test", False: "train"}) for fold in range(lesions.fold.nunique())]


def _drawn(lesions: pd.DataFrame, settings: SplitConfig) -> Iterator[pd.Series]:
    if settings.folds == 1:
        raise Refusal("split.folds is 1, which is for a labels.csv with a column split; set it to 2 or more.")
    groups = lesions.groupby("diagnosis").group.nunique()
    if groups.min() < settings.folds:
        less = f"set split.folds to {groups.min()} or less, or add images" if groups.min() > 1 else "add images"
        raise Refusal(
            f"split.folds is {settings.folds}, but {groups.idxmin()} has {groups.min()} images, duplicates as one; "
            f"{less}."
        )
    for _, test in _folds(lesions, settings.folds, settings.seed):
        part = pd.Series("train", index=lesions.index)
        part.iloc[test] = "test"
        yield part


def _validated(lesions: pd.DataFrame, part: pd.Series, model: int, settings: SplitConfig) -> pd.Series:
    """The parts with some of train as val."""
    rest = lesions[part == "train"]
    # A small data set is held out in fewer, larger parts: there can't be more than its largest class has groups.
    parts = min(round(1 / settings.validation), int(rest.groupby("diagnosis").group.nunique().max()))
    if parts < 2:
        raise Refusal(f"outside the test part of fold {model} no diagnosis has two images to share; add images.")
    _, validation = next(_folds(rest, parts, settings.seed))
    return part.where(~part.index.isin(rest.index[validation]), "val")


def _folds(lesions: pd.DataFrame, number: int, seed: int) -> Iterator[tuple[Any, Any]]:
    from sklearn.model_selection import StratifiedGroupKFold  # here, because train reads the split and needs no sklearn

    folds = StratifiedGroupKFold(n_splits=number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A rare diagnosis may be missing from some validation part: known, and harmless.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        yield from folds.split(lesions, lesions.diagnosis, lesions.group)


def ids(split: pd.DataFrame, item: str, part: str) -> list[str]:
    """Image ids of a model's part (test, val or train), as the table orders them; KeyError for an unknown model."""
    return split.loc[split[item] == part, "image_id"].tolist()
