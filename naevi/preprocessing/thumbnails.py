"""Thumbnails for the search for near-duplicates, and the similarity of two of them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from naevi.images.files import Pixels

Thumbnails = NDArray[np.uint8]  # (N, 2, 32, 32), see `thumbnail`
Vectors = NDArray[np.float64]  # not float32, because its rounding errors would depend on the number compared at a time

SIDE, MARGIN = 32, 6  # px; a ruler at the edge is within the margin
MIDDLE = slice(MARGIN, SIDE - MARGIN)
# A dark field is darker than this fraction of the brightest gray, and is connected to the edge.
DARK_FRACTION = 0.4
# Standard deviations in gray levels, below which a row or column is border, or the middle has no contrast.
FLAT_BORDER, NO_CONTRAST = 2.0, 1.0
MIN_PIXELS = 16  # if fewer pixels of the middle remain, dark fields and borders aren't left out


def thumbnail(image: Pixels) -> NDArray[np.uint8]:
    """Return an image as uint8 (2, 32, 32): its gray, 0..255, and 1 for the pixels that are compared separately.

    These are the pixels of the middle (20x20) that aren't part of a dark field or border. `image` is uint8 (H, W, 3).
    """
    gray = np.asarray(Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
    return np.stack([gray, _middle(gray)])


def _middle(gray: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels in the middle that aren't part of a dark field or border."""
    middle = np.zeros((SIDE, SIDE), bool)
    middle[MIDDLE, MIDDLE] = True
    flat_rows, flat_columns = (gray.std(axis=axis) < FLAT_BORDER for axis in (1, 0))
    # Pixels next to a border or dark field are mixed.
    border = ndimage.binary_dilation(_outermost(flat_rows)[:, None] | _outermost(flat_columns))
    # The 98th percentile, because the brightest pixels are glare. Without borders and rulers, because they are white.
    dark = gray < DARK_FRACTION * np.percentile(gray[_unless_few(middle & ~border, middle)], 98)
    # One ring around the image joins all areas that are connected to its edge.
    areas, _ = ndimage.label(np.pad(border | dark, 1, constant_values=True))
    outside = ndimage.binary_dilation((areas == areas[0, 0])[1:-1, 1:-1])
    return _unless_few(middle & ~outside, middle)


def _outermost(flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether an element and all before or all after it are true."""
    from_start, from_end = np.logical_and.accumulate(flat), np.logical_and.accumulate(flat[::-1])[::-1]
    return np.asarray(from_start | from_end)


def _unless_few(pixels: NDArray[np.bool_], otherwise: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return pixels if np.count_nonzero(pixels) >= MIN_PIXELS else otherwise


def unit_vectors(thumbnails: Thumbnails) -> Vectors:
    """Return each thumbnail's gray as a vector with mean 0 and length 1, float64 (N, 1024); all 0 if it is flat."""
    gray = thumbnails[:, 0].reshape(len(thumbnails), SIDE * SIDE).astype(np.float64)
    gray -= gray.mean(axis=1, keepdims=True)
    length = np.linalg.norm(gray, axis=1, keepdims=True)
    return np.asarray(gray / np.where(length > 0, length, 1), dtype=np.float64)


def similarities(first: Thumbnails, second: Thumbnails) -> Vectors:
    """Return how similar each of M thumbnails is to each of N, float64 (M, N), -1..1, rounded to four digits.

    This is the correlation of their gray. A dark field, border or ruler that two images share raises it, so the middle
    without them must correlate too. The middle has less contrast, so noise lowers its correlation more. Therefore the
    similarity is the correlation or (1 + correlation in the middle) / 2, whichever is lower.
    """
    whole = unit_vectors(first) @ unit_vectors(second).T
    return np.asarray(np.minimum(whole, (1 + _middle_correlation(first, second)) / 2).round(4))


def _middle_correlation(first: Thumbnails, second: Thumbnails) -> Vectors:
    """Return the correlations of the gray in the middle of both, (M, N), and 1 if both have no contrast there."""
    (x, in_x), (y, in_y) = _middle_gray(first), _middle_gray(second)
    # Matrix products, because they are fast. Each pair has its own common pixels, so it also has its own sums.
    number = in_x @ in_y.T
    sum_x, sum_y = x @ in_y.T, in_x @ y.T
    covariance = number * (x @ y.T) - sum_x * sum_y  # times number², as the two variances
    variance_x = number * (x**2 @ in_y.T) - sum_x**2
    variance_y = number * (in_x @ (y**2).T) - sum_y**2
    correlation = covariance / np.sqrt(np.maximum(variance_x * variance_y, 1))
    no_contrast = np.maximum(variance_x, variance_y) <= (NO_CONTRAST * number) ** 2
    return np.asarray(np.where(no_contrast, 1, correlation), dtype=np.float64)


def _middle_gray(thumbnails: Thumbnails) -> tuple[Vectors, Vectors]:
    """Return the gray minus its mean in the middle, 0 elsewhere, and 1 in the middle, both float64 (N, 400)."""
    cropped = thumbnails[:, :, MIDDLE, MIDDLE].reshape(len(thumbnails), 2, -1).astype(np.float64)
    gray, middle = cropped[:, 0], cropped[:, 1]
    mean = (gray * middle).sum(axis=1, keepdims=True) / np.maximum(middle.sum(axis=1, keepdims=True), 1)
    return (gray - mean) * middle, middle
