"""Lesions that are too small for the training size are found. Areas are counted by hand."""

import numpy as np
import pandas as pd

from naevi.images.files import resize_mask
from naevi.preprocessing.vanished import COLUMNS, small_lesions, suggest_size

NAMES = ["skin", "lesion", "ulcer"]


def mask_with(*squares: tuple[int, int, int, int]) -> np.ndarray:
    """Return a mask of 600 x 800 px with squares: row, column, side, class index."""
    mask = np.zeros((600, 800), np.uint8)
    for row, column, side, class_index in squares:
        mask[row : row + side, column : column + side] = class_index
    return mask


def small(mask: np.ndarray) -> list[dict]:
    return small_lesions("a", mask, resize_mask(mask, (160, 160)), NAMES)


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


def test_the_size_that_is_needed_keeps_enough_pixels() -> None:
    """36 px need sqrt(10 * 480,000 / 36) = 365.1 px, so 384. 25 px need 438.2 px, so 448."""
    (six,) = small(mask_with((100, 100, 6, 1)))
    (five,) = small(mask_with((100, 100, 5, 1)))

    assert (six["size_needed"], five["size_needed"]) == (384, 448)


def test_a_thin_lesion_needs_more_than_its_area_tells() -> None:
    """A line of 1 x 200 px has 10.7 px at 160 by its area, but it covers no pixel there by half."""
    mask = mask_with()
    mask[300, 100:300] = 1
    (row,) = small(mask)
    needed = row["size_needed"]

    assert row["pixels_at_size"] == 0
    assert needed > 160
    assert np.count_nonzero(resize_mask(mask, (needed, needed))) >= 10


def test_diagonal_pixels_are_one_lesion() -> None:
    mask = mask_with()
    steps = np.arange(200)
    mask[100 + steps, 100 + steps] = 1
    (row,) = small(mask)

    assert row["pixels"] == 200


def test_some_lesions_are_too_small_for_any_size() -> None:
    """16 px of 4000 x 3000 need sqrt(10 * 12,000,000 / 16) = 2,739 px. 9 px have no shape at the native size."""
    mask = np.zeros((3000, 4000), np.uint8)
    mask[100:104, 100:104] = 1
    (row,) = small(mask)
    (minute,) = small(mask_with((100, 100, 3, 1)))

    assert (row["size_needed"], minute["size_needed"]) == (0, 0)


def test_the_suggested_size_is_enough_for_all() -> None:
    table = pd.DataFrame([("a", "lesion", 36, 0, 384), ("b", "lesion", 100, 4, 224)], columns=COLUMNS)

    assert suggest_size(table) == 384
    assert suggest_size(table.assign(size_needed=[384, 0])) == 0
