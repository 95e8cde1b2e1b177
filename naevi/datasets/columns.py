"""Recognize the columns of the table beside a user's own images: image, diagnosis, group, split or fold."""

import re

import pandas as pd

from naevi.config import ColumnsConfig
from naevi.errors import UserError, first_ten
from naevi.tables import Decision

# Common names in lower case, without spaces, hyphens and underscores.
IMAGE_NAMES = [
    "imageid", "image", "imagename", "img", "imgid", "imgname", "imagefile", "filename", "file", "filepath", "path",
    "isicid", "name", "id",
]  # fmt: skip
DIAGNOSIS_NAMES = ["diagnosis", "dx", "class", "label", "targetname", "diagnostic"]
# In the order of preference, larger groups first: a patient may have several lesions.
GROUP_NAMES = [
    "group", "groupid", "patientid", "patient", "subjectid", "subject", "caseid", "case", "lesionid", "lesion",
]  # fmt: skip
CERTAIN_GROUPS = ["group", "groupid", "patientid", "subjectid", "caseid", "lesionid"]  # even if they have only 0 and 1
GIVEN_NAMES = ["split", "fold"]

GROUP_LIKE = re.compile(r"[ _-]id$|patient|lesion|subject|case", re.IGNORECASE)
IMAGES_PER_GROUP = (1.05, 50)  # on average, in a column that looks like a group
FLAGS = {"", "0", "1", "0.0", "1.0", "no", "yes", "n", "y", "false", "true"}


def plain(name: str) -> str:
    """Return the name of a column in lower case, without spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]", "", name).lower()


def named_like(table: pd.DataFrame, names: list[str]) -> list[str]:
    """Return the columns with one of these plain names, in the order of the names."""
    known = [column for column in map(str, table) if plain(column) in names]
    return sorted(known, key=lambda column: names.index(plain(column)))


def required(name: str, table: pd.DataFrame, column: str, parameter: str) -> str:
    """Return a column that params.yaml names. Raises UserError if the table `name` doesn't have it."""
    if column not in table:
        raise UserError(
            f"{name} has no column {column}, only {first_ten(table.columns)}. "
            f"Set {parameter} to one of these or to auto, and separate columns with commas."
        )
    return column


def label_columns(name: str, table: pd.DataFrame, image: str, settings: ColumnsConfig) -> dict[str, str]:
    """Return the columns of the table `name` by their use: image_id and, if it has them, diagnosis, group, split, fold.

    `image` is the column with the image names. Raises UserError if a column that params.yaml names is missing, if
    several columns could be the diagnosis, and if the table has both a split and a fold.
    """
    others = table.drop(columns=image)
    columns = {"image_id": image}
    if settings.diagnosis not in ("auto", "none"):
        columns["diagnosis"] = required(name, table, settings.diagnosis, "data.columns.diagnosis")
    elif settings.diagnosis == "auto" and (found := named_like(others, DIAGNOSIS_NAMES)):
        if len(found) > 1:
            raise UserError(
                f"{name} has the columns {first_ten(found)}, but only one of them can be the diagnosis. "
                "Set data.columns.diagnosis to one of them, or to none."
            )
        columns["diagnosis"] = found[0]
    if settings.group not in ("auto", "none"):
        columns["group"] = required(name, table, settings.group, "data.columns.group")
    elif settings.group == "auto" and (found := _named_groups(others)):
        columns["group"] = found[0]
    given = named_like(others, GIVEN_NAMES)
    if len(given) > 1:
        raise UserError(
            f"{name} has the columns {first_ten(given)}, but only one of them can be the predefined split. "
            "Remove or rename the others."
        )
    return columns | {plain(column): column for column in given}


def _named_groups(table: pd.DataFrame) -> list[str]:
    """Return the columns that have a common name of groups and contain names of groups."""
    return [column for column in named_like(table, GROUP_NAMES) if _has_group_names(column, table[column])]


def _has_group_names(name: str, cells: pd.Series) -> bool:
    """Return whether a column has text and not only flags such as 0 and 1, which are names only in CERTAIN_GROUPS."""
    return not set(cells.str.lower()) <= ({""} if plain(name) in CERTAIN_GROUPS else FLAGS)


def describe_columns(name: str, table: pd.DataFrame, columns: dict[str, str]) -> list[Decision]:
    """Return the use of each column of the table `name`, and which columns aren't used.

    `table` has the rows of the images. Columns that look like groups but aren't used are an entry of their own, unless
    the groups in use keep their images together.
    """
    parameters = {"image_id": "data.columns.image", "split": "split.folds", "fold": "split.folds"}
    decisions = [
        Decision(f"Column of {name} used as {use}", [column], parameters.get(use, f"data.columns.{use}"))
        for use, column in columns.items()
    ]
    unused = [column for column in map(str, table) if column not in columns.values()]
    own = pd.Series(range(len(table)), index=table.index).astype(str)
    groups = "group " + table[columns["group"]] if "group" in columns else own
    groups = groups.where(groups != "group ", own)
    group_like = [column for column in unused if _looks_like_group(column, table[column], groups)]
    text = f"Columns of {name} that look like groups but are not used (their images may be in different parts)"
    rest = [column for column in unused if column not in group_like]
    return [
        *decisions,
        Decision(text, group_like, "data.columns.group"),
        Decision(f"Columns of {name} that are not used", rest, "data.columns"),
    ]


def _looks_like_group(name: str, cells: pd.Series, groups: pd.Series) -> bool:
    """Return whether a column seems to contain groups, and `groups` doesn't keep the images of each together."""
    if not _has_group_names(name, cells):
        return False
    filled = cells[cells != ""]
    low, high = IMAGES_PER_GROUP
    by_values = GROUP_LIKE.search(name) is not None and low <= len(filled) / filled.nunique() <= high
    separated = groups[filled.index].groupby(filled).nunique() > 1
    return bool(separated.any()) and (by_values or plain(name) in GROUP_NAMES)
