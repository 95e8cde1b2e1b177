"""Find lesions that are too small for the training size."""

from bisect import bisect_left
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from naevi.images.files import Pixels, resize_mask

MIN_PIXELS = 10  # a region with fewer pixels at the training size has no shape to learn
MAX_SIZE = 2048  # the upper bound of preprocess.size
SIZE_STEP = 32
COLUMNS = ["image_id", "class", "pixels", "pixels_at_size", "size_needed"]


def small_lesions(image_id: str, mask: Pixels, small_mask: Pixels, names: list[str]) -> list[dict[str, Any]]:
    """Return a row (COLUMNS) for each class whose largest region has fewer than MIN_PIXELS at the training size.

    `mask` has the native size, `small_mask` the training size, uint8 (H, W) of class indices. `names` are those of the
    classes. `pixels` is the native area of the largest region, `pixels_at_size` the area of the class at the training
    size. `size_needed` is the smallest larger size, a multiple of SIZE_STEP, at which the class would not be in the
    table; 0 if there is none up to MAX_SIZE, or if the native size has too few pixels.
    """
    rows = []
    for class_index, name in enumerate(names[1:], start=1):
        area = mask == class_index
        if not area.any():
            continue
        largest, left = _largest_region(area), int(np.count_nonzero(small_mask == class_index))
        if _is_small(largest * small_mask.size / mask.size, left):
            needed = _size_needed(mask, class_index, largest, above=len(small_mask))
            row = {"pixels": largest, "pixels_at_size": left, "size_needed": needed}
            rows.append({"image_id": image_id, "class": name} | row)
    return rows


def _is_small(largest: float, left: int) -> bool:
    """Return whether a class is small, by its area and the expected area of its largest region, in px at one size."""
    return left < MIN_PIXELS or largest < MIN_PIXELS


def _largest_region(area: Any) -> int:
    numbers, count = ndimage.label(area, np.ones((3, 3)))  # diagonal neighbors are connected
    return int(np.bincount(numbers.ravel(), minlength=count + 1)[1:].max())


def _size_needed(mask: Pixels, class_index: int, largest: int, above: int) -> int:
    """Return `size_needed` of `small_lesions`. A thin lesion needs more than its area tells."""
    if largest < MIN_PIXELS:
        return 0

    def is_enough(size: int) -> bool:
        left = int(np.count_nonzero(resize_mask(mask, (size, size)) == class_index))
        return not _is_small(largest * size * size / mask.size, left)

    sizes = range(above - above % SIZE_STEP + SIZE_STEP, MAX_SIZE + 1, SIZE_STEP)
    found = bisect_left(sizes, True, key=is_enough)
    return sizes[found] if found < len(sizes) else 0


def suggest_size(vanished: pd.DataFrame) -> int:
    """Return the smallest preprocess.size at which no class in `vanished` is too small; 0 if there is none."""
    return 0 if (vanished.size_needed == 0).any() else int(vanished.size_needed.max())
