"""Predict masks, overlays and a table of regions for new images. A run that was interrupted can be continued."""

import hashlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from naevi.config import ReadingConfig
from naevi.datasets.decoding import read_new_image
from naevi.datasets.folder import is_picture
from naevi.datasets.layout import check_name, file_key, printable
from naevi.deploy.coco import COCO_FILE, write_coco
from naevi.deploy.inputs import File, check_unique, find_files, is_tree, name_outputs, read_content
from naevi.deploy.prediction_folder import PredictionFolder, open_record, remove_unfinished
from naevi.deploy.prediction_record import Record, describe_run
from naevi.deploy.regions import describe_regions
from naevi.errors import UserError, check_inputs, describe_file_error, first_ten
from naevi.files import MIB
from naevi.images import Pixels, write_mask
from naevi.inference.segmenter import BATCH_SIZE, Segmenter
from naevi.progress import progress
from naevi.rendering.overlays import draw_overlay, to_jpeg

MAX_WARNINGS = 100
BATCH_BYTES = 64 * MIB  # of pixels. Probabilities and overlays need several times that

logger = logging.getLogger(__name__)


class NewImage(NamedTuple):
    """An image to predict."""

    name: str  # of its mask, without suffix
    sha256: str  # of its file
    pixels: Pixels


def predict_images(
    segmenter: Segmenter, images: Sequence[Path], out: Path, *, force: bool, coco: bool = False
) -> list[str]:
    """Write masks/<name>.png, overlays/<name>.jpg and lesions.csv into `out`; return the names of skipped files.

    With `coco`, also write coco.json, see `coco.write_coco`.

    `images` are images, folders and archives. Names keep the folders in these, see `inputs.name_outputs`. Files that
    can't be read as images are skipped with a warning, and listed in skipped.csv, unless they are beside images and
    don't have the suffix of one: these are only counted.
    lesions.csv has a row for each connected region: image, class, lesion (its number), area_px, perimeter_px,
    equivalent_diameter_px (of the circle with the same area), box (left, top, width, height in px), confidence (0..1,
    see `calibration.dice_confidence`).

    Images of which `out` has predictions, with the same bytes, model and settings, are not predicted again. The bytes
    that are written don't depend on earlier runs. `force` replaces predictions that differ, and removes those of images
    that aren't named.

    Raises UserError as `check_inputs`, `open_record` and `remove_unfinished` do, if there are no files, and if two
    images have the same name. Upper and lower case, and an umlaut as one or two characters, count as the same, because
    some file systems don't tell them apart. All this is checked before anything is written.
    """
    check_inputs(images)
    run = describe_run(segmenter)
    record = open_record(out, run, force=force)
    names = name_outputs(images, out)
    if not names:
        raise UserError(f"There are no files in {first_ten(map(str, images))}. Name images, or where they are.")
    unchanged = _find_unchanged(images, names, record)
    kept = remove_unfinished(out, record, unchanged, force=force)
    done = {file: name for name, file in unchanged.items() if name in kept}
    if done:
        logger.info("%d image(s) are already done. %d file(s) are left.", len(done), len(names) - len(done))
    skipped, others = list[tuple[str, str]](), list[str]()
    with PredictionFolder(out, run, record, kept) as folder, _report_interruption(folder):
        new_images = _read_images(images, names, done, segmenter.reading, skipped, others)
        predictions = _predict_batches(segmenter, new_images)
        for image, probability in progress(predictions, total=None, label="predict", unit="images"):
            mask = segmenter.mask(probability)
            contents = _to_png(mask), to_jpeg(draw_overlay(image.pixels, mask, mask), lines=True)
            folder.add(image.name, image.sha256, contents, describe_regions(mask, probability, segmenter.names))
        unread = {path for path, _ in skipped} | set(others)
        in_order = sorted(names, key=lambda file: file[0])
        paths = {names[file]: file[1] for file in in_order if file[1] not in unread}
        more = {COCO_FILE: partial(write_coco, out=out, paths=paths, names=segmenter.names)} if coco else {}
        folder.finish(paths, skipped, more)
    if others:
        logger.info("Other files, not used: %d (%s).", len(others), first_ten(map(printable, others)))
    logger.info("Masks and overlays of %d image(s) are in %s.", len(paths), out)
    return [path for path, _ in skipped]


def _find_unchanged(images: Sequence[Path], names: Mapping[File, str], record: Record) -> dict[str, File]:
    """Return the file of each recorded image whose file has the recorded bytes, by name."""
    unchanged: dict[str, File] = {}
    if not record.images:  # saves the time to walk through folders and archives
        return unchanged
    recorded = find_files(images, lambda file: names.get(file) in record.images)
    for file, source in progress(recorded, total=len(record.images), label="compare", unit="files"):
        name = names[file]
        try:
            same = hashlib.sha256(read_content(source)).hexdigest() == record.images[name].sha256
        except UserError:  # `_read_images` reports it
            continue
        if same:
            unchanged.setdefault(name, file)
    return unchanged


def _read_images(
    images: Sequence[Path],
    names: Mapping[File, str],
    done: Mapping[File, str],
    reading: ReadingConfig,
    skipped: list[tuple[str, str]],
    others: list[str],
) -> Iterator[NewImage]:
    """Yield each image that isn't done; add path and reason of unreadable files to `skipped`, with a warning.

    Archives may have very many of them, so not more than MAX_WARNINGS are named. In folders and archives, unreadable
    files that don't have the suffix of a picture are added to `others` instead.
    """
    taken = {file_key(name): path for (_, path), name in done.items()}
    # A file that isn't in the list is newer than it.
    for file, source in find_files(images, lambda file: file in names and file not in done):
        path, name = file[1], names[file]
        try:
            check_name(path, f"{PurePosixPath(name).name}.png")
            content = read_content(source)
            pixels = read_new_image(content, path, reading).pixels
        except UserError as error:
            if PurePosixPath(path).suffix and not is_picture(path) and is_tree(images[file[0]]):
                others.append(path)
                continue
            skipped.append((path, str(error)))
            if len(skipped) <= MAX_WARNINGS:
                logger.warning("skipped: %s", error)
            continue
        check_unique(taken, path, name)  # again, because files with other suffixes can be images, too
        yield NewImage(name, hashlib.sha256(content).hexdigest(), pixels)


def _predict_batches(
    segmenter: Segmenter, images: Iterator[NewImage]
) -> Iterator[tuple[NewImage, NDArray[np.float32]]]:
    """Yield each image with its probability."""
    for batch in _batches(images):
        yield from zip(batch, segmenter.probabilities([image.pixels for image in batch]), strict=True)


def _batches(images: Iterator[NewImage]) -> Iterator[list[NewImage]]:
    """Yield BATCH_SIZE images at a time, or fewer if they are large. A prediction doesn't depend on its batch."""
    batch: list[NewImage] = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH_SIZE or sum(image.pixels.size for image in batch) > BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _to_png(mask: Pixels) -> bytes:
    buffer = io.BytesIO()
    write_mask(buffer, mask)
    return buffer.getvalue()


@contextmanager
def _report_interruption(folder: PredictionFolder) -> Iterator[None]:
    """Say how many images are done if something ends the run early: Ctrl-C, a full disk, a corrupt archive."""
    try:
        yield
    except BaseException as error:
        logger.warning("%d image(s) are done. The same command predicts the rest.", len(folder))
        if isinstance(error, OSError) and (problem := describe_file_error(error)):
            raise UserError(problem) from error  # `exit_message` would add that no partial output was kept
        raise
