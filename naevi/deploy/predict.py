"""Predict masks, overlays and a table of regions for new images."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from naevi.config import ReadingConfig
from naevi.datasets.decoding import read_new_image
from naevi.datasets.layout import check_name
from naevi.deploy.coco import write_coco
from naevi.deploy.inputs import check_unique, find_files, name_outputs
from naevi.deploy.regions import describe_regions
from naevi.errors import UserError, check_inputs, check_output, first_ten
from naevi.files import MIB, atomic_file, read_bytes, write_csv
from naevi.images import Pixels, write_mask
from naevi.inference.segmenter import BATCH_SIZE, Segmenter
from naevi.progress import progress
from naevi.rendering.overlays import draw_overlay, to_jpeg

MAX_WARNINGS = 100
BATCH_BYTES = 64 * MIB  # of pixels. Probabilities and overlays need several times that
REGION_TABLE = "lesions.csv"
REGION_COLUMNS = [
    "image",
    "class",
    "lesion",
    "area_px",
    "perimeter_px",
    "equivalent_diameter_px",
    "left",
    "top",
    "width",
    "height",
    "confidence",
]

logger = logging.getLogger(__name__)


def predict_images(
    segmenter: Segmenter, images: Sequence[Path], out: Path, *, force: bool, coco: bool = False
) -> list[str]:
    """Write masks/<name>.png, overlays/<name>.jpg and lesions.csv into `out`; return the names of skipped files.

    With `coco`, also write coco.json, see `coco.write_coco`.

    `images` are images, folders and archives. Names keep the folders in these, see `inputs.name_outputs`. Files that
    can't be read as images are skipped with a warning.
    lesions.csv has a row for each connected region: image, class, lesion (its number), area_px, perimeter_px,
    equivalent_diameter_px (of the circle with the same area), box (left, top, width, height in px), confidence (0..1,
    see `calibration.dice_confidence`).

    Raises UserError as `check_inputs` and `check_output` do, if there are no files, and if two images have the same
    name. Upper and lower case, and an umlaut as one or two characters, count as the same, because some file systems
    don't tell them apart. Names are checked before anything is written.
    """
    check_inputs(images)
    check_output(out, force=force)
    skipped: list[str] = []
    rows: list[dict[str, Any]] = []
    found = False
    predictions = _predict_batches(segmenter, _read_images(images, segmenter.reading, skipped))
    for name, image, probability in progress(predictions, total=None, label="predict", unit="images"):
        found = True
        for folder in ("masks", "overlays"):
            (out / folder / name).parent.mkdir(parents=True, exist_ok=True)
        mask = segmenter.mask(probability)
        with atomic_file(out / "masks" / f"{name}.png") as partial:
            write_mask(partial, mask)
        with atomic_file(out / "overlays" / f"{name}.jpg") as partial:
            partial.write_bytes(to_jpeg(draw_overlay(image, mask, mask), lines=True))
        rows += [{"image": name} | row for row in describe_regions(mask, probability, segmenter.names)]
    if not found and not skipped:
        raise UserError(f"There are no files in {first_ten(map(str, images))}. Name images, or where they are.")
    out.mkdir(parents=True, exist_ok=True)
    regions = pd.DataFrame(rows, columns=REGION_COLUMNS)
    write_csv(out / REGION_TABLE, regions)
    if coco:
        write_coco(images, skipped, out, regions, segmenter.names)
    return skipped


def _read_images(images: Sequence[Path], reading: ReadingConfig, skipped: list[str]) -> Iterator[tuple[str, Pixels]]:
    """Yield name and pixels of each image; add the names of unreadable files to `skipped`, with a warning.

    Archives may have very many of them, so not more than MAX_WARNINGS are named.
    """
    names, taken = name_outputs(images), dict[str, str]()
    for (position, path), file in find_files(images):
        name = names.get((position, path))
        if name is None:  # the file is newer than the list
            continue
        try:
            check_name(path, f"{PurePosixPath(name).name}.png")
            content = read_bytes(file) if isinstance(file, Path) else file
            pixels = read_new_image(content, path, reading).pixels
        except UserError as error:
            skipped.append(path)
            if len(skipped) <= MAX_WARNINGS:
                logger.warning("skipped: %s", error)
            continue
        check_unique(taken, path, name)  # again, because files with other suffixes can be images, too
        yield name, pixels


def _predict_batches(
    segmenter: Segmenter, images: Iterator[tuple[str, Pixels]]
) -> Iterator[tuple[str, Pixels, NDArray[np.float32]]]:
    """Yield name, pixels and probability of each image."""
    for batch in _batches(images):
        names, pixels = zip(*batch, strict=True)
        yield from zip(names, pixels, segmenter.probabilities(pixels), strict=True)


def _batches(images: Iterator[tuple[str, Pixels]]) -> Iterator[list[tuple[str, Pixels]]]:
    """Yield BATCH_SIZE images at a time, or fewer if they are large. A prediction doesn't depend on its batch."""
    batch: list[tuple[str, Pixels]] = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH_SIZE or sum(pixels.size for _, pixels in batch) > BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch
