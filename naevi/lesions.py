"""From native images to the training size, and the table of what is in them."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from naevi import paths, tables, whole
from naevi.config import DataConfig, PreprocessConfig
from naevi.images import (
    Pixels,
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
from naevi.refusal import Refusal, some

COLUMNS = [
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
# A corner is a square of this part of the side; it is dark below this part of the picture's median grey.
CORNER, DARK = 1 / 20, 0.4


def prepare(raw: Path, prepared: Path, data: DataConfig, settings: PreprocessConfig) -> pd.DataFrame:
    """Make the folder `prepared`: images/ and masks/, (size, size) each, lesions.csv and near_duplicates.csv.

    Returns the table of lesions, in labels.csv's order: image_id, dataset, diagnosis, group (images that must stay in
    one part share one: near-duplicates, and those of one group in labels.csv), split or fold where labels.csv has it,
    height and width (px, native), lesion_fraction (all but the background, of the native frame, 0..1), touches_frame
    (whether it reaches the border), dark_corners (0..4, as a dermatoscope leaves them), sha256 (of the prepared image
    and mask). near_duplicates.csv has a row for each pair: first, second, correlation.

    Raises Refusal for a mask that is missing or of another size than its image, for masks without any class but the
    background unless preprocess.empty_masks is keep, and where all are so.
    """
    labels, classes = tables.read(raw / "labels.csv"), len(data.classes)
    with (
        whole.folder(prepared) as folder,
        TemporaryFile(dir=folder) as thumbnails,  # not memory, which would grow with their number
        ThreadPoolExecutor() as pool,  # Pillow and hashlib let go of the GIL
    ):
        for part in ("images", "masks"):
            (folder / part).mkdir()
        each = pool.map(lambda image_id: _prepare_one(raw, folder, image_id, settings.size, classes), labels.image_id)
        rows: list[dict[str, Any]] = []
        for row, small in progress(each, total=len(labels), label="preprocess", unit="images"):
            thumbnails.write(small.tobytes())
            rows.append(row)
        thumbnails.flush()
        lesions = labels.assign(dataset=data.source).merge(pd.DataFrame(rows), on="image_id")
        _check_empty(lesions, settings.empty_masks)
        pairs = _pairs(lesions.image_id, np.memmap(thumbnails, np.float32, "r").reshape(len(rows), -1))
        pairs.to_csv(folder / "near_duplicates.csv", index=False)
        if len(pairs):
            listed = prepared / "near_duplicates.csv"
            print(f"naevi: {len(pairs)} pair(s) of near-duplicate images stay in one part; {listed} lists them.")
        lesions["group"] = _groups(lesions, pairs)
        lesions = lesions[[column for column in COLUMNS if column in lesions]]
        lesions.to_csv(folder / paths.LESIONS.name, index=False)
    return lesions


def overview(prepared: Path) -> dict[str, Any]:
    """Numbers of what `prepare` wrote, nested: images, pairs of near-duplicates, `_numbers` of all and by diagnosis."""
    lesions = tables.read(prepared / paths.LESIONS.name)
    return {
        "images": len(lesions),
        "near_duplicates": len(tables.read(prepared / "near_duplicates.csv")),
        "all": _numbers(lesions),
        "by_diagnosis": {str(name): _numbers(part) for name, part in lesions.groupby("diagnosis")},
    }


def _numbers(lesions: pd.DataFrame) -> dict[str, Any]:
    """Of some lesions: how many, how many touch the frame or have dark corners, and the span of sizes and areas."""
    spans: dict[str, Any] = {
        str(name): {
            "lowest": float(lesions[name].min()),
            "median": float(median),
            "highest": float(lesions[name].max()),
        }
        for name, median in lesions[["height", "width", "lesion_fraction"]].median().items()
    }
    return {
        "images": len(lesions),
        "touches_frame": int(lesions.touches_frame.sum()),
        "dark_corners": int((lesions.dark_corners > 0).sum()),
    } | spans


def _prepare_one(
    raw: Path, prepared: Path, image_id: str, size: int, classes: int
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    image = read_image(raw / "images" / f"{image_id}.png")
    mask = read_mask(raw / "masks" / f"{image_id}.png")
    height, width = mask.shape
    if image.shape[:2] != mask.shape:
        raise Refusal(
            f"An image and its mask have one size; {image_id} is {image.shape[1]}x{image.shape[0]} px, "
            f"its mask {width}x{height} px."
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
    grey = image.mean(axis=2)
    side = max(1, round(CORNER * len(grey)))
    corners = [grey[rows, columns] for rows in np.s_[:side, -side:] for columns in np.s_[:side, -side:]]
    return sum(bool(corner.mean() < DARK * np.median(grey)) for corner in corners)


def _check_empty(lesions: pd.DataFrame, empty_masks: str) -> None:
    if lesions["empty"].all():
        raise Refusal(
            f"all {len(lesions)} masks hold nothing but the background, the smallest value of data.classes; "
            "mend them or data.classes."
        )
    if lesions["empty"].any() and empty_masks != "keep":
        raise Refusal(
            f"{lesions['empty'].sum()} mask(s) hold nothing but the background: "
            f"{some(lesions.image_id[lesions['empty']])}; set preprocess.empty_masks to keep, mend them, "
            "or take them out with their images."
        )


def _pairs(image_ids: pd.Series, thumbnails: NDArray[np.float32]) -> pd.DataFrame:
    """Near-duplicates: first, second, correlation."""
    ids = image_ids.tolist()
    rows = [(ids[i], ids[j], round(float(thumbnails[i] @ thumbnails[j]), 4)) for i, j in near_duplicates(thumbnails)]
    return pd.DataFrame(rows, columns=["first", "second", "correlation"])


def _groups(lesions: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """For each image the first id among those that it is tied to by pairs or by its own group."""
    place = pd.Series(range(len(lesions)), index=lesions.image_id)
    ties = [(place[pairs["first"]], place[pairs["second"]])]
    if "group" in lesions:
        ties.append((place, place.groupby(lesions.group.to_numpy()).transform("min")))
    first, second = (np.concatenate(ends) for ends in zip(*ties, strict=True))
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(lesions), len(lesions)))
    _, component = connected_components(graph, directed=False)
    leaders: list[str] = lesions.image_id.groupby(component).transform("first").tolist()
    return leaders
