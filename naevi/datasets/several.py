"""Read each subfolder and archive of a folder as a data set of its own, and join them.

The id of an image begins with the name of its data set, so another data set beside it doesn't change it.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd

from naevi.config import DataConfig
from naevi.datasets.archives import ARCHIVE_SUFFIXES, is_archive, list_files
from naevi.datasets.folder import is_picture, is_table
from naevi.datasets.groups import own_groups
from naevi.datasets.layout import PART_NAMES, check_name, printable
from naevi.datasets.matching import Matching, match_pictures
from naevi.datasets.members import HIDDEN
from naevi.datasets.unread_archives import why_unread
from naevi.errors import UserError, first_ten
from naevi.files import read_json, write_json
from naevi.images.files import READING_FILE
from naevi.tables import GIVEN_SPLIT, Decision

NAME = re.compile(r"\w[\w .-]{0,49}")  # like data.name
ARCHIVE_ENDING = re.compile(rf"({'|'.join(map(re.escape, ARCHIVE_SUFFIXES))})$", re.IGNORECASE)
WHITE = "data.reading.white"

Labeled = tuple[pd.DataFrame, list[Decision]]  # the labels, and the decisions made while files were read
ReadDataSet = Callable[[Path, Path, DataConfig], Labeled]  # of a folder or archive, and the folder to write to

logger = logging.getLogger(__name__)


class _DataSet(NamedTuple):
    labels: pd.DataFrame  # with the ids and groups of all data sets, and the column dataset
    decisions: list[Decision]
    reading: dict[str, Any]  # the content of reading.json


def read_data_sets(source: Path, folder: Path, data: DataConfig, read: ReadDataSet) -> Labeled:
    """Write the images and masks of all data sets in `source` to `folder`, and one reading.json.

    `read` reads one of them. Returns the labels with the column `dataset`, and all decisions.

    Raises UserError if `source` isn't a folder of at least two data sets, if one of them can't be read, if they don't
    fit together, and if params.yaml has classes of another data set.
    """
    sources, others = list_data_sets(source)
    if unknown := data.own_classes().keys() - sources.keys():
        raise UserError(
            f"data.classes_by_dataset has {first_ten(sorted(unknown))}, but the data sets in data.path are "
            f"{first_ten(sources)}. Use these names."
        )
    found: dict[str, _DataSet] = {}
    for name, path in sources.items():
        logger.info("Data set %s:", name)
        found[name] = _read_data_set(name, path, folder, data.for_data_set(name), read)
    write_json(folder / READING_FILE, _join_reading(found))
    decisions = [
        Decision("Data sets in data.path, each read by its own layout and table", list(found), "data.datasets"),
        *(decision for one in found.values() for decision in one.decisions),
        Decision("Files beside the data sets, not used", [printable(name) for name in others], "data.path"),
    ]
    return _join_labels({name: one.labels for name, one in found.items()}), decisions


def list_data_sets(source: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the subfolders and archives of a folder by the names of their data sets, and the names of other files."""
    if not source.is_dir():
        raise UserError(
            f"data.datasets is subfolders, but data.path is a file, {source}. Set data.path to a folder with a "
            "subfolder or an archive for each data set."
        )
    found: dict[str, Path] = {}
    others = []
    for path in sorted(path for path in source.iterdir() if not HIDDEN.search(f"{path.name}/")):
        if not path.is_dir() and not _is_archive(path):
            others.append(path.name)
            continue
        name = path.name if path.is_dir() else ARCHIVE_ENDING.sub("", path.name)
        if not NAME.fullmatch(name):
            raise UserError(
                f"{path.name!r} can't be the name of a data set. Rename it: letters, digits, spaces, _, . and -, up to "
                "50 characters."
            )
        if same := next((other for other in found if other.lower() == name.lower()), None):
            raise UserError(
                f"{found[same].name} and {path.name} would be two data sets of the same name. Rename or remove one."
            )
        found[name] = path
    if pictures := [name for name in others if is_picture(name)]:
        raise UserError(
            f"data.datasets is subfolders, but {source} has images beside the subfolders: {first_ten(pictures)}. Move "
            "them into a subfolder, or set data.datasets to one."
        )
    if unread := [f"{name} {reason}" for name in others if (reason := why_unread(name))]:
        raise UserError(f"{unread[0]} If it isn't one of the data sets, move it out of {source}.")
    if len(found) < 2:
        raise UserError(
            f"data.datasets is subfolders, but {source} has {len(found)} subfolder(s) or archive(s): "
            f"{first_ten(found) or 'none'}. Set data.path to the folder with one for each data set, or set "
            "data.datasets to one."
        )
    return found, others


