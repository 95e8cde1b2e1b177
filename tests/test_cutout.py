"""An image laid over another by hand, on a few pixels."""

import numpy as np

from naevi.cutout import laid_over


def test_what_is_found_stays_and_the_rest_is_the_other_image() -> None:
    image, other = np.full((1, 4, 3), 200, np.uint8), np.full((2, 8, 3), 100, np.uint8)
    probability = np.array([[0.0, 0.375, 0.5, 0.7]], np.float32)

    assert laid_over(image, probability, other)[0, :, 0].tolist() == [100, 100, 150, 200]


def test_the_other_image_is_cropped_not_squeezed() -> None:
    """A square of 6 px behind a strip of 2 x 6: its middle third."""
    other = np.repeat(np.array([0, 0, 255, 255, 0, 0], np.uint8)[:, None, None], 6, axis=1).repeat(3, axis=2)
    image, nothing = np.zeros((2, 6, 3), np.uint8), np.zeros((2, 6), np.float32)

    assert laid_over(image, nothing, other).min() == 255
