"""Phantoms: pictures that look like dermoscopy of naevi and melanomas, with masks that are known exactly.

They stand in for PH2 in tests and where it isn't at hand; lesion sizes, colors, dark corners and difficulty follow it.
Lengths are in frames: a frame is the side of the square with the picture's area, sqrt(H * W) pixels. So a phantom shows
the same thing at every size of one shape; only the camera's noise differs.

The bytes must be equal on every processor. numpy's exp, sin, log, power and matmul differ in the last digit between
SIMD versions, and a sum differs with its order; + - * / sqrt, comparisons and selections don't. Arrays use only those.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.floating]  # float32, but for what a hair crosses
Color = tuple[float, float, float]

DIAGNOSES = ("common", "atypical", "common", "atypical", "melanoma")  # PH2 has 80 : 80 : 40

# Lesion area as a part of the frame: the 0/8, 1/8 … 8/8 quantiles of PH2's masks.
AREAS = {
    "common": (0.031, 0.092, 0.114, 0.139, 0.166, 0.213, 0.281, 0.458, 0.570),
    "atypical": (0.056, 0.113, 0.139, 0.194, 0.219, 0.260, 0.366, 0.494, 0.805),
    "melanoma": (0.164, 0.294, 0.472, 0.592, 0.674, 0.728, 0.795, 0.898, 0.983),
}
WAVES = {"common": (0.05, 0.14), "atypical": (0.12, 0.26), "melanoma": (0.16, 0.3)}  # of the border, in lesion radii
DEPTH = {"common": (0.2, 0.65), "atypical": (0.22, 0.74), "melanoma": (0.2, 0.78)}  # of the color: 0 skin … 1 black
BLOTCHES = {"common": (0.05, 0.15), "atypical": (0.1, 0.3), "melanoma": (0.2, 0.35)}  # how much the depth varies

INK: Color = (42, 33, 34)
BLUE_GRAY: Color = (92, 86, 112)
RED: Color = (178, 92, 78)
WHITE: Color = (226, 204, 204)
GLARE: Color = (250, 244, 238)


@dataclass(frozen=True)
class Phantom:
    """A generated picture.

    image_id   "phantom-00042"
    diagnosis  common, atypical or melanoma
    image      uint8 (H, W, 3), RGB
    mask       uint8 (H, W), 1 within the middle of the lesion's soft border, else 0; never empty
    """

    image_id: str
    diagnosis: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


class Frame(NamedTuple):
    """The pixels' centers, y (H, 1) and x (1, W), in frames from the middle; and how many pixels a frame has."""

    y: Field
    x: Field
    pixels: float


