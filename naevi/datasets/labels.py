"""Label a user's own images: from labels.csv or another table beside them, and from folders train, val and test."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from naevi.config import DataConfig
from naevi.datasets.columns import describe_columns, label_columns
from naevi.datasets.groups import group_by_folders, own_groups
from naevi.datasets.label_table import find_table, image_column, match_names, read_table
from naevi.datasets.layout import PART_NAMES, folder_split, safe_name, stem
from naevi.errors import UserError, first_ten
from naevi.tables import PARTS, Decision

UNLABELLED = "unlabelled"
MAX_DIAGNOSIS_CHARACTERS = 100


class Labels(NamedTuple):
    """The labels of a user's own images."""

    table: pd.DataFrame  # image_id (rising), diagnosis and, if known, group, split or fold
    decisions: list[Decision]
    left_out: list[str]  # ids of the images that have no row and are left out of the data set


def describe_unmatched(ids_by_kind: dict[str, Iterable[str]]) -> str:
    """Return the ids that one of two kinds lacks, as "There is no mask for a, b and no image for c", or ""."""
    (first_kind, first_ids), (second_kind, second_ids) = ((kind, set(ids)) for kind, ids in ids_by_kind.items())
    missing = {first_kind: second_ids - first_ids, second_kind: first_ids - second_ids}
    phrases = [f"no {kind} for {first_ten(sorted(ids))}" for kind, ids in missing.items() if ids]
    return f"There is {' and '.join(phrases)}" if phrases else ""


def label_images(tables: dict[str, bytes], paths: dict[str, str], settings: DataConfig) -> Labels:
    """Return the labels of all images. Without a table, each diagnosis is "unlabelled".

    `tables` has the content of each CSV file by its path. `paths` has the path of each image in the data set by its id.

    Raises UserError if a table doesn't match the images or params.yaml, or has invalid values, and as
    `group_by_folders` does.
    """
    name, unused = find_table(tables, paths, settings)
    if name:
        table, decisions, left_out = read_labels(name, tables[name], sorted(paths), settings)
    else:
        table, decisions, left_out = pd.DataFrame({"image_id": sorted(paths), "diagnosis": UNLABELLED}), [], []
    column = next((column for column in ("split", "fold") if column in table), None)
    kept = {image_id: paths[image_id] for image_id in table.image_id}
    parts, folders = folder_split(kept, settings.split_folders, column)
    if parts:
        table["split"] = table.image_id.map(parts)
    table, groups = group_by_folders(table, kept, settings.group_folders)
    return Labels(table, [*decisions, *unused, *folders, *groups], left_out)


def read_labels(name: str, data: bytes, image_ids: list[str], settings: DataConfig) -> Labels:
    """Return the labels from one table. `name` is for messages.

    Raises UserError if the table doesn't match the images or params.yaml, or has invalid values.
    """
    cells, known = read_table(name, data), set(image_ids)
    image = image_column(name, cells, known, settings.columns.image)
    names = match_names(cells[image], known)
    has_image = names.isin(known)
    unmatched = cells[image][~has_image]
    extra = [
        safe_name(value) or f"line {line + 2}" for line, value in zip(unmatched.index.tolist(), unmatched, strict=True)
    ]
    left_out = sorted(known - set(names))
    _check_matches(name, image, extra, left_out, len(known), settings)
    cells = cells[has_image]
    columns = label_columns(name, cells, image, settings.columns)
    table = pd.DataFrame({use: cells[column] for use, column in columns.items()}).assign(image_id=names[has_image])
    table, repeats = _one_row_each(name, table, settings.repeated_rows)
    decisions = [
        *describe_columns(name, cells.loc[table.index], columns),
        *repeats,
        Decision(f"Rows of {name} without an image, ignored", extra, "data.extra_rows"),
        Decision(f"Images without a row in {name}, left out", left_out, "data.mismatches"),
        *_fill_groups(name, table),
    ]
    return Labels(_check_values(name, table, columns), [item for item in decisions if item.ids], left_out)


