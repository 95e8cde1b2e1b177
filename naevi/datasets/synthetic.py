"""Generate synthetic images: dermoscopy-like images of nevi and melanomas, with exact masks.

They replace PH2 in tests and if PH2 isn't available. Lesion sizes, colors, dark corners and difficulty are similar.
Units, and why the bytes are equal on every processor: see synthetic_drawing.py.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from naevi.datasets.synthetic_drawing import (
    Color,
    Field,
    Frame,
    cells,
    clouds,
    create_frame,
    nearby,
    paint,
    smooth_step,
)

DIAGNOSES = ("common", "atypical", "common", "atypical", "melanoma")  # PH2 has 80 : 80 : 40

# Lesion area as a fraction of the image: the 0/8, 1/8 … 8/8 quantiles of PH2's masks.
LESION_AREAS = {
    "common": (0.031, 0.092, 0.114, 0.139, 0.166, 0.213, 0.281, 0.458, 0.570),
    "atypical": (0.056, 0.113, 0.139, 0.194, 0.219, 0.260, 0.366, 0.494, 0.805),
    "melanoma": (0.164, 0.294, 0.472, 0.592, 0.674, 0.728, 0.795, 0.898, 0.983),
}
# Range of the waves in the border, in lesion radii.
BORDER_WAVES = {"common": (0.05, 0.14), "atypical": (0.12, 0.26), "melanoma": (0.16, 0.3)}
# Range of the color depth, from 0 for skin to 1 for black, and of how much it varies within a lesion.
COLOR_DEPTH = {"common": (0.2, 0.65), "atypical": (0.22, 0.74), "melanoma": (0.2, 0.78)}
COLOR_VARIATION = {"common": (0.05, 0.15), "atypical": (0.1, 0.3), "melanoma": (0.2, 0.35)}

INK: Color = (42, 33, 34)
BLUE_GRAY: Color = (92, 86, 112)
RED: Color = (178, 92, 78)
WHITE: Color = (226, 204, 204)
GLARE: Color = (250, 244, 238)


@dataclass(frozen=True)
class SyntheticImage:
    """A synthetic image.

    image_id   "phantom-00042"
    diagnosis  common, atypical or melanoma
    image      uint8 (H, W, 3), RGB
    mask       uint8 (H, W), 1 inside the middle of the lesion's soft border, otherwise 0; never empty
    """

    image_id: str
    diagnosis: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def synthetic_image(index: int, *, height: int, width: int, seed: int) -> SyntheticImage:
    """Return the synthetic image with this index and seed, independent of all others.

    `height` and `width` are at least 64 pixels.
    """
    rng = np.random.default_rng((seed, index))
    diagnosis = DIAGNOSES[index % len(DIAGNOSES)]
    frame = create_frame(height, width)
    edge = _outline(rng, frame, diagnosis)
    image = _skin(rng, frame)
    image = _pigment(rng, frame, edge, diagnosis, image)
    image = _ruler(rng, frame, image)
    image = _bubbles(rng, frame, image)
    image = _hairs(rng, frame, image)
    image = _vignette(rng, frame, image)
    image = image + 8 * rng.random(image.shape, dtype=np.float32) - 3.5  # camera noise, and 0.5 for rounding
    pixels = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    return SyntheticImage(f"phantom-{index:05d}", diagnosis, pixels, (edge <= 0).astype(np.uint8))


def _outline(rng: Generator, frame: Frame, diagnosis: str) -> Field:
    """Return about the distance to the lesion's border in frames, (H, W), negative inside.

    The lesion is an ellipse in bent coordinates. They keep it in one piece. Noise added to the distance wouldn't.
    """
    step, rest = divmod(8 * rng.random(), 1)
    low, high = LESION_AREAS[diagnosis][int(step)], LESION_AREAS[diagnosis][int(step) + 1]
    area = low + (high - low) * rest
    radius = math.sqrt(area / math.pi)
    wave = radius * rng.uniform(*BORDER_WAVES[diagnosis])
    max_offset = 0.06 + max(0.0, 0.38 - radius) / 2
    y, x = (
        axis
        + rng.uniform(-max_offset, max_offset)
        + wave * clouds(rng, frame, 0.9 / radius)
        + wave / 3 * clouds(rng, frame, 3 / radius)
        + 0.012 * clouds(rng, frame, 16)
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
    """Return skin (3, H, W), 0..255: pale pink to tan, mottled, brightest in the light of the lamp."""
    red, warm = rng.uniform(222, 255), rng.random()
    tone = (red, red * rng.uniform(0.78, 0.88), red * (0.84 - 0.28 * warm))
    y, x = frame.y - rng.uniform(-0.15, 0.15), frame.x - rng.uniform(-0.15, 0.15)
    light = 1.08 - rng.uniform(0.2, 0.6) * (y * y + x * x)
    mottle = 3 * clouds(rng, frame, 3) + 3 * clouds(rng, frame, 30) + 4 * clouds(rng, frame, 110)
    flush = rng.uniform(1, 6) * (clouds(rng, frame, 5) + clouds(rng, frame, 35))
    return np.stack([tone[0] * light + mottle / 2, tone[1] * light + mottle - flush, tone[2] * light + mottle - flush])


def _pigment(rng: Generator, frame: Frame, edge: Field, diagnosis: str, image: Field) -> Field:
    """Add melanin, soft and frayed at the border, as blotches, network or globules, and a melanoma's other colors."""
    softness = rng.uniform(0.015, 0.06)
    fray = 0.5 * softness * clouds(rng, frame, 50)
    inside = smooth_step(edge + fray, softness, -softness)
    rough, fine, finest = clouds(rng, frame, 4), clouds(rng, frame, 14), clouds(rng, frame, 70)
    nearest, second = cells(rng, frame, rng.uniform(22, 55))
    network, globules = smooth_step(second - nearest + 0.2 * fine, 0.5, 0), smooth_step(nearest + 0.2 * fine, 0.7, 0)
    texture = (network if rng.random() < 0.6 else globules) * smooth_step(clouds(rng, frame, 4), -0.7, 0.7)
    depth = rng.uniform(*COLOR_DEPTH[diagnosis]) + rng.uniform(*COLOR_VARIATION[diagnosis]) * (
        rough + 0.7 * fine + 0.4 * finest
    )
    depth = depth + rng.uniform(0, 0.35) * (texture - 0.3) + rng.uniform(0, 0.4) * (smooth_step(edge, 0, -0.2) - 0.5)
    red = rng.uniform(150, 205)
    brown = (red, red * rng.uniform(0.55, 0.66), red * rng.uniform(0.34, 0.5))
    image = paint(image, brown, inside * smooth_step(depth, -0.25, 0.5))
    if diagnosis == "melanoma":
        for color, max_opacity in ((RED, 0.5), (WHITE, 0.6), (BLUE_GRAY, 0.9)):
            patch = clouds(rng, frame, rng.uniform(2, 5)) + 0.4 * fine + 0.15 * finest
            image = paint(image, color, inside * rng.uniform(0, max_opacity) * smooth_step(patch, -0.4, 1.2))
    return paint(image, INK, inside * 0.9 * smooth_step(depth, 0.1, 1.3))


