"""Assign every image to test, validation or training, for each model."""

import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from naevi.config import SplitConfig
from naevi.errors import UserError, first_ten


def assign_parts(image_table: pd.DataFrame, settings: SplitConfig) -> pd.DataFrame:
    """Return a row for each image: image_id, diagnosis, group, and for each model its part (test, val or train).

    The models are `0`, `1`, … and `all`. The part comes from the image table if it can:

    column split  the parts of model 0, the only fold
    column fold   (0, 1, …) the test part of each fold
    neither       folds with the same mix of diagnoses; each image is in one test part

    If no image of a model is in val, every round(1 / settings.validation)-th image outside the test part is moved
    there. Images of one group always share a part. The model `all` trains on every image.

    Raises UserError if a diagnosis has fewer groups than there are folds, if split.folds differs from the number of
    folds in the image table, if the image table separates a group, and if a model has too few images for training or
    validation.
    """
    split = image_table[["image_id", "diagnosis", "group"]].copy()
    column = next((column for column in ("split", "fold") if column in image_table), None)
    if column:
        _check_given(image_table, column, settings.folds)
        folds = iter(_given_parts(image_table, column))
    else:
        folds = _stratified_folds(image_table, settings)
    for fold, parts in enumerate(folds):
        has_validation = "val" in set(parts)
        split[str(fold)] = parts if has_validation else _with_validation(image_table, parts, fold, settings)
    return split.assign(all="train")


def _check_given(image_table: pd.DataFrame, column: str, folds: int) -> None:
    number = 1 if column == "split" else image_table.fold.nunique()
    if folds != number:
        models = ",".join(map(str, [*range(number), "all"]))
        raise UserError(
            f"split.folds is {folds}, but the column {column} of labels.csv defines {number}. "
            f"Set split.folds={number} and cv.models=[{models}]."
        )
    parts = set(_given_parts(image_table, column)[0])
    missing = [part for part in ("train", "test") if part not in parts]
    if missing:
        raise UserError(
            f"The column {column} of labels.csv assigns no image to {missing[0]}. "
            "Each model needs images for training and for testing."
        )
    _check_groups(image_table, column)


def _check_groups(image_table: pd.DataFrame, column: str) -> None:
    separated = image_table[image_table.groupby("group")[column].transform("nunique") > 1]
    examples = separated.drop_duplicates(["group", column]).groupby("group", sort=False)
    descriptions = [
        " and ".join(f"{image_id} ({part})" for image_id, part in zip(rows.image_id, rows[column], strict=True))
        for _, rows in examples
    ]
    if descriptions:
        raise UserError(
            "labels.csv separates images that belong together, because they have the same group or are listed in "
            f"data/prepared/near_duplicates.csv: {first_ten(descriptions)}. "
            f"Give them the same {column}, or keep only one of them."
        )


def _given_parts(image_table: pd.DataFrame, column: str) -> list[pd.Series]:
    if column == "split":
        return [image_table.split]
    folds = range(image_table.fold.nunique())
    return [(image_table.fold == fold).map({True: "test", False: "train"}) for fold in folds]


def _stratified_folds(image_table: pd.DataFrame, settings: SplitConfig) -> Iterator[pd.Series]:
    if settings.folds == 1:
        raise UserError("split.folds is 1, which requires a labels.csv with a column split. Set it to 2 or more.")
    groups = image_table.groupby("diagnosis").group.nunique()
    fewest = groups.min()
    if fewest < settings.folds:
        remedy = f"Set split.folds to {fewest} or less, or add images" if fewest > 1 else "Add images"
        raise UserError(
            f"split.folds is {settings.folds}, but {groups.idxmin()} has {fewest} image(s), "
            f"if near-duplicates and other groups count once. {remedy}."
        )
    for _, test in _split_rows(image_table, settings.folds, settings.seed):
        parts = pd.Series("train", index=image_table.index)
        parts.iloc[test] = "test"
        yield parts


def _with_validation(image_table: pd.DataFrame, parts: pd.Series, fold: int, settings: SplitConfig) -> pd.Series:
    """Return the parts with some of train as val."""
    rest = image_table[parts == "train"]
    # A small data set is divided into fewer, larger subsets: at most as many as its largest class has groups.
    number = min(round(1 / settings.validation), int(rest.groupby("diagnosis").group.nunique().max()))
    if number < 2:
        raise UserError(
            f"Outside the test part of fold {fold}, no diagnosis has two images to divide into training and "
            "validation. Add images."
        )
    _, validation = next(_split_rows(rest, number, settings.seed))
    return parts.where(~parts.index.isin(rest.index[validation]), "val")


def _split_rows(image_table: pd.DataFrame, number: int, seed: int) -> Iterator[tuple[Any, Any]]:
    """Yield `number` pairs of row numbers: the others, and a stratified subset."""
    splitter = StratifiedGroupKFold(n_splits=number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A rare diagnosis may be absent from a validation part, which is harmless.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        yield from splitter.split(image_table, image_table.diagnosis, image_table.group)
