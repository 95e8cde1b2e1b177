"""Overlays computed by hand."""

import numpy as np

from naevi.images.files import VOID
from naevi.rendering.overlays import draw_overlay, shrink_image, shrink_mask

GREEN, YELLOW, BLUE = (0, 158, 115), (240, 228, 66), (0, 114, 178)  # Okabe and Ito's, in 0..255
GRAY = (100, 100, 100)


def test_overlay_of_one_row() -> None:
    """The mask is left of 12, the prediction between 6 and 18. The image ends at 20.

    0      4  6     8   10    12    14  16    18   20
    missed____found___________false___________skin
    fill   line     image line line  fill line

    A fill covers half, so gray 100 and yellow give (240 + 100) / 2. There is no line along the edge of the image.
    """
    mask, prediction = np.zeros((2, 1, 20), np.uint8)
    mask[:, :12] = 1
    prediction[:, 6:18] = 1
    drawn = draw_overlay(np.full((1, 20, 3), 100, np.uint8), mask, prediction)

    half_yellow, half_blue = (170, 164, 83), (50, 107, 139)
    expected = [half_yellow] * 4 + [YELLOW] * 2 + [GREEN] * 2 + [GRAY] * 2 + [GREEN] * 2
    expected += [BLUE] * 2 + [half_blue] * 2 + [BLUE] * 2 + [GRAY] * 2
    assert drawn.dtype == np.uint8
    assert [tuple(pixel) for pixel in drawn[0].tolist()] == expected


def test_overlay_keeps_the_image_if_no_area_ends_in_it() -> None:
    """A correct mask that fills the image has no outline. Neither has an empty one."""
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    full, none = np.ones((8, 9), np.uint8), np.zeros((8, 9), np.uint8)

    assert (draw_overlay(image, full, full) == image).all()
    assert (draw_overlay(image, none, none) == image).all()


def test_images_are_shrunk_to_a_width_and_never_enlarged() -> None:
    assert shrink_image(np.zeros((576, 768, 3), np.uint8)).shape == (384, 512, 3)
    assert shrink_image(np.zeros((30, 40, 3), np.uint8)).shape == (30, 40, 3)


def test_a_shrunk_mask_has_the_class_of_half_a_pixel() -> None:
    """1024 columns become 512. The first three new pixels cover two, one and no pixels of the lesion."""
    mask = np.zeros((2, 1024), np.uint8)
    mask[:, :3] = 1

    assert shrink_mask(mask)[0, :3].tolist() == [1, 1, 0]


def test_the_wrong_class_counts_as_missed() -> None:
    """Three classes: a correct pixel, one of the wrong class, a false one, and background."""
    mask, prediction = np.array([[1, 1, 0, 0]], np.uint8), np.array([[1, 2, 2, 0]], np.uint8)
    drawn = draw_overlay(np.full((1, 4, 3), 100, np.uint8), mask, prediction)
    plain = draw_overlay(np.full((1, 4, 3), 100, np.uint8), mask > 0, np.array([[1, 0, 1, 0]], np.uint8))

    assert np.array_equal(drawn, plain)


def test_nothing_is_drawn_where_the_class_is_unknown() -> None:
    image = np.full((1, 4, 3), 100, np.uint8)
    mask, prediction = np.array([[VOID, VOID, 0, 0]], np.uint8), np.array([[1, 0, 0, 0]], np.uint8)

    assert np.array_equal(draw_overlay(image, mask, prediction), image)
    assert shrink_mask(mask).tolist() == mask.tolist()