def _ruler(rng: Generator, frame: Frame, image: Field) -> Field:
    """Sometimes add the ticks of a millimeter scale along a side."""
    if rng.random() > 0.06:
        return image
    slope, period = rng.uniform(-0.1, 0.1), rng.uniform(0.03, 0.05)
    along, across = frame.x + slope * frame.y, frame.y - slope * frame.x - rng.uniform(0.3, 0.36)
    tick = np.floor(along / period)
    length = np.where(tick % 5 == 0, 0.05, 0.03).astype(np.float32)
    thin = smooth_step(np.abs(along / period - tick - 0.5) * period, 0.003, 0.0015)
    return paint(image, INK, 0.8 * thin * (across > 0) * (across < length))


def _bubbles(rng: Generator, frame: Frame, image: Field) -> Field:
    """Add air bubbles in the immersion fluid (rings, bright on the side of the lamp, dark on the other) and glare."""
    bright: Field = np.zeros(image.shape[1:], np.float32)
    if rng.random() < 0.15:
        bright = smooth_step(clouds(rng, frame, 100), 0.5, 1.2) * smooth_step(clouds(rng, frame, 5), 0.2, 1)
    dark = np.zeros_like(bright)
    number = int(rng.integers(1, 30)) if rng.random() < 0.4 else 0
    for _ in range(number):
        y, x, radius = rng.uniform(-0.45, 0.45), rng.uniform(-0.6, 0.6), rng.uniform(0.004, 0.02)
        lamp, flat = rng.uniform(-1, 1), rng.uniform(0.8, 1.3)
        rows, columns = nearby(frame.y, y, 2 * radius), nearby(frame.x, x, 2 * radius)
        down, right = (frame.y[rows] - y) / radius, (frame.x[:, columns] - x) / radius * flat
        distance = np.sqrt(down * down + right * right)
        width = 0.2 + 1 / (radius * frame.pixels)
        ring = smooth_step(np.abs(distance - 1), width, 0)
        side = smooth_step(down + lamp * right, -1, 1)
        bright[rows, columns] = np.maximum(bright[rows, columns], ring * side)
        dark[rows, columns] = np.maximum(dark[rows, columns], ring * (1 - side))
    return paint(paint(image, INK, 0.3 * dark), GLARE, 0.6 * bright)


