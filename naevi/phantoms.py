"""Phantoms: pictures that look like dermoscopy of naevi and melanomas, with masks that are known exactly.

They stand in for PH2 where it isn't at hand, in tests and demos; sizes, colors, dark corners and difficulty follow it.
Lengths are in frames: one frame is the side of the square with the picture's area, sqrt(H * W) pixels. So a phantom
looks the same at every size of one shape, and a hair is thicker in a larger picture.

The bytes must be equal on every processor. numpy's exp, sin, log, power and matmul differ in the last digit between
SIMD versions, and a sum differs with its order; + - * / sqrt, comparisons and min/max don't. Arrays use those only.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Color = tuple[float, float, float]

DIAGNOSES = ("common", "atypical", "common", "atypical", "melanoma")  # PH2 has 80 : 80 : 40

# Lesion area as a part of the frame at these quantiles, measured on PH2's masks.
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
AREAS = {
    "common": (0.031, 0.06, 0.115, 0.165, 0.28, 0.50, 0.57),
    "atypical": (0.055, 0.095, 0.14, 0.22, 0.365, 0.59, 0.80),
    "melanoma": (0.165, 0.215, 0.47, 0.675, 0.795, 0.945, 0.983),
}
IRREGULARITY = {"common": (0.05, 0.14), "atypical": (0.12, 0.28), "melanoma": (0.18, 0.34)}  # warp, in lesion radii
DEPTH = {"common": (0.3, 0.75), "atypical": (0.4, 0.85), "melanoma": (0.45, 0.95)}  # how dark the pigment is, 0..1
BLOTCHES = {"common": (0.05, 0.2), "atypical": (0.15, 0.4), "melanoma": (0.25, 0.5)}  # how much that varies

BLACK, BLUE_GRAY, RED, WHITE = (42.0, 33.0, 34.0), (112.0, 108.0, 128.0), (178.0, 92.0, 78.0), (222.0, 196.0, 196.0)


@dataclass(frozen=True)
class Phantom:
    """One generated picture.

    image_id   "phantom-00042"
    diagnosis  common, atypical or melanoma
    image      uint8 (H, W, 3), RGB
    mask       uint8 (H, W), 1 within the middle of the lesion's soft border, else 0; one piece, never empty
    """

    image_id: str
    diagnosis: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


class Frame(NamedTuple):
    """Where the pixels are: y (H, 1) and x (1, W), float32, in frames from the center; pixels in a frame."""

    y: Field
    x: Field
    pixels: float


def phantom(index: int, *, height: int, width: int, seed: int) -> Phantom:
    """The `index`-th phantom of `seed`, the same however many are made; `height` and `width` in pixels, 64 at least."""
    rng = np.random.default_rng((seed, index))
    diagnosis = DIAGNOSES[index % len(DIAGNOSES)]
    frame = _frame(height, width)
    edge = _outline(rng, frame, diagnosis)
    picture = _skin(rng, frame)
    _pigment(rng, frame, edge, diagnosis, picture)
    _ruler(rng, frame, picture)
    _bubbles(rng, frame, picture)
    _hairs(rng, frame, picture)
    _vignette(rng, frame, picture)
    picture += rng.random(picture.shape, dtype=np.float32) * np.float32(8)  # the camera's noise; its mean is 4
    image = np.clip(picture - np.float32(3.5), 0, 255).astype(np.uint8)
    mask = (edge <= 0).astype(np.uint8)
    return Phantom(f"phantom-{index:05d}", diagnosis, np.ascontiguousarray(image.transpose(1, 2, 0)), mask)


def _frame(height: int, width: int) -> Frame:
    pixels = math.sqrt(height * width)
    y = ((np.arange(height) - (height - 1) / 2) / pixels).astype(np.float32)
    x = ((np.arange(width) - (width - 1) / 2) / pixels).astype(np.float32)
    return Frame(y[:, None], x[None, :], pixels)


def _outline(rng: np.random.Generator, frame: Frame, diagnosis: str) -> Field:
    """About the distance to the lesion's border (H, W), in frames, negative within.

    An ellipse seen through a wavy glass: bending the coordinates, rather than adding to the distance, keeps it one piece.
    """
    area = float(np.interp(rng.random(), QUANTILES, AREAS[diagnosis]))
    radius = math.sqrt(area / math.pi)
    stretch, angle = rng.uniform(1, 1.25 if diagnosis == "common" else 1.4), rng.uniform(-0.9, 0.9)
    room = max(0.0, 0.4 - radius)
    wave = radius * rng.uniform(*IRREGULARITY[diagnosis])
    y, x = (
        axis + np.float32(rng.uniform(-0.5, 0.5) * (room + 0.04)) + wave * _clouds(rng, frame, 0.9 / radius)
        + wave / 4 * _clouds(rng, frame, 3.2 / radius)
        for axis in (frame.y, frame.x)
    )  # fmt: skip
    u = (math.cos(angle) * x + math.sin(angle) * y) / np.float32(stretch)
    v = math.cos(angle) * y - math.sin(angle) * x
    distance = np.sqrt(u * u + v * v)
    rank = round(area * distance.size)
    border = np.partition(distance.ravel(), rank)[rank]
    return distance - border


def _skin(rng: np.random.Generator, frame: Frame) -> Field:
    """Skin (3, H, W), 0..255: from pale pink to tan, mottled, brightest where the lamp points."""
    red, warm = rng.uniform(222, 252), rng.random()
    tone = (red, red * rng.uniform(0.78, 0.88), red * (0.84 - 0.26 * warm))
    lamp_y, lamp_x, dim = rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15), rng.uniform(0.1, 0.45)
    light = 1 - np.float32(dim) * ((frame.y - lamp_y) ** 2 + (frame.x - lamp_x) ** 2)
    mottle = 5 * _clouds(rng, frame, 5) + 3 * _clouds(rng, frame, 25) + 3 * _clouds(rng, frame, 90)
    flush = rng.uniform(2, 9) * _clouds(rng, frame, 7)
    return np.stack([tone[0] * light + mottle * 0.5, tone[1] * light + mottle - flush, tone[2] * light + mottle - flush])


def _pigment(rng: np.random.Generator, frame: Frame, edge: Field, diagnosis: str, picture: Field) -> None:
    """Melanin within the border: a soft and frayed edge, blotches, network or globules, a melanoma's other colors."""
    nearest, second = _cells(rng, frame, rng.uniform(22, 50))
    softness = rng.uniform(0.015, 0.06)
    fray = softness * (0.5 * _clouds(rng, frame, 40) + 0.5 * _clouds(rng, frame, 14))
    inside = _ramp(edge + fray, softness, -softness)
    network, globules = _ramp(second - nearest, 0.35, 0.0), _ramp(nearest, 0.55, 0.2)
    share, strength = rng.random(), rng.uniform(0.05, 0.35)
    blotches = _clouds(rng, frame, 4) + 0.6 * _clouds(rng, frame, 12) + 0.3 * _clouds(rng, frame, 60)
    depth = rng.uniform(*DEPTH[diagnosis]) + rng.uniform(*BLOTCHES[diagnosis]) * blotches
    depth += strength * (share * network + (1 - share) * globules - 0.3) * _ramp(_clouds(rng, frame, 4), -0.8, 0.2)
    brown = (rng.uniform(165, 205), rng.uniform(100, 130), rng.uniform(55, 90))
    _paint(picture, brown, inside * _ramp(depth, 0.0, 0.45))
    _paint(picture, BLACK, inside * np.float32(0.92) * _ramp(depth, 0.3, 1.2))
    if diagnosis == "melanoma":
        for color in (BLUE_GRAY, RED, WHITE):
            patch = _clouds(rng, frame, rng.uniform(3, 6)) + 0.3 * _clouds(rng, frame, 25)
            _paint(picture, color, inside * np.float32(rng.uniform(0.2, 0.8)) * _ramp(patch, 0.2, 0.9))
