"""Assign every image to test, validation or training, for each model."""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from naevi.config import SplitConfig
from naevi.errors import UserError, first_ten

POOLED = "\0"  # no diagnosis has this name

logger = logging.getLogger(__name__)

# By the column of the image table: the possible sources of the parts, and how to split at random instead.
GIVEN = {"split": "a column split or folders train and test give", "fold": "a column fold gives"}
POOL = {"split": ", or data.split_folders=ignore to pool the images of folders", "fold": ""}


def assign_parts(image_table: pd.DataFrame, settings: SplitConfig) -> pd.DataFrame:
    """Return a row for each image: image_id, diagnosis, group, and for each model its part (test, val or train).

    The models are `0`, `1`, … and `all`. The part comes from the image table if it can:

    column split  the parts of model 0, the only fold
    column fold   (0, 1, …) the test part of each fold
    neither       folds with the same mix of diagnoses and data sets; each image is in one test part

    If no image of a model is in val, every round(1 / settings.validation)-th image outside the test part is moved
    there. Images of one group always share a part. The model `all` trains on every image.

    Diagnoses with fewer groups than there are folds are stratified together, see `pooled_diagnoses`.

    Raises UserError if there are fewer groups than folds, if split.folds differs from the number of
    folds in the image table, if the image table separates a group, or if a model has too few images for training or
    validation.
    """
    split = image_table[["image_id", "diagnosis", "group"]].copy()
    image_table = with_strata(image_table)
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


def with_strata(image_table: pd.DataFrame) -> pd.DataFrame:
    """Return the table, the data set in the diagnosis if there are several: `ph2: melanoma`. Parts get the same mix."""
    several = image_table.dataset.nunique() > 1
    return image_table.assign(diagnosis=image_table.dataset + ": " + image_table.diagnosis) if several else image_table


def _check_given(image_table: pd.DataFrame, column: str, folds: int) -> None:
    number = 1 if column == "split" else image_table.fold.nunique()
    if folds != number:
        models = ",".join(map(str, [*range(number), "all"]))
        raise UserError(
            f"split.folds is {folds}, but {GIVEN[column]} {number} fold(s). "
            f"Set split.folds={number} and cv.models=[{models}]{POOL[column]}."
        )
    parts = set(_given_parts(image_table, column)[0])
    missing = [part for part in ("train", "test") if part not in parts]
    if missing:
        raise UserError(
            f"The column {column} of your table assigns no image to {missing[0]}, and each model needs images for "
            "training and for testing. Correct the column, or rename it to have the images split at random."
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
            f"The predefined {column} separates images that belong together, because they have the same group or are "
            f"listed in data/checks/near_duplicates.csv: {first_ten(descriptions)}. Give them the same {column}, keep "
            "one of them, or set preprocess.near_duplicates higher or to off, or "
            f"data.columns.group=none{POOL[column]}."
        )


def _given_parts(image_table: pd.DataFrame, column: str) -> list[pd.Series]:
    if column == "split":
        return [image_table.split]
    folds = range(image_table.fold.nunique())
    return [(image_table.fold == fold).map({True: "test", False: "train"}) for fold in folds]


def _stratified_folds(image_table: pd.DataFrame, settings: SplitConfig) -> Iterator[pd.Series]:
    if settings.folds == 1:
        raise UserError(
            "split.folds is 1, which requires a predefined split: a table with a column split, or folders train and "
            "test with data.split_folders=use. Set split.folds to 2 or more to split at random."
        )
    number = image_table.group.nunique()
    if number < settings.folds:
        fewer_folds = f"split.folds to {number} or less, " if number > 1 else ""
        raise UserError(
            f"split.folds is {settings.folds}, but there are {number} image(s), "
            f"if near-duplicates and other groups count once. Add images, or set {fewer_folds}"
            "data.columns.group to none, or preprocess.near_duplicates to off."
        )
    pooled = pooled_diagnoses(image_table, settings.folds)
    if pooled:
        logger.warning("%s", describe_pooled(image_table, settings.folds))
    strata = image_table.assign(diagnosis=image_table.diagnosis.mask(image_table.diagnosis.isin(pooled), POOLED))
    for _, test in _split_rows(strata, settings.folds, settings.seed):
        parts = pd.Series("train", index=image_table.index)
        parts.iloc[test] = "test"
        yield parts


def pooled_diagnoses(image_table: pd.DataFrame, folds: int) -> list[str]:
    """Return the diagnoses that are stratified together, because they have fewer groups than there are folds.

    The rarest come first.
    """
    groups = image_table.groupby("diagnosis").group.nunique().sort_values(kind="stable")
    pooled: list[str] = groups.index[groups < folds].tolist()
    return pooled


def describe_pooled(image_table: pd.DataFrame, folds: int) -> str:
    """Return a sentence with the `pooled_diagnoses` and their numbers of images, or "" if there are none."""
    numbers = image_table.diagnosis.value_counts()
    named = first_ten(f"{name!r} ({numbers[name]})" for name in pooled_diagnoses(image_table, folds))
    return f"Diagnoses too rare for {folds} folds count as one when folds get the same mix: {named}." if named else ""


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
