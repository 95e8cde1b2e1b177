"""Bring native images to the training size and write the image table."""

import hashlib
import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from naevi.config import DataConfig, PreprocessConfig
from naevi.errors import UserError, first_ten
from naevi.files import atomic_folder, write_csv
from naevi.images.files import (
    VOID,
    Pixels,
    is_foreground,
    pixel_sha256,
    resize_image,
    resize_mask,
    write_image,
    write_mask,
)
from naevi.images.folders import pack_images, stored_image, stored_mask
from naevi.parallel.workers import parallel_map
from naevi.preprocessing import vanished
from naevi.preprocessing.near_duplicates import find_chains, find_near_duplicates, group_images
from naevi.preprocessing.thumbnails import thumbnail
from naevi.progress import progress
from naevi.tables import read_labels
from naevi.workspace import Workspace

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
REVIEWED_SIDES = 64, 32  # px, of the images for the review: of up to 1000 images, and of more, to save time and memory
MANY = 1000
CHUNK_SIZE = 16  # images that a process gets at a time
# A corner is a square with this fraction of the side. It is dark below this fraction of the image's median gray.
CORNER_SIDE, DARK_FRACTION = 1 / 20, 0.4
SMALLEST_FRACTION = 1e-6  # of a mask that isn't empty, because fractions are rounded to six digits


class Prepared(NamedTuple):
    """The image table and what else preparation found out.

    image_table: lesions.csv. near_duplicates: a row for each pair (first, second, correlation). chains: groups of
    near-duplicates in which not all images are alike, see `near_duplicates.find_chains`. vanished: lesions that are too
    small for the training size, see `vanished.small_lesions`. digest: SHA-256 of all native images and masks and of
    their labels. It identifies the data set. reviewed: uint8 (N, S, S, 4), the prepared images at one of REVIEWED_SIDES
    and, as the last channel, 1 where their masks aren't background. Reading them again would take longer.
    """

    image_table: pd.DataFrame
    near_duplicates: pd.DataFrame
    chains: pd.DataFrame
    vanished: pd.DataFrame
    digest: str
    reviewed: Pixels


def prepare(workspace: Workspace, data: DataConfig, settings: PreprocessConfig) -> Prepared:
    """Write data/prepared: images/ and masks/, (size, size) each, and lesions.csv, the image table.

    The image table is in the order of labels.csv:

    image_id, diagnosis
    dataset          the name of its data set if there are several, otherwise data.source
    group            shared by images that must stay in one part: near-duplicates and groups in labels.csv
    split or fold    if labels.csv has the column
    height, width    native size in px
    lesion_fraction  fraction of the native pixels that isn't background, 0..1; 0 only if the mask is empty. VOID pixels
                     aren't counted
    touches_frame    whether the lesion reaches the border
    dark_corners     0..4, as a dermatoscope causes them
    sha256           of the prepared image and mask

    Raises UserError if a mask is missing or differs in size from its image, if a mask contains only background and
    preprocess.empty_masks isn't keep, or if all masks contain only background.
    """
    labels = read_labels(workspace)
    with atomic_folder(workspace.prepared) as folder:
        images, reviewed, pairs, chains = _prepare_images(workspace.raw, folder, labels, data.names(), settings)
        rows = pd.DataFrame([image.row for image in images])
        image_table = labels if "dataset" in labels else labels.assign(dataset=data.source)
        image_table = image_table.merge(rows, on="image_id")
        _check_empty(image_table, settings.empty_masks)
        image_table["group"] = group_images(image_table, pairs)
        for subfolder in ("images", "masks"):
            pack_images(folder / subfolder)
        image_table = image_table[[column for column in IMAGE_TABLE_COLUMNS if column in image_table]]
        write_csv(folder / workspace.image_table.name, image_table)
    small = pd.DataFrame([row for image in images for row in image.vanished], columns=vanished.COLUMNS)
    hashes = [image.native_sha256 for image in images]
    digest = hashlib.sha256(json.dumps([labels.to_csv(index=False), hashes]).encode()).hexdigest()
    return Prepared(image_table, pairs, chains, small, digest, reviewed)


class _PreparedImage(NamedTuple):
    row: dict[str, Any]  # of the image table
    vanished: list[dict[str, Any]]
    native_sha256: str  # of image and mask
    thumbnail: NDArray[Any]
    reviewed: Pixels  # see `Prepared`


