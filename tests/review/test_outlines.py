"""Outlines are lines between pixels."""

import numpy as np

from naevi.rendering.colors import GREEN, SKY
from naevi.review.outlines import outline_path, outline_paths


def test_a_pixel_has_four_sides() -> None:
    area = np.zeros((3, 4), bool)
    area[1, 2] = True

    assert outline_path(area) == "M2 1h1M2 2h1M2 1v1M3 1v1"


def test_the_frame_is_no_outline() -> None:
    area = np.zeros((2, 4), bool)
    area[:, :1] = True

    assert outline_path(area) == "M1 0v2"
    assert outline_path(np.ones((2, 4), bool)) == ""


def test_each_class_has_its_color() -> None:
    mask = np.array([[0, 1, 2]], np.uint8)

    assert outline_paths(mask) == [(GREEN, "M1 0v1M2 0v1"), (SKY, "M2 0v1")]
    assert outline_paths(np.zeros((2, 2), np.uint8)) == []
