"""Find the table beside a user's own images among CSV files, and the column with the names of the images."""

import io
import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any
from unicodedata import normalize

import pandas as pd

from naevi.config import DataConfig
from naevi.datasets.columns import IMAGE_NAMES, named_like, required
from naevi.datasets.layout import part_of, safe_name
from naevi.errors import UserError, describe_error, first_ten
from naevi.images.files import IMAGE_SUFFIXES
from naevi.tables import Decision

IMAGE_SUFFIX = re.compile(f"({'|'.join(map(re.escape, IMAGE_SUFFIXES))})$", re.IGNORECASE)


def find_table(
    tables: dict[str, bytes], image_ids: Collection[str], settings: DataConfig
) -> tuple[str | None, list[Decision]]:
    """Return the name of the table with the labels, and the tables that aren't used. `tables` has the contents by name.

    The table is labels.csv, otherwise the table with the names of the most images.

    Raises UserError if several tables fit equally well, if another table has rows that this one lacks, and if
    params.yaml names columns but no table has the names of images.
    """
    columns = [value for _, value in settings.columns if value not in ("auto", "none")]
    found = {name: _images_in(name, data, set(image_ids), settings) for name, data in sorted(tables.items())}
    complete = [name for name in found if found[name] and set(columns) <= set(read_table(name, tables[name], nrows=0))]
    best = _best_tables(found, complete or [name for name in found if found[name]], bool(columns))
    if len({tables[name] for name in best}) > 1:
        raise UserError(
            f"{first_ten(best)} could each be the table with the labels. Write the rows of all into one labels.csv, "
            "or set data.columns.image, diagnosis or group to a column that only one of them has."
        )
    if best:
        _check_complete(best[0], found, settings)
    elif columns:
        present = f"{first_ten(found)} have none" if found else "there is no .csv file"
        raise UserError(
            f"data.columns names {first_ten(columns)}, which requires a table with the names of the images, but "
            f"{present}. Add such a table beside images/, or set these parameters to auto."
        )
    unused = [name for name in found if name not in best[:1]]
    return next(iter(best), None), [Decision("Tables that are not used", unused, "data.columns.image")] * bool(unused)


def _best_tables(found: dict[str, set[str]], fitting: list[str], named_columns: bool) -> list[str]:
    """Return the tables that fit best. `found` has the ids of each table's images, `fitting` the tables to prefer."""
    named = [name for name in found if PurePosixPath(name.lower()).name == "labels.csv"]
    most = max((len(found[name]) for name in fitting), default=0)
    choices = [
        [name for name in fitting if name in named],
        [] if named_columns else named,  # problems in it are errors, even if another table would fit
        [name for name in fitting if len(found[name]) == most],
        named,
        list(found) if named_columns and len(found) == 1 else [],  # its error names the missing column
    ]
    return next((names for names in choices if names), [])


def _images_in(name: str, data: bytes, image_ids: set[str], settings: DataConfig) -> set[str]:
    """Return the ids of the images that have a row in a table."""
    try:
        header = read_table(name, data, nrows=0)
        columns = named_like(header, IMAGE_NAMES) if settings.columns.image == "auto" else [settings.columns.image]
        # Only these columns, because tables of pixel values have thousands.
        table = read_table(name, data, usecols=[column for column in columns if column in header])
        column = image_column(name, table, image_ids, settings.columns.image)
    except UserError:  # a table of any kind may be beside the images
        return set()
    return set(match_names(table[column], image_ids)) & image_ids


def _check_complete(name: str, found: dict[str, set[str]], settings: DataConfig) -> None:
    others = [other for other, ids in found.items() if ids - found[name]]
    if others and found[name] and settings.mismatches == "refuse":
        raise UserError(
            f"{name} lacks rows for images that are in {first_ten(others)}. Write all rows into one labels.csv, or set "
            f"data.mismatches to leave-out to use only the images in {name}."
        )


def image_column(name: str, table: pd.DataFrame, image_ids: set[str], wanted: str) -> str:
    """Return the column of the table `name` with the names of images: `wanted`, or if it is auto, one by its name.

    If several columns have a common name, the one with the names of the most images is returned. Raises UserError if
    there is none.
    """
    if wanted != "auto":
        return required(name, table, wanted, "data.columns.image")
    columns = named_like(table, IMAGE_NAMES)
    if not columns:
        raise UserError(
            f"{name} has no column with a common name for image names, such as image_id, only "
            f"{first_ten(table.columns)}. Set data.columns.image to the column, and separate columns with commas."
        )

    def matches(column: str) -> int:
        return len(set(match_names(table[column], image_ids)) & image_ids)

    return max(columns, key=matches)


def match_names(cells: pd.Series, image_ids: set[str]) -> pd.Series:
    """Return the image ids for cells with image names, such as 007 for 007, 007.png and images/007.png.

    The id for train/1.png is train_1 if there is such an image and none with the id 1, see `layout.unique_ids` and
    `matching`.
    """
    ids = []
    for cell in cells:
        path = normalize("NFC", cell).replace("\\", "/")  # macOS may store an umlaut as two characters
        name = safe_name(IMAGE_SUFFIX.sub("", path.rpartition("/")[2]))
        prefixed, joined = f"{part_of(path)}_{name}", safe_name(IMAGE_SUFFIX.sub("", path).replace("/", "_"))
        ids.append(next((found for found in (name, prefixed, joined) if found in image_ids), name))
    return pd.Series(ids, index=cells.index, dtype=cells.dtype)


def read_table(name: str, data: bytes, **options: Any) -> pd.DataFrame:
    """Return a CSV file as text without surrounding spaces and without empty rows. Row i is line i + 2 of the file.

    `options` are options of pandas.read_csv that restrict the columns or rows.
    """
    try:
        table = pd.read_csv(
            io.BytesIO(data),
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,  # so that the index gives the line
            skipinitialspace=True,
            encoding="utf-8-sig",
            **options,
        )
    except ValueError as error:  # the base class of pandas' own errors, too
        raise UserError(
            f"{name} is not a comma-separated table in UTF-8 ({describe_error(error)}). Save it as CSV UTF-8."
        ) from error
    if len(table) and not isinstance(table.index, pd.RangeIndex):
        raise UserError(f"{name} has rows with more cells than the first line has names. Name every column there.")
    stripped: pd.DataFrame = table.apply(lambda column: column.str.strip())
    return stripped[(stripped != "").any(axis=1)]
