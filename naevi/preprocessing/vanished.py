"""Find lesions that are too small for the training size."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from naevi.images import Pixels

MIN_PIXELS = 10  # a region with fewer pixels at the training size has no shape to learn
MAX_SIZE = 2048  # the upper bound of preprocess.size
SIZE_STEP = 32
COLUMNS = ["image_id", "class", "pixels", "pixels_at_size"]


def small_lesions(image_id: str, mask: Pixels, small_mask: Pixels, names: list[str]) -> list[dict[str, Any]]:
    """Return a row (COLUMNS) for each class whose largest region has fewer than MIN_PIXELS at the training size.

    `mask` has the native size, `small_mask` the training size, uint8 (H, W) of class indices. `names` are those of the
    classes. `pixels` is the native area of the largest region, `pixels_at_size` the area of the class at the training
    size.
    """
    rows = []
    scale = small_mask.size / mask.size
    for class_index, name in enumerate(names[1:], start=1):
        area = mask == class_index
        if not area.any():
            continue
        largest, left = _largest_region(area), int(np.count_nonzero(small_mask == class_index))
        if left < MIN_PIXELS or largest * scale < MIN_PIXELS:
            rows.append({"image_id": image_id, "class": name, "pixels": largest, "pixels_at_size": left})
    return rows


def _largest_region(area: Any) -> int:
    numbers, count = ndimage.label(area)
    return int(np.bincount(numbers.ravel(), minlength=count + 1)[1:].max())


def suggest_size(vanished: pd.DataFrame, image_table: pd.DataFrame) -> int:
    """Return the smallest preprocess.size, up to MAX_SIZE, at which every region in `vanished` keeps MIN_PIXELS."""
    rows = vanished.merge(image_table[["image_id", "height", "width"]], on="image_id")
    needed = np.sqrt(MIN_PIXELS * rows.height * rows.width / rows.pixels).max()
    return min(MAX_SIZE, math.ceil(float(needed) / SIZE_STEP) * SIZE_STEP)
