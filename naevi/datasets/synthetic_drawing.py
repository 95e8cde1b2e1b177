"""Draw synthetic images: noise, cells, smooth steps and paint.

Lengths are in frames. A frame is the side of the square with the image's area, sqrt(H * W) pixels. So an image shows
the same thing at every size of one shape.

The bytes must be equal on every processor. numpy's exp, sin, log, power and matmul differ in the last digit between
SIMD versions, and a sum differs with its order. The operations + - * / sqrt, comparisons and selections don't. Arrays
use only those.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.floating]  # float32, except for the pixels that a hair crosses
Color = tuple[float, float, float]


class Frame(NamedTuple):
    """The pixel centers, y (H, 1) and x (1, W), in frames from the middle, and the number of pixels in a frame."""

    y: Field
    x: Field
    pixels: float


def create_frame(height: int, width: int) -> Frame:
    """Return the frame of an image of this size in pixels."""
    pixels = math.sqrt(height * width)
    y = (np.arange(height) - (height - 1) / 2) / pixels
    x = (np.arange(width) - (width - 1) / 2) / pixels
    return Frame(y[:, None].astype(np.float32), x[None, :].astype(np.float32), pixels)


def clouds(rng: Generator, frame: Frame, bumps: float) -> Field:
    """Return smooth noise (H, W) in about -1..1, with `bumps` bumps in a frame: random nodes of a B-spline."""
    (rows, row, down), (columns, column, right) = (_grid(frame, axis, bumps) for axis in (frame.y, frame.x))
    nodes = rng.random((rows, columns), dtype=np.float32) * 4 - 2
    a, b, c = (1 - right) * (1 - right) / 2, 0.5 + right * (1 - right), right * right / 2
    wide = nodes[:, column] * a + nodes[:, column + 1] * b + nodes[:, column + 2] * c
    a, b, c = (1 - down) * (1 - down) / 2, 0.5 + down * (1 - down), down * down / 2
    noise: Field = wide[row] * a + wide[row + 1] * b + wide[row + 2] * c
    return noise


def cells(rng: Generator, frame: Frame, number: float) -> tuple[Field, Field]:
    """Return the distances (H, W) to the nearest and the second nearest of random points.

    There are `number` points along a frame. Distances are in units of their spacing.
    """
    (rows, row, down), (columns, column, right) = (_grid(frame, axis, number) for axis in (frame.y, frame.x))
    points = rng.random((2, rows, columns), dtype=np.float32) * 0.9 - 0.95  # one in each cell, relative to the next
    nearest = second = np.full((down.size, right.size), 9, np.float32)
    for i in range(3):
        for j in range(3):
            y = points[0][:, column + j][row + i] + (i - down)
            x = points[1][:, column + j][row + i] + (j - right)
            distance = y * y + x * x
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
    return np.sqrt(nearest), np.sqrt(second)


def _grid(frame: Frame, axis: Field, number: float) -> tuple[int, NDArray[np.int64], Field]:
    """Return a grid along an axis: its number of cells, the cell of each pixel, and the position in the cell, 0..1.

    A frame has `number` cells, and there is one more on each side. The number of cells depends on the shape of the
    frame, not on its pixels, because every size must draw the same random numbers.
    """
    extent = axis.size / frame.pixels
    position = (axis + extent / 2) * number
    cell = np.floor(position)
    return int(extent * number) + 3, cell.ravel().astype(np.int64), position - cell


def nearby(axis: Field, center: float, reach: float) -> slice:
    """Return the pixels along an axis that are up to `reach` from `center`, in frames."""
    low, high = np.searchsorted(axis.ravel(), (center - reach, center + reach))
    return slice(int(low), int(high))


def smooth_step(values: Field, start: float, end: float) -> Field:
    """Return 0 at `start`, 1 at `end` and a smooth step between them, flat outside."""
    t: Field = np.clip((values - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def paint(image: Field, color: Color, alpha: Field) -> Field:
    """Return an image (3, H, W) with a color over it that has opacity `alpha` (H, W), 0..1."""
    return image + alpha * (np.array(color, np.float32)[:, None, None] - image)