def _hairs(rng: Generator, frame: Frame, image: Field) -> Field:
    """Add dark hairs with a common direction. Each is a curve y(x) or x(y), thin at its end, with antialiased sides."""
    cover = np.zeros(image.shape[1:], np.float32)
    number = int(rng.integers(1, 8) if rng.random() < 0.8 else rng.integers(8, 45)) if rng.random() < 0.65 else 0
    thick, lean, mostly_upright = rng.uniform(0.0015, 0.006), rng.uniform(-0.8, 0.8), rng.random() < 0.5
    for _ in range(number):
        upright = mostly_upright != (rng.random() < 0.15)
        along, across = (frame.y, frame.x) if upright else (frame.x, frame.y)
        start, length, offset = rng.uniform(-0.7, 0.5), rng.uniform(0.1, 0.7), rng.uniform(-0.6, 0.6)
        slope, bend, twist = lean + rng.uniform(-0.3, 0.3), rng.uniform(-1, 1), rng.uniform(-1, 1)
        part = nearby(along, start + length / 2, length / 2)
        t = along.ravel()[part, None] - start
        slopes = slope + t * (2 * bend + t * 3 * twist)
        middle = (offset + t * (slope + t * (bend + t * twist))) * frame.pixels + (across.size - 1) / 2
        width = thick * frame.pixels * np.minimum(1, 3 - 3 * t / length) / 2 + 0.5
        reach = math.ceil(thick * frame.pixels * 2) + 2
        pixel = np.floor(middle).astype(np.int64) + np.arange(-reach, reach + 1)
        shade = np.clip(width - np.abs(pixel - middle) / np.sqrt(1 + slopes * slopes), 0, np.minimum(1, 2 * width - 1))
        visible = (pixel >= 0) & (pixel < across.size)
        index = pixel[visible], part.start + np.nonzero(visible)[0]
        canvas = cover.T if upright else cover  # a view
        canvas[index] = np.maximum(canvas[index], shade[visible])
    red = rng.uniform(40, 110)
    color = (red, 0.65 * red, 0.5 * red)
    return paint(image, color, 0.8 * cover) if number else image


def _vignette(rng: Generator, frame: Frame, image: Field) -> Field:
    """Add the round, dark rim of the dermatoscope, which 168 of 200 PH2 images have."""
    visibility = rng.random()
    y, x = frame.y - rng.uniform(-0.05, 0.05), frame.x - rng.uniform(-0.05, 0.05)
    radius, soft = rng.uniform(0.55, 0.7) if visibility < 0.85 else 1.0, rng.uniform(0.02, 0.05)
    distance = np.sqrt(y * y + x * x)
    shade = rng.uniform(26, 48)
    image = image * (1 - 0.25 * smooth_step(distance, radius - 0.25, radius))
    return paint(image, (shade * 1.05, shade, shade * 0.95), smooth_step(distance, radius - soft, radius + soft))
