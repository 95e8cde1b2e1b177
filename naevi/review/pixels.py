"""Describe each pixel of small images by its color, surroundings and place, relative to the rest of its image."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from naevi.images import Pixels

SIDE = 64  # px, of the small images, which is enough to detect a shift of an eighth of a lesion
COLOR_FEATURES = 9  # the first features: three color channels, each at three scales
BLURS = (0.7, 2.0, 5.0)  # px
SURROUNDINGS = (10.0, 20.0)  # px
MIN_SPREAD = 4.0  # gray levels, so that the noise of a flat image doesn't become contrast

Features = NDArray[np.float32]
Numbers = NDArray[np.floating]


def pixel_features(images: Pixels) -> Features:
    """Return float32 (N, SIDE, SIDE, F) for images, uint8 (N, SIDE, SIDE, 3). Images don't affect each other.

    Colors are brightness, red against green, and blue against both, relative to the image's median and spread.
    """
    red, green, blue = (images[..., channel].astype(np.float32) for channel in range(3))
    gray = (red + green + blue) / 3
    features: list[Numbers] = []
    for channel in (gray, red - green, blue - (red + green) / 2):
        middle, spread = _middle_and_spread(channel)
        features += [(_blur(channel, width) - middle) / spread for width in BLURS]
    middle, spread = _middle_and_spread(gray)
    features += [(_blur(gray, width) - middle) / spread for width in SURROUNDINGS]
    smooth = _blur(gray, 1)
    low, high = np.percentile(gray, (10, 90), axis=(1, 2), keepdims=True)
    features += [_ranks(smooth), (smooth - low) / (high - low + 10), smooth]
    features += [np.sqrt(np.maximum(0, _blur(gray**2, 2) - _blur(gray, 2) ** 2))]
    features += [np.broadcast_to(field, gray.shape) for field in (*_places(), low, high - low)]
    return np.stack(features, axis=-1, dtype=np.float32)


def _middle_and_spread(channel: Numbers) -> tuple[Numbers, Numbers]:
    middle: Numbers = np.median(channel, axis=(1, 2), keepdims=True)
    return middle, np.median(np.abs(channel - middle), axis=(1, 2), keepdims=True) + MIN_SPREAD


def _blur(channel: Numbers, width: float) -> Numbers:
    blurred: Numbers = gaussian_filter(channel, (0, width, width), mode="nearest")
    return blurred


def _ranks(channel: Numbers) -> Numbers:
    """Return the share of its image that is darker than each pixel, 0..1."""
    order = np.argsort(channel.reshape(len(channel), -1), axis=1, kind="stable")
    ranks = np.empty(order.shape, np.float32)
    np.put_along_axis(ranks, order, np.arange(order.shape[1], dtype=np.float32)[None] / order.shape[1], axis=1)
    return ranks.reshape(channel.shape)


def _places() -> list[Features]:
    """Return the horizontal, vertical and straight distance from the center, which are the same for every image."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    across, down = np.meshgrid(axis, axis)
    return [np.abs(across), np.abs(down), np.hypot(across, down)]
