"""Describe each pixel of small images by its color, surroundings and place, relative to the rest of its image."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from naevi.images.files import Pixels
from naevi.preprocessing.prepare import REVIEWED_SIDES

SIDE = max(REVIEWED_SIDES)  # px. All lengths in px are those of images of this size; in smaller images they are shorter
COLOR_FEATURES = 9  # the first features: three color channels, each at three scales
BLURS = (0.7, 2.0, 5.0)  # px
SURROUNDINGS = (10.0, 20.0)  # px
SMOOTH, TEXTURE = 1.0, 2.0  # px
MIN_SPREAD = 4.0  # gray levels, so that the noise of a flat image doesn't become contrast

Features = NDArray[np.float32]


def pixel_features(images: Pixels) -> Features:
    """Return float32 (N, F, S * S) for images, uint8 (N, S, S, 3). Images don't affect each other.

    Colors are brightness, red against green, and blue against both, relative to the image's median and spread.
    """
    number, side = images.shape[:2]
    red, green, blue = np.moveaxis(images, -1, 0).astype(np.float32, order="C")
    gray = (red + green + blue) / 3
    middles = [_middle_and_spread(channel) for channel in (gray, red - green, blue - (red + green) / 2)]
    features = [(blur(channel, width) - middle) / spread for channel, middle, spread in middles for width in BLURS]
    _, middle, spread = middles[0]
    features += [(blur(gray, width) - middle) / spread for width in SURROUNDINGS]
    smooth = blur(gray, SMOOTH)
    low, high = np.percentile(gray, (10, 90), axis=(1, 2), keepdims=True)
    features += [_ranks(smooth), (smooth - low) / (high - low + 10), smooth]
    texture = blur(gray**2, TEXTURE) - blur(gray, TEXTURE) ** 2
    features += [np.sqrt(np.maximum(0, texture))]
    features += [np.broadcast_to(field, gray.shape) for field in (*_places(side), low, high - low)]
    return np.stack(features, axis=1, dtype=np.float32).reshape(number, -1, side * side)


def blur(values: Features, width: float) -> Features:
    """Return images (..., S, S) blurred by a Gaussian. `width` is its standard deviation."""
    matrix = _blur_matrix(values.shape[-1], width)
    return np.asarray(matrix @ values @ matrix.T, np.float32)  # for small images, several times as fast as a filter


@cache
def _blur_matrix(side: int, width: float) -> Features:
    """Return the matrix (S, S) that blurs each column of an image."""
    matrix = gaussian_filter1d(np.eye(side), width * side / SIDE, axis=0, mode="nearest")
    return np.asarray(matrix, np.float32)


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
