"""Compare the colors on both sides of an outline. Each image is compared only with itself."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from naevi.images import Pixels

Masks = NDArray[np.float32]
Colors = NDArray[np.float32]
Numbers = NDArray[np.float64]

BAND = 2  # px on both sides of the outline
BLURS = (0.7, 2.0)  # px
NOISE = 10.0  # variance in squared gray levels below which colors are equal
RIDGE = 0.05  # share of the variance that is added in each direction
MIN_COMMON, MIN_OWN = 8, 2  # px, smallest areas whose colors are compared


def side_contrast(images: Pixels, masks: Masks) -> tuple[Numbers, Numbers]:
    """Return how much the two sides of each outline differ.

    `images` is uint8 (N, S, S, 3), `masks` 0 or 1, float32 (N, S, S). The first value is the share of the color
    variance near the outline that its sides explain, 0..1. The second is how much redder the outside is, in standard
    deviations.
    """
    colors = _blur(images, BLURS[0])
    nearby = uniform_filter(masks, (0, 2 * BAND + 1, 2 * BAND + 1), mode="nearest")
    inner, outer = masks * (nearby < 0.999), (1 - masks) * (nearby > 0.001)
    (inner_size, inner_mean), (outer_size, outer_mean) = (_mean(colors, band) for band in (inner, outer))
    size, mean = _mean(colors, inner + outer)
    variance = (_mean(colors**2, inner + outer)[1] - mean**2).sum(axis=1) + NOISE
    parts = ((inner_size, inner_mean), (outer_size, outer_mean))
    between = sum(number * ((side - mean) ** 2).sum(axis=1) for number, side in parts) / size
    return between / variance, (outer_mean - inner_mean)[:, 0] / np.sqrt(variance)


def compare_masks(images: Pixels, masks: Masks, others: Masks) -> tuple[Numbers, Numbers, Numbers]:
    """Return by how much the colors favor the other mask of each image, by a linear discriminant of its own colors.

    The discriminant separates the area inside both masks from the area outside both, so it favors neither mask. The
    first value is the difference between the pixels of only the other mask and those of only this mask, in standard
    deviations. It is positive if the other mask fits better. The second is the difference between the common areas. The
    third is the first times the root of the number of pixels. All are 0 if an area is too small.
    """
    colors = np.concatenate([_blur(images, width) for width in BLURS], axis=-1)
    inside, outside = masks * others, (1 - masks) * (1 - others)
    (inside_size, inside_mean), (outside_size, outside_mean) = (_mean(colors, area) for area in (inside, outside))
    covariance = sum(
        np.einsum("nyx,nyxc,nyxd->ncd", area, apart, apart, optimize=True, dtype=np.float64)
        for area, mean in ((inside, inside_mean), (outside, outside_mean))
        for apart in [colors - mean[:, None, None].astype(np.float32)]
    )
    covariance = covariance / (inside_size + outside_size)[:, None, None]
    number = colors.shape[-1]
    ridge = RIDGE * np.trace(covariance, axis1=1, axis2=2) / number + 1
    covariance += np.eye(number) * ridge[:, None, None]
    direction = np.linalg.solve(covariance, (inside_mean - outside_mean)[..., None])[..., 0]
    deviation = np.sqrt(np.einsum("nc,ncd,nd->n", direction, covariance, direction)) + 1e-6
    (own_size, own_mean), (other_size, other_mean) = (
        _mean(colors, area) for area in (masks * (1 - others), others * (1 - masks))
    )
    gain = np.einsum("nc,nc->n", direction, other_mean - own_mean) / deviation
    apart = np.einsum("nc,nc->n", direction, inside_mean - outside_mean) / deviation
    large = (np.minimum(inside_size, outside_size) > MIN_COMMON) & (np.minimum(own_size, other_size) > MIN_OWN)
    return gain * large, apart * large, gain * np.sqrt(np.minimum(own_size, other_size)) * large


def _blur(images: Pixels, width: float) -> Colors:
    blurred: Colors = gaussian_filter(images.astype(np.float32), (0, width, width, 0))
    return blurred


def _mean(colors: Colors, weights: Masks) -> tuple[Numbers, Numbers]:
    """Return the sum of the weights (N,) and the weighted mean color (N, 3) of each image."""
    size = weights.sum(axis=(1, 2), dtype=np.float64) + 1e-3
    return size, np.einsum("nyx,nyxc->nc", weights, colors, dtype=np.float64) / size[:, None]
