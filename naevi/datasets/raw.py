"""Write data/raw, which has one layout for every data set.

images/<id>.png and masks/<id>.png (class indices, 0 for the background) at native size, labels.csv (image_id,
diagnosis and, for a user's own images, dataset, group, split or fold), and decisions.csv (decisions about files that
can be read in several ways). Own images also have reading.json, which says how prediction must read new images. Own
JPEG, PNG and WebP files are kept unchanged if `images.files.read_image` reads them as `datasets.decoding` does:
images/<id>.jpg.
"""

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd

from naevi.config import DataConfig, PhantomsConfig
from naevi.datasets.archives import is_archive, list_files, name_inside, read_files
from naevi.datasets.coco import is_json, read_annotations
from naevi.datasets.folder import import_folder, is_picture, is_table
from naevi.datasets.layout import printable
from naevi.datasets.locate import find_own_images, find_source
from naevi.datasets.matching import USUAL_LAYOUT, Matching, match_pictures, pattern_layout
from naevi.datasets.ph2 import NO_PH2, PH2_ADDRESSES, import_ph2, is_ph2_file, is_ph2_table, ph2_labels
from naevi.datasets.several import Labeled, clashing_archives, read_data_sets, separate_data_sets
from naevi.datasets.synthetic import synthetic_image
from naevi.datasets.unread_archives import why_unread
from naevi.errors import UserError, first_ten, list_problems
from naevi.files import atomic_folder, write_csv
from naevi.images.files import write_image, write_mask
from naevi.images.folders import pack_images
from naevi.progress import progress
from naevi.tables import Decision, decision_table, describe_decisions, write_decisions
from naevi.workspace import Workspace

logger = logging.getLogger(__name__)

NOT_USED = "Files that are no images, masks or tables (.csv), not used"
SEPARATE = "If they are, set data.datasets to subfolders"


def build_raw(workspace: Workspace, data: DataConfig) -> None:
    """Write data/raw from the data set that params.yaml names, completely or not at all."""
    if data.source == "ph2":
        fill_raw(workspace, lambda folder: write_ph2(workspace, folder))
    elif data.source == "folder":
        fill_raw(workspace, lambda folder: write_folder(workspace, folder, data))
    else:
        fill_raw(workspace, lambda folder: write_synthetic(folder, data.phantoms))


def fill_raw(workspace: Workspace, write: Callable[[Path], Labeled]) -> None:
    """Replace data/raw by what `write` puts into an empty folder and by the labels and decisions that it returns.

    If `write` raises an error, data/raw stays as it is. Each decision is printed as a warning.
    """
    with atomic_folder(workspace.raw) as folder:
        for subfolder in ("images", "masks"):
            (folder / subfolder).mkdir()
        labels, decisions = write(folder)
        for subfolder in ("images", "masks"):
            pack_images(folder / subfolder)
        write_csv(folder / "labels.csv", labels)
        write_decisions(folder / workspace.reading_decisions.name, decisions)
    for sentence in describe_decisions(decision_table(decisions)):
        logger.warning("%s", sentence)


def write_ph2(workspace: Workspace, folder: Path) -> Labeled:
    """Write the PH2 images from the first source that has them; return their labels."""
    source = find_source(workspace, PH2_ADDRESSES, NO_PH2.format(folder=workspace.external_data))
    return import_ph2(workspace, _read_with_progress(source, is_ph2_file), folder), []


def write_folder(workspace: Workspace, folder: Path, data: DataConfig) -> Labeled:
    """Write a user's own images; return labels and decisions."""
    source = find_own_images(workspace, data.path)
    if data.datasets == "subfolders":
        return read_data_sets(source, folder, data, write_data_set)
    return write_data_set(source, folder, data)