def separate_data_sets(names: Iterable[str], matching: Matching) -> list[str]:
    """Return the top folders that look like data sets of their own, if something is lost when they are read as one.

    Such a folder has images with masks in a layout by itself, and isn't named train, val or test. Something is lost if
    together fewer images have a mask than in each alone, or if several folders have a table. `names` are the files of
    the data set, and `matching` tells how its pictures are read.
    """
    inside: dict[str, list[str]] = {}
    for name in names:
        top, _, rest = name.partition("/")
        if rest:
            inside.setdefault(top, []).append(rest)
    found = {
        top: paired
        for top, files in sorted(inside.items())
        if len(inside) > 1 and top.lower() not in PART_NAMES
        if (paired := _count_paired(match_pictures([name for name in files if is_picture(name)])))
    }
    tables = [top for top in found if any(map(is_table, inside[top]))]
    loses = sum(found.values()) > _count_paired(matching) or len(tables) > 1
    return list(found) if len(found) > 1 and loses else []


def clashing_archives(source: Path) -> list[str]:
    """Return the archives in a folder that have pictures with the same paths, as those of several data sets can."""
    paths = sorted(source.iterdir()) if source.is_dir() else []
    archives = {path.name: set(filter(is_picture, list_files(path))) for path in paths if _is_archive(path)}
    number = Counter(chain.from_iterable(archives.values()))
    return [name for name, pictures in archives.items() if any(number[picture] > 1 for picture in pictures)]


def _is_archive(path: Path) -> bool:
    return path.is_file() and is_archive(path.name)


def _count_paired(matching: Matching) -> int:
    return len(set(matching.owners.values()) - {""})


def _read_data_set(name: str, source: Path, folder: Path, data: DataConfig, read: ReadDataSet) -> _DataSet:
    """Read a data set, and move its files to `folder` under their new names."""
    with TemporaryDirectory(dir=folder) as temporary:
        own = Path(temporary)
        try:
            labels, decisions = read(source, own, data)
        except UserError as error:
            hint = f" data.classes is for all data sets. If only {name} has other values, use data.classes_by_dataset."
            raise UserError(f"Data set {name}: {error}{hint * ('data.classes' in str(error))}") from error
        reading = read_json(own / READING_FILE)
        for path in sorted(path for path in own.rglob("*") if path.is_file() and path.parent != own):
            target = folder / path.relative_to(own).with_name(f"{name}_{path.name}")
            check_name(f"{path.name} of the data set {name}", target.name)
            if target.exists():
                raise UserError(
                    f"{target.stem} would be the id of an image in two data sets, one of them {name}. Rename {name}."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    ids = {image_id: f"{name}_{image_id}" for image_id in labels.image_id}
    own_decisions = [
        Decision(f"{name}: {text}", [ids.get(item, item) for item in items], parameter)
        for text, items, parameter in decisions
    ]
    labels = labels.assign(image_id=labels.image_id.map(ids))
    labels.insert(1, "dataset", name)
    if "group" in labels:
        labels["group"] = f"{name}: " + labels.group
    return _DataSet(labels, own_decisions, reading)


def _join_labels(labels: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the labels of all data sets by image_id. Without a group, an image has its own.

    Raises UserError if only some of the data sets have a predefined split or fold.
    """
    given = {
        name: next((column for column in GIVEN_SPLIT if column in table), "none") for name, table in labels.items()
    }
    if len(set(given.values())) > 1:
        named = first_ten(f"{name} ({column})" for name, column in given.items())
        raise UserError(
            f"Data sets are split together, but their predefined splits differ: {named}. Set data.split_folders to "
            "ignore if folders give a split. Otherwise rename the columns split and fold, or add one to each table."
        )
    joined = pd.concat(labels.values(), ignore_index=True)
    if "group" in joined:
        joined["group"] = joined.group.fillna(own_groups(joined.image_id))
    return joined.sort_values("image_id", ignore_index=True)


def _join_reading(found: dict[str, _DataSet]) -> dict[str, Any]:
    """Return how prediction reads new images. Only data sets with more than 8 bits per channel determine what is white.

    Raises UserError if these have different whites.
    """
    deep = {
        name: one.reading["white"]
        for name, one in found.items()
        if any(decision.parameter == WHITE and decision.ids for decision in one.decisions)
    }
    if len(set(deep.values())) > 1:
        named = first_ten(f"{name} ({white})" for name, white in deep.items())
        raise UserError(
            f"Data sets have different values of white: {named}, but new images are read with one. Set {WHITE} to it."
        )
    return next(found[name].reading for name in [*deep, *found])
