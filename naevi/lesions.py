"""From native images to the training size, and the table of what is in them."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from naevi.images import (
    near_duplicates,
    pixel_sha256,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
    thumbnail,
    write_image,
    write_mask,
)
from naevi.progress import progress
from naevi.refusal import Refusal


def prepare(raw: Path, prepared: Path, *, dataset: str, size: int) -> pd.DataFrame:
    """Write prepared/images and prepared/masks, (size, size) each; return the table of lesions, in labels.csv's order.

    Columns: image_id, dataset, diagnosis, group (images that must stay in one fold share one: near-duplicates), height
    and width (px, native), lesion_fraction (of the native frame, 0..1), sha256 (of the prepared image and mask).

    Raises Refusal for a mask that is missing, empty, of another size than its image, or not black and white.
    """
    labels = pd.read_csv(raw / "labels.csv", dtype={"image_id": str})
    for part in ("images", "masks"):
        (prepared / part).mkdir(parents=True, exist_ok=True)

    def one(image_id: str) -> tuple[dict[str, Any], NDArray[np.float32]]:
        return _prepare_one(raw, prepared, image_id, size)

    with ThreadPoolExecutor() as pool:  # Pillow and hashlib let go of the GIL
        done = list(progress(pool.map(one, labels.image_id), total=len(labels), label="preprocess", unit="images"))
    lesions = labels.assign(dataset=dataset).merge(pd.DataFrame([row for row, _ in done]), on="image_id")
    lesions["group"] = _groups(lesions.image_id.tolist(), near_duplicates(np.stack([small for _, small in done])))
    return lesions[["image_id", "dataset", "diagnosis", "group", "height", "width", "lesion_fraction", "sha256"]]


def _prepare_one(raw: Path, prepared: Path, image_id: str, size: int) -> tuple[dict[str, Any], NDArray[np.float32]]:
    image = read_image(raw / "images" / f"{image_id}.png")
    mask = read_mask(raw / "masks" / f"{image_id}.png")
    height, width = mask.shape
    if image.shape[:2] != mask.shape:
        raise Refusal(
            f"An image and its mask have one size; {image_id} is {image.shape[1]}x{image.shape[0]} px, "
            f"its mask {width}x{height} px."
        )
    if not mask.any():
        raise Refusal(f"A mask shows a lesion; that of {image_id} is empty.")
    small_image, small_mask = resize_image(image, size), resize_mask(mask, size)
    write_image(prepared / "images" / f"{image_id}.png", small_image)
    write_mask(prepared / "masks" / f"{image_id}.png", small_mask)
    row = {
        "image_id": image_id,
        "height": height,
        "width": width,
        "lesion_fraction": round(float(mask.mean()), 6),
        "sha256": hashlib.sha256((pixel_sha256(small_image) + pixel_sha256(small_mask)).encode()).hexdigest(),
    }
    return row, thumbnail(small_image)


def _groups(image_ids: list[str], pairs: list[tuple[int, int]]) -> list[str]:
    """For each image the first id among those that it is tied to by pairs, its own id if to none."""
    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    number = len(image_ids)
    ties = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(number, number))
    _, component = connected_components(ties, directed=False)
    leader: dict[int, str] = {}
    for image_id, label in zip(image_ids, component.tolist(), strict=True):
        leader.setdefault(label, image_id)
    return [leader[label] for label in component.tolist()]
