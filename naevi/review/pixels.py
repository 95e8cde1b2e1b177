"""Describe each pixel of small images by its color, surroundings and place, relative to the rest of its image."""

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

SIDE = 64  # px, of the small images, which is enough to detect a shift of an eighth of a lesion
COLOR_FEATURES = 9  # the first features: three color channels, each at three scales
# Of images with SIDE px; smaller images have proportional ones.
BLURS = (0.7, 2.0, 5.0)  # px
SURROUNDINGS = (10.0, 20.0)  # px
SMOOTH, TEXTURE = 1.0, 2.0  # px
MIN_SPREAD = 4.0  # gray levels, so that the noise of a flat image doesn't become contrast

Features = NDArray[np.float32]


def pixel_features(images: Features) -> Features:
    """Return float32 (N, F, S * S) for images, float32 (N, S, S, 3) in 0..255. Images don't affect each other.

    Colors are brightness, red against green, and blue against both, relative to the image's median and spread.
    """
    number, side = images.shape[:2]
    scale = side / SIDE
    red, green, blue = np.ascontiguousarray(np.moveaxis(images, -1, 0))
    gray = (red + green + blue) / 3
    middles = [_middle_and_spread(channel) for channel in (gray, red - green, blue - (red + green) / 2)]
    features = [
        (blur(channel, width * scale) - middle) / spread for channel, middle, spread in middles for width in BLURS
    ]
    _, middle, spread = middles[0]
    features += [(blur(gray, width * scale) - middle) / spread for width in SURROUNDINGS]
    smooth = blur(gray, SMOOTH * scale)
    low, high = np.percentile(gray, (10, 90), axis=(1, 2), keepdims=True)
    features += [_ranks(smooth), (smooth - low) / (high - low + 10), smooth]
    texture = blur(gray**2, TEXTURE * scale) - blur(gray, TEXTURE * scale) ** 2
    features += [np.sqrt(np.maximum(0, texture))]
    features += [np.broadcast_to(field, gray.shape) for field in (*_places(side), low, high - low)]
    return np.stack(features, axis=1, dtype=np.float32).reshape(number, -1, side * side)


def blur(values: Features, width: float, border: Literal["nearest", "reflect"] = "nearest") -> Features:
    """Return images (..., S, S) blurred by a Gaussian. `width` is its standard deviation in px."""
    matrix = blur_matrix(values.shape[-1], width, border)
    blurred: Features = matrix @ values @ matrix.T  # for small images, several times as fast as a filter
    return blurred


@cache
def blur_matrix(side: int, width: float, border: str = "nearest") -> Features:
    """Return the matrix (S, S) that blurs each column of an image."""
    return gaussian_filter1d(np.eye(side), width, axis=0, mode=border).astype(np.float32)


def _middle_and_spread(channel: Features) -> tuple[Features, Features, Features]:
    middle = np.median(channel, axis=(1, 2), keepdims=True)
    return channel, middle, np.median(np.abs(channel - middle), axis=(1, 2), keepdims=True) + np.float32(MIN_SPREAD)


def _ranks(channel: Features) -> Features:
    """Return the share of its image that is darker than each pixel, 0..1."""
    order = np.argsort(channel.reshape(len(channel), -1), axis=1, kind="stable")
    ranks = np.empty(order.shape, np.float32)
    np.put_along_axis(ranks, order, np.arange(order.shape[1], dtype=np.float32)[None] / order.shape[1], axis=1)
    return ranks.reshape(channel.shape)


def _places(side: int) -> list[Features]:
    """Return the horizontal, vertical and straight distance from the center, which are the same for every image."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    across, down = np.meshgrid(axis, axis)
    return [np.abs(across), np.abs(down), np.hypot(across, down)]
