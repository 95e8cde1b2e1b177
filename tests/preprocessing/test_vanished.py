"""Lesions that are too small for the training size are found. Areas are counted by hand."""

import numpy as np
import pandas as pd

from naevi.images import resize_mask
from naevi.preprocessing.vanished import COLUMNS, small_lesions, suggest_size

NAMES = ["skin", "lesion", "ulcer"]


def mask_with(*squares: tuple[int, int, int, int]) -> np.ndarray:
    """Return a mask of 600 x 800 px with squares: row, column, side, class index."""
    mask = np.zeros((600, 800), np.uint8)
    for row, column, side, class_index in squares:
        mask[row : row + side, column : column + side] = class_index
    return mask


def small(mask: np.ndarray) -> list[dict]:
    return small_lesions("a", mask, resize_mask(mask, (160, 160), 3), NAMES)


def test_a_lesion_that_vanishes_is_found() -> None:
    """6 x 6 px of 800 x 600 are 36 * 25,600 / 480,000 = 1.92 px at 160 px."""
    (row,) = small(mask_with((100, 100, 6, 1)))

    assert row["image_id"] == "a"
    assert (row["class"], row["pixels"]) == ("lesion", 36)
    assert row["pixels_at_size"] < 10


def test_a_lesion_of_ten_pixels_is_large_enough() -> None:
    """15 x 15 px become 12 px, 13 x 13 px become 9."""
    assert small(mask_with((100, 100, 15, 1))) == []
    assert len(small(mask_with((100, 100, 13, 1)))) == 1


def test_each_class_counts_and_small_regions_beside_a_large_one_do_not() -> None:
    rows = small(mask_with((100, 100, 200, 1), (400, 400, 5, 1), (500, 100, 5, 2)))

    assert [(row["class"], row["pixels"]) for row in rows] == [("ulcer", 25)]


def test_several_small_regions_of_one_class_are_found() -> None:
    """Together they have enough pixels, but none has a shape."""
    rows = small(mask_with(*((50 * step, 50 * step, 10, 1) for step in range(1, 9))))

    assert [(row["class"], row["pixels"]) for row in rows] == [("lesion", 100)]
    assert rows[0]["pixels_at_size"] > 10


def test_the_suggested_size_keeps_the_smallest_lesion() -> None:
    """36 px need sqrt(10 * 480,000 / 36) = 365.1 px, so 384."""
    vanished = pd.DataFrame([("a", "lesion", 36, 0), ("b", "lesion", 100, 4)], columns=COLUMNS)
    image_table = pd.DataFrame({"image_id": ["a", "b"], "height": 600, "width": 800})

    assert suggest_size(vanished, image_table) == 384
    assert suggest_size(vanished.assign(pixels=1), image_table) == 2048
