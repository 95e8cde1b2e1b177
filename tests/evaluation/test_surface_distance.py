"""Distances between outlines, on squares small enough to draw, and against scipy's distance transform."""

import math

import numpy as np
import pytest
from scipy import ndimage

from naevi.datasets.synthetic import synthetic_image
from naevi.evaluation.surface_distance import SURFACE_SCORES, surface_distances


def square(first: int, last: int, side: int = 20) -> np.ndarray:
    """A square area of rows and columns first ... last."""
    area = np.zeros((side, side), bool)
    area[first : last + 1, first : last + 1] = True
    return area


def outlines(*areas: np.ndarray) -> list[np.ndarray]:
    """The pixels of each area at its border."""
    return [area & ~ndimage.binary_erosion(area) for area in areas]


EMPTY, FULL, PIXEL = np.zeros((20, 20), bool), np.ones((20, 20), bool), square(5, 5)
FAR = math.hypot(20, 20)


@pytest.mark.parametrize(
    ("mask", "prediction", "expected"),
    [  # in the order of SURFACES
        (EMPTY, EMPTY, [1, 1, 0, 0]),
        (PIXEL, EMPTY, [0, 0, FAR, FAR]),
        (EMPTY, PIXEL, [0, 0, FAR, FAR]),
        (FULL, FULL, [1, 1, 0, 0]),
        (PIXEL, PIXEL, [1, 1, 0, 0]),
        (PIXEL, square(6, 6), [1, 1, math.sqrt(2), math.sqrt(2)]),
        (PIXEL, square(8, 8), [0, 1, 3 * math.sqrt(2), 3 * math.sqrt(2)]),
        (PIXEL, square(10, 10), [0, 0, 5 * math.sqrt(2), 5 * math.sqrt(2)]),
    ],
)
def test_by_hand(mask: np.ndarray, prediction: np.ndarray, expected: list[float]) -> None:
    found = surface_distances(mask, prediction)

    assert list(found) == SURFACE_SCORES
    assert list(found.values()) == pytest.approx(expected, abs=1e-5)


def test_a_square_a_pixel_larger_is_a_pixel_away() -> None:
    """Of 8 x 8 around 6 x 6, only the outer corners are farther: √2."""
    found = surface_distances(square(6, 11), square(5, 12))

    inner, outer = 20, 28
    assert found["nsd_2"] == 1
    assert found["hd95"] == pytest.approx(math.sqrt(2), abs=0.42)
    assert found["assd"] == pytest.approx((inner * 1 + (outer - 4) * 1 + 4 * math.sqrt(2)) / (inner + outer))


@pytest.mark.parametrize("number", range(4))
def test_they_are_those_of_a_distance_transform(number: int) -> None:
    """A phantom against another one, from scipy: each outline's pixels and how far the other one is."""
    mask, prediction = (synthetic_image(index, height=72, width=96, seed=7).mask > 0 for index in (number, number + 4))
    borders = outlines(mask, prediction)
    there, back = (ndimage.distance_transform_edt(~other)[own] for own, other in (borders, borders[::-1]))
    found = surface_distances(mask, prediction)

    assert found["hd95"] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-4)
    assert found["assd"] == pytest.approx(np.concatenate([there, back]).mean(), abs=1e-4)
    assert 0 <= found["nsd_2"] <= found["nsd_5"] <= 1
