"""Groups of images by their folders, such as a folder for each patient."""

import re
from pathlib import PurePosixPath

import pandas as pd

from naevi.datasets.layout import PART_NAMES, safe_name, shared_start
from naevi.datasets.matching import IMAGES
from naevi.errors import UserError
from naevi.tables import GIVEN_SPLIT, Decision

PARAMETER = "data.group_folders"
USED = "Folders whose images stay in one part of the split"
UNCLEAR = "Folders that could each be a patient. Their images may be in different parts, unless the parameter is use"


def group_by_folders(
    labels: pd.DataFrame, paths: dict[str, str], group_folders: str
) -> tuple[pd.DataFrame, list[Decision]]:
    """Return the labels, with the folder of each image as its group if `group_folders` is use, and the decision.

    `paths` has the path of each image in the data set by its id. If `group_folders` is ignore, there is a decision only
    if folders could be groups, and neither groups nor parts are given.

    Raises UserError if folders should be groups, but the labels have groups or all images are in one folder.
    """
    folders = labels.image_id.map(_distinct_folders(paths))
    named = sorted(set(folders) - {""})
    if group_folders == "ignore":
        several = len(set(folders)) > 1 and folders[folders != ""].duplicated().any()
        given = not {"group", *GIVEN_SPLIT}.isdisjoint(labels)
        return labels, [Decision(UNCLEAR, named, PARAMETER)] if several and not given else []
    if "group" in labels:
        raise UserError(
            f"{PARAMETER} is use, but your table has groups, too. Set data.columns.group to none, or {PARAMETER} to "
            "ignore."
        )
    if not named:
        raise UserError(f"{PARAMETER} is use, but all images are in one folder. Set it to ignore.")
    labels = labels.copy()
    labels.insert(2, "group", folders.map(safe_name).where(folders != "", own_groups(labels.image_id)))
    return labels, [Decision(USED, named, PARAMETER)]


def own_groups(image_ids: pd.Series) -> pd.Series:
    """Return a group of its own for each image, for images that have none."""
    groups: pd.Series = "only " + image_ids
    return groups


def _distinct_folders(paths: dict[str, str]) -> dict[str, str]:
    """Return the folder of each image, without folders that all share and those such as images, train and test."""
    folders = {
        image_id: tuple(
            name
            for name in PurePosixPath(path).parent.parts
            if name.lower() not in PART_NAMES and not re.fullmatch(IMAGES, name, re.IGNORECASE)
        )
        for image_id, path in paths.items()
    }
    shared = shared_start(folders.values())
    return {image_id: "/".join(parts[shared:]) for image_id, parts in folders.items()}
