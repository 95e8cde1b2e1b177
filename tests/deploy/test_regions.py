"""Regions of small masks, measured by hand."""

import math

import numpy as np
import pytest

from naevi.deploy.regions import describe_regions, perimeter


def mask(text: str) -> np.ndarray:
    """Return a mask from rows of digits."""
    return np.array([[int(pixel) for pixel in row] for row in text.split()], np.uint8)


def test_an_outline_is_midway_between_pixels() -> None:
    """One pixel has four slants of √½. A square of two has four more sides. A hole counts as well."""
    slants = 4 * math.sqrt(0.5)

    assert perimeter(mask("1") > 0) == pytest.approx(slants)
    assert perimeter(mask("11 11") > 0) == pytest.approx(slants + 4)
    assert perimeter(mask("111 101 111") > 0) == pytest.approx(slants + 8 + slants)


def test_each_region_has_a_row_largest_first() -> None:
    prediction = mask("10000 00110 00110")
    probability = np.where(prediction > 0, np.float32(0.75), np.float32(0))[None]
    probability[0, 2, 4] = 0.5  # not predicted as lesion, but close

    rows = describe_regions(prediction, probability, ["skin", "lesion"])

    slants = round(4 * math.sqrt(0.5), 1)
    assert rows == [
        {
            "class": "lesion",
            "lesion": 1,
            "area_px": 4,
            "perimeter_px": 6.8,
            "equivalent_diameter_px": 2.3,  # 2 √(4 / π)
            "left": 2,
            "top": 1,
            "width": 2,
            "height": 2,
            "confidence": round(2 * 3 / (3.5 + 4), 4),  # without the .75 of the other region
        },
        {
            "class": "lesion",
            "lesion": 2,
            "area_px": 1,
            "perimeter_px": slants,
            "equivalent_diameter_px": 1.1,
            "left": 0,
            "top": 0,
            "width": 1,
            "height": 1,
            "confidence": round(2 * 0.75 / (0.75 + 0.5 + 1), 4),
        },
    ]


def test_each_class_is_measured_separately() -> None:
    prediction = mask("1122")
    probability = np.stack([prediction == class_index for class_index in range(3)]).astype(np.float32)

    rows = describe_regions(prediction, probability, ["skin", "nevus", "melanoma"])

    assert [(row["class"], row["left"], row["area_px"], row["confidence"]) for row in rows] == [
        ("nevus", 0, 2, 1.0),
        ("melanoma", 2, 2, 1.0),
    ]


def test_an_empty_prediction_has_no_rows() -> None:
    assert describe_regions(mask("00 00"), np.zeros((1, 2, 2), np.float32), ["skin", "lesion"]) == []
