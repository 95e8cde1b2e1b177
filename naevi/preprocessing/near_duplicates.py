"""Find images that are nearly the same, and group them."""

import itertools

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from naevi.images import Pixels

CORRELATION_THRESHOLD = 0.985  # of 32x32 gray thumbnails; the most similar two of PH2 have .974
THUMBNAIL_SIDE = 32
BLOCK = 1000  # thumbnails compared at a time, so that the matrix of correlations takes 4 MB for any number of images


def thumbnail(image: Pixels) -> NDArray[np.float32]:
    """Return an image as a gray 32x32 vector, float32 (1024,), with mean 0 and length 1, or all 0 for a flat color."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    gray = np.asarray(Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX), dtype=np.float32)
    vector = gray.ravel() - gray.mean()
    length = float(np.linalg.norm(vector))
    unit: NDArray[np.float32] = vector / np.float32(length) if length > 0 else vector
    return unit


def similar_pairs(thumbnails: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return the pairs of rows (i < j), sorted, whose thumbnails correlate at CORRELATION_THRESHOLD or more.

    `thumbnails` is float32 (N, 1024).
    """
    pairs = []
    for start, other in itertools.combinations_with_replacement(range(0, len(thumbnails), BLOCK), 2):
        correlation = thumbnails[start : start + BLOCK] @ thumbnails[other : other + BLOCK].T
        rows, columns = np.nonzero(correlation >= CORRELATION_THRESHOLD)
        pairs += [(start + int(i), other + int(j)) for i, j in zip(rows, columns, strict=True) if start + i < other + j]
    return sorted(pairs)


def find_near_duplicates(image_ids: pd.Series, thumbnails: NDArray[np.float32]) -> pd.DataFrame:
    """Return a row for each pair of near-duplicates: first, second (image ids), correlation."""
    ids = image_ids.tolist()
    rows = [(ids[i], ids[j], round(float(thumbnails[i] @ thumbnails[j]), 4)) for i, j in similar_pairs(thumbnails)]
    return pd.DataFrame(rows, columns=["first", "second", "correlation"])


def group_images(image_table: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """Return the group of each image, named after the first image in it.

    Near-duplicates belong to the same group, and so do images with the same `group` in the table if it has one.
    """
    row = pd.Series(range(len(image_table)), index=image_table.image_id)
    links = [(row[pairs["first"]], row[pairs["second"]])]
    if "group" in image_table:
        links.append((row, row.groupby(image_table.group.to_numpy()).transform("min")))
    first, second = (np.concatenate(ends) for ends in zip(*links, strict=True))
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(image_table), len(image_table)))
    _, component = connected_components(graph, directed=False)
    leaders: list[str] = image_table.image_id.groupby(component).transform("first").tolist()
    return leaders
