"""A mask that fits an image in two orientations is placed by its outline."""

import numpy as np
import pytest

from naevi.datasets.orientation import TURNS, better_outline, outline_contrast, turn, turn_back
from naevi.images.files import Pixels

NUMBERS = np.arange(6).reshape(2, 3)


def disk(height: int, width: int, row: float, column: float, radius: float) -> Pixels:
    """Return a mask with a disk, uint8 (height, width)."""
    rows, columns = np.ogrid[:height, :width]
    return (((rows - row) ** 2 + (columns - column) ** 2) < radius**2).astype(np.uint8)


def picture(mask: Pixels, contrast: float = 90) -> Pixels:
    """Return noisy skin that is darker inside of a mask, uint8 (H, W, 3)."""
    noise = np.random.default_rng(0).normal(180, 8, (*mask.shape, 3))
    return np.clip(noise - contrast * mask[..., None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("tag", [1, *TURNS])
def test_a_turn_is_undone(tag: int) -> None:
    assert np.array_equal(turn_back(turn(NUMBERS, tag), tag), NUMBERS)


def test_orientation_6_is_a_quarter_turn_clockwise() -> None:
    assert turn(NUMBERS, 6).tolist() == [[3, 0], [4, 1], [5, 2]]
    assert turn(NUMBERS, 3).tolist() == [[5, 4, 3], [2, 1, 0]]
    assert turn(NUMBERS, 1).tolist() == NUMBERS.tolist()


def test_the_contrast_is_the_share_of_the_variance_that_the_outline_explains() -> None:
    """A lesion of one color on skin of one color is explained completely, noise hardly at all."""
    mask = disk(60, 80, 25, 30, 15)

    assert outline_contrast(picture(mask) * 0 + 200 - 100 * mask[..., None], mask) == pytest.approx(1)
    assert outline_contrast(picture(mask), mask) > 0.9
    assert outline_contrast(picture(mask, contrast=0), mask) < 0.02
    assert outline_contrast(np.full((60, 80, 3), 7, np.uint8), mask) == 0


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_without_an_outline_has_no_contrast(value: int) -> None:
    assert outline_contrast(picture(disk(60, 80, 25, 30, 15)), np.full((60, 80), value, np.uint8)) == 0


@pytest.mark.parametrize("tag", [2, 3, 4])
def test_the_outline_that_follows_the_picture_is_found(tag: int) -> None:
    mask = disk(300, 400, 100, 120, 60)
    turned = turn(mask, tag)

    assert better_outline(picture(mask, contrast=40), mask, turned) == 0
    assert better_outline(picture(mask, contrast=40), turned, mask) == 1


def test_outlines_that_follow_the_picture_alike_leave_it_open() -> None:
    mask = disk(300, 400, 150, 200, 60)  # in the center, so it is moved by 1 px when it is turned
    off_center = disk(300, 400, 100, 120, 60)

    assert better_outline(picture(mask), mask, turn(mask, 3)) is None
    assert better_outline(picture(off_center, contrast=0), off_center, turn(off_center, 3)) is None
