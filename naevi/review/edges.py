"""Compare the colors on both sides of an outline. Each image is compared only with itself."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from naevi.images.files import Pixels
from naevi.review.pixels import SIDE, blur

Masks = NDArray[np.float32]
Colors = NDArray[np.float32]
Numbers = NDArray[np.float64]

BAND = 2  # px on both sides of the outline
BLURS = (0.7, 2.0)  # px
NOISE = 10.0  # variance in squared gray levels below which colors are equal
RIDGE = 0.05  # share of the variance that is added in each direction
MIN_COMMON, MIN_OWN = 8, 2  # px, smallest areas whose colors are compared


def edge_colors(images: Pixels) -> Colors:
    """Return 1 and the blurred colors, relative to the mean of the image, float32 (N, 1 + 3 * len(BLURS), S * S).

    `images` is uint8 (N, S, S, 3).
    """
    channels = np.moveaxis(images, -1, 1).astype(np.float32, order="C")
    channels -= channels.mean(axis=(2, 3), keepdims=True)  # otherwise rounding errors would be larger
    blurred = np.concatenate([np.ones_like(channels[:, :1]), *(blur(channels, width) for width in BLURS)], axis=1)
    return blurred.reshape(*blurred.shape[:2], -1)


def side_contrast(colors: Colors, masks: Masks) -> tuple[Numbers, Numbers]:
    """Return how much the two sides of each outline differ.

    `colors` is the result of `edge_colors`, `masks` 0 or 1, float32 (N, S, S). The first value is the share of the
    color variance near the outline that its sides explain, 0..1. The second is how much redder the outside is, in
    standard deviations.
    """
    width = 2 * BAND * masks.shape[-1] // SIDE + 1
    nearby = uniform_filter(masks, (0, width, width), mode="nearest")
    bands = np.stack([masks * (nearby < 0.999), (1 - masks) * (nearby > 0.001)], axis=1)
    finest = colors[:, :4]
    values = np.concatenate([finest, finest[:, 1:] ** 2], axis=1)
    sums = _sums(bands, values)
    size, mean = sums[..., 0] + 1e-3, sums[..., 1:4] / (sums[..., :1] + 1e-3)
    all_size = size.sum(axis=1)
    total, squares = (sums[..., part].sum(axis=1) / all_size[:, None] for part in (slice(1, 4), slice(4, 7)))
    variance = (squares - total**2).sum(axis=1) + NOISE
    between = (size * ((mean - total[:, None]) ** 2).sum(axis=2)).sum(axis=1) / all_size
    return between / variance, (mean[:, 1] - mean[:, 0])[:, 0] / np.sqrt(variance)


def compare_masks(colors: Colors, masks: Masks, others: Masks) -> tuple[Numbers, Numbers, Numbers]:
    """Return by how much the colors favor the other mask of each image, by a linear discriminant of its own colors.

    `colors` is the result of `edge_colors`. The discriminant separates the area inside both masks from the area outside
    both, so it favors neither mask. The first value is the difference between the pixels of only the other mask and
    those of only this mask, in standard deviations. It is positive if the other mask fits better. The second is the
    difference between the common areas. The third is the first times the root of the number of pixels. All are 0 if an
    area is too small.
    """
    areas = np.stack([masks * others, (1 - masks) * (1 - others), masks * (1 - others), others * (1 - masks)], axis=1)
    sums = _sums(areas, colors)
    sizes = sums[..., 0] + 1e-3
    means = sums[..., 1:] / sizes[..., None]
    common = areas[:, 0] + areas[:, 1]
    values = colors[:, 1:]
    squares = (values * common.reshape(len(common), 1, -1)) @ values.swapaxes(1, 2)
    between = np.einsum("na,nac,nad->ncd", sizes[:, :2], means[:, :2], means[:, :2])
    covariance = (squares - between) / sizes[:, :2].sum(axis=1)[:, None, None]
    number = values.shape[1]
    ridge = RIDGE * np.trace(covariance, axis1=1, axis2=2) / number + 1
    covariance += np.eye(number) * ridge[:, None, None]
    direction = np.linalg.solve(covariance, (means[:, 0] - means[:, 1])[..., None])[..., 0]
    deviation = np.sqrt(np.einsum("nc,ncd,nd->n", direction, covariance, direction)) + 1e-6
    gain = np.einsum("nc,nc->n", direction, means[:, 3] - means[:, 2]) / deviation
    apart = np.einsum("nc,nc->n", direction, means[:, 0] - means[:, 1]) / deviation
    pixels = sizes * (SIDE / masks.shape[-1]) ** 2
    smallest = pixels[:, 2:].min(axis=1)
    large = (pixels[:, :2].min(axis=1) > MIN_COMMON) & (smallest > MIN_OWN)
    return gain * large, apart * large, gain * np.sqrt(smallest) * large


def _sums(areas: Masks, values: Colors) -> Numbers:
    """Return the sums of values (N, C, S * S) in areas (N, A, S, S), float64 (N, A, C)."""
    return (areas.reshape(*areas.shape[:2], -1) @ values.swapaxes(1, 2)).astype(np.float64)