def _check_matches(
    name: str, image: str, extra: list[str], left_out: list[str], number: int, settings: DataConfig
) -> None:
    """Raise UserError for rows without an image and images without a row, unless params.yaml accepts them."""
    if len(left_out) == number:
        remedy = "Set data.columns.image to the column that has the image names."
        if any(image_id.endswith(tuple(f"_{stem(value)}" for value in extra)) for image_id in left_out):
            remedy = f"Images in different folders have the same name, such as {left_out[0]}, so write their paths."
        raise UserError(
            f"{name} has no row for any image. Its column {image} has {first_ten(extra) or 'no names'}. {remedy}"
        )
    if left_out and settings.mismatches == "refuse":
        hint = f", and no image for {first_ten(extra)}" if extra else ""
        raise UserError(
            f"There is no row for {first_ten(left_out)} in {name}{hint}. "
            "Add rows or correct the names, or set data.mismatches to leave-out to leave these images out."
        )
    if extra and settings.extra_rows == "refuse":
        raise UserError(
            f"There is no image for {first_ten(extra)} in {name}. Remove these rows, or set data.extra_rows to ignore."
        )


def _one_row_each(name: str, table: pd.DataFrame, repeated_rows: str) -> tuple[pd.DataFrame, list[Decision]]:
    """Return the table with one row for each image. Only the columns in use are compared."""
    equal = table.duplicated()
    merged, table = table.image_id[equal], table[~equal]
    repeated = table.image_id.duplicated()
    if repeated.any() and repeated_rows == "refuse":
        raise UserError(
            f"{name} has rows that differ for {first_ten(table.image_id[repeated].unique())}. "
            "Keep one row for each image, or set data.repeated_rows to first to use the first."
        )
    ignored, table = table.image_id[repeated], table[~repeated].copy()
    return table, [
        Decision(f"Equal rows of {name} for one image, merged", merged.tolist(), "data.repeated_rows"),
        Decision(f"Rows of {name} after the first for an image, ignored", ignored.tolist(), "data.repeated_rows"),
    ]


def _fill_groups(name: str, table: pd.DataFrame) -> list[Decision]:
    """Give each image without a group its own."""
    if "group" not in table:
        return []
    table["group"] = table.group.map(safe_name)
    empty = table.group == ""
    table["group"] = table.group.mask(empty, own_groups(table.image_id))
    ids = table.image_id[empty].tolist()
    return [Decision(f"Images without a group in {name}, each in its own", ids, "data.columns.group")]


def _check_values(name: str, table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return the table sorted by image_id, with a diagnosis for each image, PARTS as parts, and folds as numbers."""
    for use, remedy in {
        "diagnosis": "set data.columns.diagnosis to none",
        "split": "rename the column",
        "fold": "rename the column",
    }.items():
        if use in table and (table[use] == "").any():
            lines = first_ten(
                str(line + 2) for line in sorted(table.index[table[use] == ""].tolist())
            )  # the header is line 1
            raise UserError(f"{name} has no {columns[use]} in line {lines}. Fill every cell, or {remedy}.")
    if "diagnosis" in table:
        table["diagnosis"] = _valid_diagnoses(name, table.diagnosis)
    else:
        table.insert(1, "diagnosis", UNLABELLED)
    if "split" in table:
        table["split"] = table.split.str.lower().map(PART_NAMES).fillna(table.split)
        if not table.split.isin(PARTS).all():
            words = first_ten(table.split[~table.split.isin(PARTS)].unique())
            raise UserError(
                f"{name} has {words} in its column {columns['split']}. Use only {', '.join(PARTS)}, or rename the "
                "column."
            )
    if "fold" in table:
        folds = table.fold.unique()
        if set(folds) != set(map(str, range(len(folds)))):
            raise UserError(
                f"{name} has {first_ten(sorted(folds))} in its column {columns['fold']}. "
                "Use whole numbers from 0 without gaps, or rename the column."
            )
        table["fold"] = table.fold.astype(int)
    return table.sort_values("image_id", ignore_index=True)


def _valid_diagnoses(name: str, diagnoses: pd.Series) -> pd.Series:
    """Return diagnoses as safe names. Raises UserError for one that is long or has unprintable characters."""
    invalid = [text for text in diagnoses.unique() if not text.isprintable() or len(text) > MAX_DIAGNOSIS_CHARACTERS]
    if invalid:
        raise UserError(
            f"{name} has diagnoses that are longer than {MAX_DIAGNOSIS_CHARACTERS} characters or have unprintable "
            f"ones: {first_ten(map(repr, invalid))}. Shorten them, or set data.columns.diagnosis to none."
        )
    return diagnoses.map(safe_name)