def phantom(index: int, *, height: int, width: int, seed: int) -> Phantom:
    """The `index`-th phantom of `seed`, the same however many are made; `height` and `width` are at least 64 pixels."""
    rng = np.random.default_rng((seed, index))
    diagnosis = DIAGNOSES[index % len(DIAGNOSES)]
    frame = _frame(height, width)
    edge = _outline(rng, frame, diagnosis)
    picture = _skin(rng, frame)
    picture = _pigment(rng, frame, edge, diagnosis, picture)
    picture = _ruler(rng, frame, picture)
    picture = _bubbles(rng, frame, picture)
    picture = _hairs(rng, frame, picture)
    picture = _vignette(rng, frame, picture)
    picture = picture + 8 * rng.random(picture.shape, dtype=np.float32) - 3.5  # the camera's noise; .5 to round
    image = np.clip(picture, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return Phantom(f"phantom-{index:05d}", diagnosis, np.ascontiguousarray(image), (edge <= 0).astype(np.uint8))


def _frame(height: int, width: int) -> Frame:
    pixels = math.sqrt(height * width)
    y = (np.arange(height) - (height - 1) / 2) / pixels
    x = (np.arange(width) - (width - 1) / 2) / pixels
    return Frame(y[:, None].astype(np.float32), x[None, :].astype(np.float32), pixels)


def _outline(rng: Generator, frame: Frame, diagnosis: str) -> Field:
    """About the distance to the lesion's border in frames, (H, W), negative within.

    An ellipse seen through wavy glass: bending the coordinates keeps it in one piece, adding to the distance wouldn't.
    """
    step, rest = divmod(8 * rng.random(), 1)
    low, high = AREAS[diagnosis][int(step)], AREAS[diagnosis][int(step) + 1]
    area = low + (high - low) * rest
    radius = math.sqrt(area / math.pi)
    wave = radius * rng.uniform(*WAVES[diagnosis])
    away = 0.06 + max(0.0, 0.38 - radius) / 2
    y, x = (
        axis
        + rng.uniform(-away, away)
        + wave * _clouds(rng, frame, 0.9 / radius)
        + wave / 3 * _clouds(rng, frame, 3 / radius)
        + 0.012 * _clouds(rng, frame, 16)
        for axis in (frame.y, frame.x)
    )
    stretch, angle = rng.uniform(1, 1.4), rng.uniform(-1, 1)
    u = (math.cos(angle) * x + math.sin(angle) * y) / stretch
    v = math.cos(angle) * y - math.sin(angle) * x
    distance: Field = np.sqrt(u * u + v * v)
    rank = round(area * distance.size)
    distance -= np.partition(distance.ravel(), rank)[rank]
    return distance


def _skin(rng: Generator, frame: Frame) -> Field:
    """Skin (3, H, W), 0..255: from pale pink to tan, mottled, brightest where the lamp points."""
    red, warm = rng.uniform(222, 255), rng.random()
    tone = (red, red * rng.uniform(0.78, 0.88), red * (0.84 - 0.28 * warm))
    y, x = frame.y - rng.uniform(-0.15, 0.15), frame.x - rng.uniform(-0.15, 0.15)
    light = 1.08 - rng.uniform(0.2, 0.6) * (y * y + x * x)
    mottle = 3 * _clouds(rng, frame, 3) + 3 * _clouds(rng, frame, 30) + 4 * _clouds(rng, frame, 110)
    flush = rng.uniform(1, 6) * (_clouds(rng, frame, 5) + _clouds(rng, frame, 35))
    return np.stack([tone[0] * light + mottle / 2, tone[1] * light + mottle - flush, tone[2] * light + mottle - flush])


def _pigment(rng: Generator, frame: Frame, edge: Field, diagnosis: str, picture: Field) -> Field:
    """Melanin: soft and frayed at the border, in blotches, network or globules; and a melanoma's other colors."""
    softness = rng.uniform(0.015, 0.06)
    fray = 0.5 * softness * _clouds(rng, frame, 50)
    inside = _ramp(edge + fray, softness, -softness)
    rough, fine, finest = _clouds(rng, frame, 4), _clouds(rng, frame, 14), _clouds(rng, frame, 70)
    nearest, second = _cells(rng, frame, rng.uniform(22, 55))
    network, globules = _ramp(second - nearest + 0.2 * fine, 0.5, 0), _ramp(nearest + 0.2 * fine, 0.7, 0)
    texture = (network if rng.random() < 0.6 else globules) * _ramp(_clouds(rng, frame, 4), -0.7, 0.7)
    depth = rng.uniform(*DEPTH[diagnosis]) + rng.uniform(*BLOTCHES[diagnosis]) * (rough + 0.7 * fine + 0.4 * finest)
    depth = depth + rng.uniform(0, 0.35) * (texture - 0.3) + rng.uniform(0, 0.4) * (_ramp(edge, 0, -0.2) - 0.5)
    red = rng.uniform(150, 205)
    brown = (red, red * rng.uniform(0.55, 0.66), red * rng.uniform(0.34, 0.5))
    picture = _paint(picture, brown, inside * _ramp(depth, -0.25, 0.5))
    if diagnosis == "melanoma":
        for color, most in ((RED, 0.5), (WHITE, 0.6), (BLUE_GRAY, 0.9)):
            patch = _clouds(rng, frame, rng.uniform(2, 5)) + 0.4 * fine + 0.15 * finest
            picture = _paint(picture, color, inside * rng.uniform(0, most) * _ramp(patch, -0.4, 1.2))
    return _paint(picture, INK, inside * 0.9 * _ramp(depth, 0.1, 1.3))


def _ruler(rng: Generator, frame: Frame, picture: Field) -> Field:
    """Sometimes the ticks of a millimeter scale along a side."""
    if rng.random() > 0.06:
        return picture
    slope, period = rng.uniform(-0.1, 0.1), rng.uniform(0.03, 0.05)
    along, across = frame.x + slope * frame.y, frame.y - slope * frame.x - rng.uniform(0.3, 0.36)
    tick = np.floor(along / period)
    length = np.where(tick % 5 == 0, 0.05, 0.03).astype(np.float32)
    thin = _ramp(np.abs(along / period - tick - 0.5) * period, 0.003, 0.0015)
    return _paint(picture, INK, 0.8 * thin * (across > 0) * (across < length))


def _bubbles(rng: Generator, frame: Frame, picture: Field) -> Field:
    """Air in the immersion fluid: small rings, bright on the lamp's side, dark on the other; and specks of glare."""
    bright: Field = np.zeros(picture.shape[1:], np.float32)
    if rng.random() < 0.15:
        bright = _ramp(_clouds(rng, frame, 100), 0.5, 1.2) * _ramp(_clouds(rng, frame, 5), 0.2, 1)
    dark = np.zeros_like(bright)
    number = int(rng.integers(1, 30)) if rng.random() < 0.4 else 0
    for _ in range(number):
        y, x, radius = rng.uniform(-0.45, 0.45), rng.uniform(-0.6, 0.6), rng.uniform(0.004, 0.02)
        lamp, flat = rng.uniform(-1, 1), rng.uniform(0.8, 1.3)
        rows, columns = _near(frame.y, y, 2 * radius), _near(frame.x, x, 2 * radius)
        down, right = (frame.y[rows] - y) / radius, (frame.x[:, columns] - x) / radius * flat
        distance = np.sqrt(down * down + right * right)
        width = 0.2 + 1 / (radius * frame.pixels)
        ring = _ramp(np.abs(distance - 1), width, 0)
        side = _ramp(down + lamp * right, -1, 1)
        bright[rows, columns] = np.maximum(bright[rows, columns], ring * side)
        dark[rows, columns] = np.maximum(dark[rows, columns], ring * (1 - side))
    return _paint(_paint(picture, INK, 0.3 * dark), GLARE, 0.6 * bright)


def _hairs(rng: Generator, frame: Frame, picture: Field) -> Field:
    """Dark hairs that mostly lie one way: each a curve y(x) or x(y), thin at its end, with antialiased sides."""
    cover = np.zeros(picture.shape[1:], np.float32)
    number = int(rng.integers(1, 8) if rng.random() < 0.8 else rng.integers(8, 45)) if rng.random() < 0.65 else 0
    thick, lean, mostly_upright = rng.uniform(0.0015, 0.006), rng.uniform(-0.8, 0.8), rng.random() < 0.5
    for _ in range(number):
        upright = mostly_upright != (rng.random() < 0.15)
        along, across = (frame.y, frame.x) if upright else (frame.x, frame.y)
        start, length, offset = rng.uniform(-0.7, 0.5), rng.uniform(0.1, 0.7), rng.uniform(-0.6, 0.6)
        slope, bend, twist = lean + rng.uniform(-0.3, 0.3), rng.uniform(-1, 1), rng.uniform(-1, 1)
        part = _near(along, start + length / 2, length / 2)
        t = along.ravel()[part, None] - start
        slopes = slope + t * (2 * bend + t * 3 * twist)
        middle = (offset + t * (slope + t * (bend + t * twist))) * frame.pixels + (across.size - 1) / 2
        width = thick * frame.pixels * np.minimum(1, 3 - 3 * t / length) / 2 + 0.5
        reach = math.ceil(thick * frame.pixels * 2) + 2
        pixel = np.floor(middle).astype(np.int64) + np.arange(-reach, reach + 1)
        shade = np.clip(width - np.abs(pixel - middle) / np.sqrt(1 + slopes * slopes), 0, np.minimum(1, 2 * width - 1))
        seen = (pixel >= 0) & (pixel < across.size)
        at = pixel[seen], part.start + np.nonzero(seen)[0]
        canvas = cover.T if upright else cover  # a view
        canvas[at] = np.maximum(canvas[at], shade[seen])
    red = rng.uniform(40, 110)
    color = (red, 0.65 * red, 0.5 * red)
    return _paint(picture, color, 0.8 * cover) if number else picture


def _vignette(rng: Generator, frame: Frame, picture: Field) -> Field:
    """The round, dark rim of the dermatoscope, in 168 of 200 PH2 images."""
    seen = rng.random()
    y, x = frame.y - rng.uniform(-0.05, 0.05), frame.x - rng.uniform(-0.05, 0.05)
    radius, soft = rng.uniform(0.55, 0.7) if seen < 0.85 else 1.0, rng.uniform(0.02, 0.05)
    distance = np.sqrt(y * y + x * x)
    shade = rng.uniform(26, 48)
    picture = picture * (1 - 0.25 * _ramp(distance, radius - 0.25, radius))
    return _paint(picture, (shade * 1.05, shade, shade * 0.95), _ramp(distance, radius - soft, radius + soft))


def _clouds(rng: Generator, frame: Frame, bumps: float) -> Field:
    """Smooth noise (H, W), about -1..1 around 0, with `bumps` of them in a frame: random nodes under a B-spline."""
    (rows, row, down), (columns, column, right) = (_grid(frame, axis, bumps) for axis in (frame.y, frame.x))
    nodes = rng.random((rows, columns), dtype=np.float32) * 4 - 2
    a, b, c = (1 - right) * (1 - right) / 2, 0.5 + right * (1 - right), right * right / 2
    wide = nodes[:, column] * a + nodes[:, column + 1] * b + nodes[:, column + 2] * c
    a, b, c = (1 - down) * (1 - down) / 2, 0.5 + down * (1 - down), down * down / 2
    noise: Field = wide[row] * a + wide[row + 1] * b + wide[row + 2] * c
    return noise


def _cells(rng: Generator, frame: Frame, number: float) -> tuple[Field, Field]:
    """Distances (H, W) to the nearest and second nearest of points strewn `number` to a frame, in their spacing."""
    (rows, row, down), (columns, column, right) = (_grid(frame, axis, number) for axis in (frame.y, frame.x))
    points = rng.random((2, rows, columns), dtype=np.float32) * 0.9 - 0.95  # one in each cell, seen from the next
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
    """A grid of `number` cells in a frame, with one more on each side: how many; each pixel's; where it is there, 0..1.

    How many follows from the frame's shape, not its pixels: every size must draw the same random numbers.
    """
    extent = axis.size / frame.pixels
    place = (axis + extent / 2) * number
    cell = np.floor(place)
    return int(extent * number) + 3, cell.ravel().astype(np.int64), place - cell


def _near(axis: Field, center: float, reach: float) -> slice:
    """The pixels along an axis that are at most `reach` from `center`, in frames."""
    low, high = np.searchsorted(axis.ravel(), (center - reach, center + reach))
    return slice(int(low), int(high))


def _ramp(values: Field, start: float, end: float) -> Field:
    """0 at `start`, 1 at `end`, a smooth step between; flat outside."""
    t: Field = np.clip((values - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _paint(picture: Field, color: Color, alpha: Field) -> Field:
    """A picture (3, H, W) under a color that covers it by `alpha` (H, W), 0..1."""
    return picture + alpha * (np.array(color, np.float32)[:, None, None] - picture)
