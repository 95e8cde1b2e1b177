"""Bring native images to the training size and write the image table."""

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from naevi.config import DataConfig, PreprocessConfig
from naevi.errors import UserError, first_ten
from naevi.files import atomic_folder, read_csv, write_csv
from naevi.images import Pixels, pixel_sha256, read_image, read_mask, resize_image, resize_mask, write_image, write_mask
from naevi.preprocessing.near_duplicates import find_near_duplicates, group_images, thumbnail
from naevi.progress import progress
from naevi.workspace import Workspace

logger = logging.getLogger(__name__)

IMAGE_TABLE_COLUMNS = [
    "image_id",
    "dataset",
    "diagnosis",
    "group",
    "split",
    "fold",
    "height",
    "width",
    "lesion_fraction",
    "touches_frame",
    "dark_corners",
    "sha256",
]
# A corner is a square with this fraction of the side. It is dark below this fraction of the image's median gray.
CORNER_SIDE, DARK_FRACTION = 1 / 20, 0.4


def prepare(workspace: Workspace, data: DataConfig, settings: PreprocessConfig) -> pd.DataFrame:
    """Write data/prepared: images/ and masks/, (size, size) each, lesions.csv and near_duplicates.csv.

    Returns lesions.csv, the image table, in the order of labels.csv:

    image_id, dataset, diagnosis
    group            shared by images that must stay in one part: near-duplicates and groups in labels.csv
    split or fold    if labels.csv has the column
    height, width    native size in px
    lesion_fraction  fraction of the native frame that isn't background, 0..1
    touches_frame    whether the lesion reaches the border
    dark_corners     0..4, as a dermatoscope causes them
    sha256           of the prepared image and mask

    near_duplicates.csv has a row for each pair: first, second, correlation.

    Raises UserError if a mask is missing or differs in size from its image, if a mask contains only background and
    preprocess.empty_masks isn't keep, and if all masks contain only background.
    """
    labels = read_csv(workspace.raw / "labels.csv")
    with atomic_folder(workspace.prepared) as folder:
        rows, pairs = _prepare_images(workspace.raw, folder, labels.image_id, settings.size, len(data.classes))
        image_table = labels.assign(dataset=data.source).merge(rows, on="image_id")
        _check_empty(image_table, settings.empty_masks)
        write_csv(folder / workspace.near_duplicates.name, pairs)
        image_table["group"] = group_images(image_table, pairs)
        image_table = image_table[[column for column in IMAGE_TABLE_COLUMNS if column in image_table]]
        write_csv(folder / workspace.image_table.name, image_table)
    if len(pairs):
        listed = workspace.relative(workspace.near_duplicates)
        logger.warning("%d pair(s) of near-duplicate images stay in one part. %s lists them.", len(pairs), listed)
    return image_table


def _prepare_images(
    raw: Path, prepared: Path, image_ids: pd.Series, size: int, classes: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the resized images and masks; return the measurements of each image, and the near-duplicate pairs."""
    for subfolder in ("images", "masks"):
        (prepared / subfolder).mkdir()
    with (
        TemporaryFile(dir=prepared) as thumbnails,  # on disk, because memory would grow with the number of images
        ThreadPoolExecutor() as pool,  # Pillow and hashlib release the GIL
    ):
        results = pool.map(lambda image_id: _prepare_image(raw, prepared, image_id, size, classes), image_ids)
        rows: list[dict[str, Any]] = []
        for row, small_image in progress(results, total=len(image_ids), label="preprocess", unit="images"):
            thumbnails.write(small_image.tobytes())
            rows.append(row)
        thumbnails.flush()
        pairs = find_near_duplicates(image_ids, np.memmap(thumbnails, np.float32, "r").reshape(len(rows), -1))
    return pd.DataFrame(rows), pairs


def _prepare_image(
    raw: Path, prepared: Path, image_id: str, size: int, classes: int
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Write one resized image and mask; return its measurements and thumbnail."""
    image = read_image(raw / "images" / f"{image_id}.png")
    mask = read_mask(raw / "masks" / f"{image_id}.png")
    height, width = mask.shape
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"An image and its mask must have the same size. {image_id} is {image.shape[1]}x{image.shape[0]} px, "
            f"its mask {width}x{height} px. Fix them or remove them."
        )
    small_image, small_mask = resize_image(image, size), resize_mask(mask, (size, size), classes)
    write_image(prepared / "images" / f"{image_id}.png", small_image)
    write_mask(prepared / "masks" / f"{image_id}.png", small_mask)
    row = {
        "image_id": image_id,
        "height": height,
        "width": width,
        "empty": not mask.any(),
        "lesion_fraction": round(np.count_nonzero(mask) / mask.size, 6),
        "touches_frame": bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()),
        "dark_corners": _dark_corners(small_image),
        "sha256": hashlib.sha256((pixel_sha256(small_image) + pixel_sha256(small_mask)).encode()).hexdigest(),
    }
    return row, thumbnail(small_image)


def _dark_corners(image: Pixels) -> int:
    gray = image.mean(axis=2)
    side = max(1, round(CORNER_SIDE * len(gray)))
    corners = [gray[rows, columns] for rows in np.s_[:side, -side:] for columns in np.s_[:side, -side:]]
    return sum(bool(corner.mean() < DARK_FRACTION * np.median(gray)) for corner in corners)


def _check_empty(image_table: pd.DataFrame, empty_masks: str) -> None:
    empty = image_table["empty"]
    if empty.all():
        raise UserError(
            f"All {len(image_table)} masks contain only background, the smallest value of data.classes. "
            "Fix the masks or data.classes."
        )
    if empty.any() and empty_masks != "keep":
        raise UserError(
            f"{empty.sum()} mask(s) contain only background: {first_ten(image_table.image_id[empty])}. "
            "Set preprocess.empty_masks to keep, fix the masks, or remove them and their images."
        )
