"""Predict masks, overlays and a table of regions for new images."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from naevi.config import ReadingConfig
from naevi.datasets.archives import ARCHIVE_SUFFIXES, read_files
from naevi.datasets.decoding import read_new_image
from naevi.datasets.layout import safe_name
from naevi.deploy.regions import describe_regions
from naevi.errors import UserError, check_inputs, check_output
from naevi.files import atomic_file, read_bytes, write_csv
from naevi.images import Pixels, write_mask
from naevi.inference.segmenter import BATCH_SIZE, Segmenter
from naevi.progress import progress
from naevi.rendering.overlays import draw_overlay, to_jpeg

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


def predict_images(segmenter: Segmenter, images: Sequence[Path], out: Path, *, force: bool) -> list[str]:
    """Write masks/<name>.png, overlays/<name>.jpg and lesions.csv into `out`; return the names of skipped files.

    `images` are images, folders and archives. Files that can't be read as images are skipped with a warning.
    lesions.csv has a row for each connected region: image, class, lesion (its number), area_px, perimeter_px,
    equivalent_diameter_px (of the circle with the same area), box (left, top, width, height in px), confidence (0..1,
    see `calibration.dice_confidence`).

    Raises UserError as `check_inputs` and `check_output` do, and if two images have the same name.
    """
    check_inputs(images)
    check_output(out, force=force)
    for folder in ("masks", "overlays"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    skipped: list[str] = []
    rows: list[dict[str, Any]] = []
    predictions = _predict_batches(segmenter, _read_images(images, segmenter.reading, skipped))
    for name, image, probability in progress(predictions, total=None, label="predict", unit="images"):
        mask = segmenter.mask(probability)
        with atomic_file(out / "masks" / f"{name}.png") as partial:
            write_mask(partial, mask)
        with atomic_file(out / "overlays" / f"{name}.jpg") as partial:
            partial.write_bytes(to_jpeg(draw_overlay(image, mask, mask), lines=True))
        rows += [{"image": name} | row for row in describe_regions(mask, probability, segmenter.names)]
    write_csv(out / REGION_TABLE, pd.DataFrame(rows, columns=REGION_COLUMNS))
    return skipped


def _read_images(images: Sequence[Path], reading: ReadingConfig, skipped: list[str]) -> Iterator[tuple[str, Pixels]]:
    """Yield name and pixels of each image; add the names of unreadable files to `skipped`."""
    paths: dict[str, str] = {}
    for path, file in _find_files(images):
        name = safe_name(Path(path).stem)
        if name in paths:
            raise UserError(
                f"{paths[name]} and {path} would both be written to {name}.png. Predict them separately, with a "
                "different --out for each."
            )
        paths[name] = path
        try:
            content = read_bytes(file) if isinstance(file, Path) else file
            yield name, read_new_image(content, path, reading).pixels
        except UserError as error:
            skipped.append(path)
            logger.warning("skipped: %s", error)


def _find_files(images: Sequence[Path]) -> Iterator[tuple[str, Path | bytes]]:
    """Yield the name of each file, with its bytes if it is in a folder or archive, otherwise with its path."""
    for path in images:
        if path.is_dir() or path.name.lower().endswith(ARCHIVE_SUFFIXES):
            yield from read_files(path, lambda _: True)
        else:
            yield str(path), path


def _predict_batches(
    segmenter: Segmenter, images: Iterator[tuple[str, Pixels]]
) -> Iterator[tuple[str, Pixels, NDArray[np.float32]]]:
    """Yield name, pixels and probability of each image."""
    while batch := list(itertools.islice(images, BATCH_SIZE)):
        names, pixels = zip(*batch, strict=True)
        yield from zip(names, pixels, segmenter.probabilities(pixels), strict=True)
