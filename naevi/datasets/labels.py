"""Read labels.csv, the optional table of a user's own images."""

import io
import logging
import re
from collections.abc import Iterable

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from naevi.config import Name
from naevi.errors import UserError, describe_error, first_ten
from naevi.images import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

LABEL_COLUMNS = ["image_id", "diagnosis", "group", "split", "fold"]
DIAGNOSIS_COLUMNS = ["diagnosis", "class", "label"]  # three names for the same column
UNLABELLED = "unlabelled"
PARTS = ["train", "val", "test"]

IMAGE_SUFFIX = re.compile(f"({'|'.join(map(re.escape, IMAGE_SUFFIXES))})$", re.IGNORECASE)


def describe_unmatched(ids_by_kind: dict[str, Iterable[str]]) -> str:
    """Return which ids one of two kinds lacks, as "There is no mask for a, b and no image for c", or nothing."""
    (first_kind, first_ids), (second_kind, second_ids) = ((kind, set(ids)) for kind, ids in ids_by_kind.items())
    missing = {first_kind: second_ids - first_ids, second_kind: first_ids - second_ids}
    phrases = [f"no {kind} for {first_ten(sorted(ids))}" for kind, ids in missing.items() if ids]
    return f"There is {' and '.join(phrases)}" if phrases else ""


def read_labels(name: str, data: bytes, image_ids: list[str]) -> pd.DataFrame:
    """Return labels.csv sorted by image_id, with those of LABEL_COLUMNS that it has and a diagnosis in any case.

    `name` is for messages. Raises UserError if the file doesn't match the images or has invalid values.
    """
    table = _parse_labels(name, data)
    table["image_id"] = table.image_id.str.normalize("NFC").str.replace(IMAGE_SUFFIX, "", regex=True)
    duplicates = table.image_id[table.image_id.duplicated()].unique()
    if len(duplicates):
        raise UserError(f"{name} has more than one row for {first_ten(duplicates)}. Keep one.")
    unmatched = describe_unmatched({"image": image_ids, "row": table.image_id})
    if unmatched:
        raise UserError(f"{unmatched} in {name}. It must have one row for each image, with the image name as image_id.")
    if "diagnosis" not in table:
        table["diagnosis"] = UNLABELLED
    _check_diagnoses(name, table.diagnosis)
    if "split" in table and not table.split.isin(PARTS).all():
        words = table.split[~table.split.isin(PARTS)].unique()
        raise UserError(f"{name} has {first_ten(words)} in its column split. Use only {', '.join(PARTS)}.")
    if "fold" in table:
        folds = table.fold.unique()
        if set(folds) != set(map(str, range(len(folds)))):
            raise UserError(
                f"{name} has {first_ten(sorted(folds))} in its column fold. Use whole numbers from 0 without gaps."
            )
        table["fold"] = table.fold.astype(int)
    return table.sort_values("image_id", ignore_index=True)[[column for column in LABEL_COLUMNS if column in table]]


def _check_diagnoses(name: str, diagnoses: pd.Series) -> None:
    try:
        TypeAdapter(list[Name]).validate_python(diagnoses.unique().tolist())
    except ValidationError as error:
        invalid = first_ten(repr(problem["input"]) for problem in error.errors())
        raise UserError(
            f"{name} has diagnoses that can't be used as names in reports: {invalid}. Use up to 50 letters, digits, "
            "spaces, _ and -, and don't begin with a space or -."
        ) from error


def _parse_labels(name: str, data: bytes) -> pd.DataFrame:
    """Return those of LABEL_COLUMNS that a CSV file has, as text, without empty rows."""
    table = _read_table(name, data)
    for alternatives in (DIAGNOSIS_COLUMNS, ["split", "fold"]):
        given = table.columns.intersection(alternatives)
        if len(given) > 1:
            raise UserError(
                f"{name} has the columns {first_ten(given)}, but can have only one of them. Remove the others."
            )
    if "image_id" not in table:
        raise UserError(
            f"{name} has no column image_id, only {first_ten(table.columns)}. Rename the column that contains the "
            "image names to image_id, and separate columns with commas."
        )
    table = table.rename(columns=dict.fromkeys(DIAGNOSIS_COLUMNS, "diagnosis"))
    unused = table.columns.difference(LABEL_COLUMNS, sort=False)
    if len(unused):
        logger.warning("%s has columns that are not used: %s.", name, ", ".join(unused))
    used: pd.DataFrame = table[table.columns.intersection(LABEL_COLUMNS)].apply(lambda column: column.str.strip())
    table = used[(used != "").any(axis=1)].copy()
    for column in table:
        lines = table.index[table[column] == ""] + 2  # the header is line 1
        if len(lines):
            raise UserError(
                f"{name} has no {column} in line {first_ten(map(str, lines))}. Fill every cell, or remove the column."
            )
    return table


def _read_table(name: str, data: bytes) -> pd.DataFrame:
    """Return a CSV file as text, empty rows included."""
    try:
        table = pd.read_csv(
            io.BytesIO(data),
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,  # so that the index gives the line
            skipinitialspace=True,
            encoding="utf-8-sig",
        )
    except ValueError as error:  # the base class of pandas' own errors, too
        raise UserError(
            f"{name} is not a comma-separated table in UTF-8 ({describe_error(error)}). Save it as CSV UTF-8."
        ) from error
    if not isinstance(table.index, pd.RangeIndex):
        raise UserError(f"{name} has rows with more cells than the first line has names. Name every column there.")
    return table