def _prepare_images(
    raw: Path, prepared: Path, labels: pd.DataFrame, names: list[str], settings: PreprocessConfig
) -> tuple[list[_PreparedImage], Pixels, pd.DataFrame, pd.DataFrame]:
    """Write the resized images and masks; return them without pixels, `reviewed`, near-duplicates and chains."""
    image_ids = labels.image_id
    for subfolder in ("images", "masks"):
        (prepared / subfolder).mkdir()
    side = REVIEWED_SIDES[len(image_ids) > MANY]
    prepare_image = partial(_prepare_image, raw, prepared, size=settings.size, names=names, reviewed_side=side)
    empty = thumbnail(np.zeros((settings.size, settings.size, 3), np.uint8))
    reviewed = np.zeros((len(image_ids), side, side, 4), np.uint8)
    # The thumbnails are on disk, because memory would grow with the number of images.
    with TemporaryFile(dir=prepared) as thumbnails:
        images: list[_PreparedImage] = []
        ids = image_ids.tolist()
        # Small images spend most of their time in Python, so threads would wait for each other.
        prepared_images = parallel_map(prepare_image, ids, chunk=CHUNK_SIZE, processes_from=MANY + 1)
        for image in progress(prepared_images, total=len(image_ids), label="preprocess", unit="images"):
            thumbnails.write(image.thumbnail.tobytes())
            reviewed[len(images)] = image.reviewed
            images.append(image._replace(thumbnail=empty, reviewed=reviewed[:0]))
        thumbnails.flush()
        stored = np.memmap(thumbnails, empty.dtype, "r").reshape(len(images), *empty.shape)
        pairs = find_near_duplicates(image_ids, stored, settings.near_duplicates)
        return images, reviewed, pairs, find_chains(image_ids, stored, pairs)


def _prepare_image(
    raw: Path, prepared: Path, image_id: str, *, size: int, names: list[str], reviewed_side: int
) -> _PreparedImage:
    """Write one resized image and mask; return its measurements and thumbnail."""
    image, mask = stored_image(raw / "images", image_id), stored_mask(raw / "masks", image_id)
    height, width = mask.shape
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"An image and its mask must have the same size. {image_id} is {image.shape[1]}x{image.shape[0]} px, "
            f"its mask {width}x{height} px. Fix them or remove them."
        )
    small_image, small_mask = resize_image(image, size), resize_mask(mask, (size, size))
    write_image(prepared / "images" / f"{image_id}.png", small_image)
    write_mask(prepared / "masks" / f"{image_id}.png", small_mask)
    foreground, known = is_foreground(mask), int(np.count_nonzero(mask != VOID))
    row = {
        "image_id": image_id,
        "height": height,
        "width": width,
        "lesion_fraction": max(
            round(np.count_nonzero(foreground) / max(known, 1), 6), SMALLEST_FRACTION * foreground.any()
        ),
        "touches_frame": bool(foreground[[0, -1]].any() or foreground[:, [0, -1]].any()),
        "dark_corners": _dark_corners(small_image),
        "sha256": _sha256_of_both(small_image, small_mask),
    }
    small_lesions = vanished.small_lesions(image_id, mask, small_mask, names)
    return _PreparedImage(
        row,
        small_lesions,
        _sha256_of_both(image, mask),
        thumbnail(small_image),
        review_pixels(small_image, small_mask, reviewed_side),
    )


def review_pixels(image: Pixels, mask: Pixels, side: int) -> Pixels:
    """Return an image and, as fourth channel, 1 where its mask isn't background, uint8 (side, side, 4)."""
    return np.dstack([resize_image(image, side), resize_mask(is_foreground(mask).astype(np.uint8), (side, side))])


def _sha256_of_both(image: Pixels, mask: Pixels) -> str:
    return hashlib.sha256((pixel_sha256(image) + pixel_sha256(mask)).encode()).hexdigest()


def _dark_corners(image: Pixels) -> int:
    gray = image[..., 0].astype(np.uint16) + image[..., 1] + image[..., 2]  # times 3; `mean` takes five times as long
    side, limit = max(1, round(CORNER_SIDE * len(gray))), DARK_FRACTION * np.median(gray)
    corners = [gray[rows, columns] for rows in np.s_[:side, -side:] for columns in np.s_[:side, -side:]]
    return sum(bool(corner.mean() < limit) for corner in corners)


def _check_empty(image_table: pd.DataFrame, empty_masks: str) -> None:
    empty = image_table.lesion_fraction == 0
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