def write_data_set(source: Path, folder: Path, data: DataConfig) -> Labeled:
    """Write the images of one folder or archive; return labels and decisions. Messages use file names relative to it.

    If it looks like several data sets, although data.datasets is one, an error or a decision says so.
    """
    inside = partial(name_inside, source)  # the source itself may be in a folder named images or test

    def read(selected: Container[str]) -> Iterator[tuple[str, bytes]]:
        files = _read_with_progress(source, lambda name: inside(name) in selected)
        return ((inside(name), content) for name, content in files)

    names = [inside(name) for name in list_files(source)]
    pictures, json_files = list(filter(is_picture, names)), set(filter(is_json, names))
    coco = read_annotations(read(json_files) if json_files else (), pictures, data)
    matching = match_images_and_masks(pictures, data, coco.owners)
    roles = {name: "labels" for name in names if is_table(name) or is_ph2_table(name)}
    roles |= dict.fromkeys(matching.images, "images") | dict.fromkeys(matching.masks, "masks")
    if data.mismatches == "refuse":
        _refuse_archives(name for name in names if name not in roles)
    logger.info("Read as %s: %d images, %d masks.", matching.layout, len(matching.images), len(matching.masks))
    named = ((roles[name], name, _as_csv(name, content)) for name, content in read(roles))
    drawn = (("masks", name, content) for name, content in coco.masks)
    apart = separate_data_sets(names, matching) if data.datasets == "one" else []
    try:
        labels, decisions = import_folder(chain(named, drawn), folder, data, matching=matching)
    except UserError as error:
        apart = apart or (clashing_archives(source) if data.datasets == "one" else [])
        if not apart:
            raise
        raise UserError(f"{error} {first_ten(apart)} look like data sets of their own. {SEPARATE}.") from error
    unused = [printable(name) for name in names if name not in roles and name not in coco.files]
    layout = [] if matching.layout == USUAL_LAYOUT else list(matching.images.values())
    found = Decision(f"Images and masks told apart by the layout: {matching.layout}", layout, "data.path")
    several = Decision(
        f"Folders that look like data sets of their own, read as one. {SEPARATE}", apart, "data.datasets"
    )
    return labels, [found, *coco.decisions, *decisions, Decision(NOT_USED, unused, "data.path"), several]


def match_images_and_masks(paths: list[str], data: DataConfig, annotated: Mapping[str, str]) -> Matching:
    """Return the images and masks among pictures, by the patterns of params.yaml or the layout that fits best.

    `annotated` has the owners of masks that are drawn from annotations, see `match_pictures`.

    Raises UserError if there are patterns and none of the paths is that of an image.
    """
    classes = data.names()[1:] if data.masks.several == "classes" else []
    if data.patterns.images == "auto":
        return match_pictures(paths, classes, annotated=annotated)
    matching = match_pictures(paths, classes, [pattern_layout(data.patterns.images, data.patterns.masks)], annotated)
    if not matching.images:
        raise UserError(
            f"data.patterns.images {data.patterns.images} fits none of the {len(paths)} pictures: {first_ten(paths)}. "
            "Change it, or set both patterns to auto."
        )
    return matching


def _refuse_archives(names: Iterable[str]) -> None:
    """Raise UserError if some of the files that aren't used are archives, because these may have images in them."""
    nested = "is an archive inside another one. Unpack the outer one and use the folder instead."
    reasons = {name: why_unread(name) or nested * is_archive(name) for name in names}
    lines = [f"{printable(name)} {reason}" for name, reason in reasons.items() if reason]
    if lines:
        head = f"{len(lines)} archive(s) can't be read. To leave them out, set data.mismatches to leave-out."
        raise UserError(list_problems(head, lines))


def _as_csv(name: str, content: bytes) -> bytes:
    return ph2_labels(name, content) if is_ph2_table(name) else content


def _read_with_progress(source: Path, is_selected: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    return progress(read_files(source, is_selected), total=None, label="download", unit="files")


def write_synthetic(folder: Path, settings: PhantomsConfig) -> Labeled:
    """Write synthetic images; return their labels."""
    rows = []
    for index in progress(range(settings.number), total=settings.number, label="generate", unit="images"):
        generated = synthetic_image(index, height=settings.height, width=settings.width, seed=settings.seed)
        write_image(folder / "images" / f"{generated.image_id}.png", generated.image)
        write_mask(folder / "masks" / f"{generated.image_id}.png", generated.mask)
        rows.append((generated.image_id, generated.diagnosis))
    return pd.DataFrame(rows, columns=["image_id", "diagnosis"]), []
