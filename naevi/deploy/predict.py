"""Predict masks, overlays and a table of regions for new images. A run that was interrupted can be continued."""

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

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
from naevi.images.files import Pixels, write_mask
from naevi.inference.segmenter import BATCH_SIZE, Segmenter, with_one_thread
from naevi.parallel.workers import parallel_map
from naevi.progress import progress
from naevi.rendering.overlays import draw_overlay, to_jpeg

MAX_WARNINGS = 100
BATCH_BYTES = 64 * MIB  # of files, and of pixels. Probabilities and overlays need several times that

logger = logging.getLogger(__name__)


class NewFile(NamedTuple):
    """A file that may be an image to predict."""

    name: str  # of its mask, without suffix
    path: str
    content: bytes | str  # or why it can't be read
    in_tree: bool  # whether it is in a folder or archive that was named


class Prediction(NamedTuple):
    """What `PredictionFolder.add` writes for an image."""

    sha256: str  # of its file
    contents: tuple[bytes, bytes]  # mask and overlay
    regions: list[dict[str, Any]]


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
    segmenter = with_one_thread(segmenter)
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
    taken = {file_key(name): path for (_, path), name in done.items()}
    with PredictionFolder(out, run, record, kept) as folder, _report_interruption(folder):
        batches = _batches(_read_files(images, names, done))
        predictions = chain.from_iterable(parallel_map(partial(_predict_files, segmenter), batches))
        for file, prediction in progress(predictions, total=None, label="predict", unit="images"):
            if isinstance(prediction, Prediction):
                check_unique(taken, file.path, file.name)  # again, because files with other suffixes can be images, too
                folder.add(file.name, *prediction)
            elif PurePosixPath(file.path).suffix and not is_picture(file.path) and file.in_tree:
                others.append(file.path)
            else:
                _skip(file.path, prediction, skipped)
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


def _read_files(images: Sequence[Path], names: Mapping[File, str], done: Mapping[File, str]) -> Iterator[NewFile]:
    """Yield each file that isn't done. A file that isn't in `names` is newer than that list."""
    for file, source in find_files(images, lambda file: file in names and file not in done):
        position, path = file
        try:
            content: bytes | str = read_content(source)
        except UserError as error:
            content = str(error)
        yield NewFile(names[file], path, content, in_tree=is_tree(images[position]))


def _batches(files: Iterable[NewFile]) -> Iterator[list[NewFile]]:
    """Yield BATCH_SIZE files at a time, or fewer if they are large."""
    batch: list[NewFile] = []
    for file in files:
        batch.append(file)
        if len(batch) == BATCH_SIZE or sum(len(file.content) for file in batch) > BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _predict_files(segmenter: Segmenter, files: list[NewFile]) -> list[tuple[NewFile, Prediction | str]]:
    """Return the prediction for each file, or why it can't be read. The content of the files is left out."""
    found: dict[str, Prediction | str] = {}
    waiting: list[tuple[NewFile, Pixels]] = []

    def predict() -> None:
        probabilities = segmenter.probabilities([pixels for _, pixels in waiting]) if waiting else []
        for (file, pixels), probability in zip(waiting, probabilities, strict=True):
            found[file.path] = _describe(segmenter, file, pixels, probability)
        waiting.clear()

    for file in files:
        try:
            waiting.append((file, _decode(file, segmenter.reading)))
        except UserError as error:
            found[file.path] = str(error)
        if sum(pixels.size for _, pixels in waiting) > BATCH_BYTES:
            predict()
    predict()
    return [(file._replace(content=b""), found[file.path]) for file in files]


def _decode(file: NewFile, reading: ReadingConfig) -> Pixels:
    if isinstance(file.content, str):
        raise UserError(file.content)
    check_name(file.path, f"{PurePosixPath(file.name).name}.png")
    return read_new_image(file.content, file.path, reading).pixels


def _describe(segmenter: Segmenter, file: NewFile, pixels: Pixels, probability: NDArray[np.float32]) -> Prediction:
    mask = segmenter.mask(probability)
    contents = _to_png(mask), to_jpeg(draw_overlay(pixels, mask, mask), lines=True)
    assert isinstance(file.content, bytes)
    sha256 = hashlib.sha256(file.content).hexdigest()
    return Prediction(sha256, contents, describe_regions(mask, probability, segmenter.names))


def _skip(path: str, reason: str, skipped: list[tuple[str, str]]) -> None:
    """Add a file to `skipped`, with a warning. Archives may have very many, so not more than MAX_WARNINGS are named."""
    skipped.append((path, reason))
    if len(skipped) <= MAX_WARNINGS:
        logger.warning("skipped: %s", reason)


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
