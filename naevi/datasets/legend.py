"""The legend of masks: which class each value or color is."""

import re
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from naevi.config import DataConfig
from naevi.datasets.depth import FULL
from naevi.datasets.layout import stem
from naevi.errors import UserError
from naevi.images.files import MaskValues, Pixels, undeclared_values, values_to_classes

BLACK, WHITE = 0, 255


class Legend(NamedTuple):
    """The meaning of the values in masks."""

    values: list[int]  # of each class, rising, the background first
    void: list[int]  # of pixels whose class nobody knows, rising
    are_colors: bool = False  # whether values are colors 0xRRGGBB
    one_class: bool = False  # whether a mask shows one class: what isn't black is foreground

    def undeclared(self, mask_values: NDArray[Any]) -> list[int]:
        """Return the values in a mask (H, W) that aren't in the legend, in rising order."""
        return undeclared_values(mask_values, self.values + self.void)

    def to_classes(self, mask_values: MaskValues) -> Pixels:
        """Return the class indices of a mask, see `images.values_to_classes`."""
        return values_to_classes(mask_values, self.values, self.void)

    def nearest(self, mask_values: MaskValues) -> MaskValues:
        """Return a mask (H, W) in which values between those of the legend become the nearest of them.

        In the middle of two, it is the lower one. Gray levels outside the range of the legend stay. Of colors, the
        nearest is that with the smallest sum of squared differences of red, green and blue.
        """
        declared = np.array(sorted(self.values + self.void))
        found, position = _distinct(mask_values)
        # Not as a table of all pixels and all values, which would take gigabytes.
        distance = (_coordinates(found, self.are_colors)[:, None] - _coordinates(declared, self.are_colors)) ** 2
        nearest = declared[distance.sum(axis=-1).argmin(axis=1)]
        if not self.are_colors:
            nearest = np.where((found < declared[0]) | (found > declared[-1]), found, nearest)
        changed: MaskValues = nearest.astype(mask_values.dtype)[position]
        return changed

    def describe(self, value: int) -> str:
        """Return a value as params.yaml has it."""
        return color_code(value) if self.are_colors else str(value)


def read_legend(data: DataConfig) -> Legend:
    """Return the legend of the masks that params.yaml describes."""
    if data.masks.several == "classes":
        return Legend([BLACK, WHITE], [], one_class=True)
    return Legend(data.values(), data.void_values(), data.are_colors())


def class_index(name: str, classes: list[str]) -> int:
    """Return the class that a mask shows by the end of its file name or by a folder, such as nucleus in x_nucleus.png.

    `classes` are the names of the classes, the background first. Of several that fit, it is the longest. Raises
    UserError if none fits.
    """
    ending, folders = stem(name).casefold(), {part.casefold() for part in PurePosixPath(name).parts[:-1]}
    fitting = [
        (len(label), index)
        for index, label in enumerate(map(str.casefold, classes))
        if index and (label in folders or ending == label or re.search(rf"[ _-]{re.escape(label)}$", ending))
    ]
    if not fitting:
        raise UserError(
            f"{name} ends with no name of a class ({', '.join(classes[1:])}). Rename it, or set data.masks.several to "
            "union if the values in the masks are those of classes."
        )
    return max(fitting)[1]


def to_colors(pixels: Pixels) -> NDArray[np.uint32]:
    """Return the colors (H, W) 0xRRGGBB of an image (H, W, 3)."""
    red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
    colors: NDArray[np.uint32] = red << 16 | green << 8 | blue
    return colors


def to_rgb(colors: NDArray[Any]) -> NDArray[Any]:
    """Return red, green and blue of colors 0xRRGGBB, (..., 3)."""
    return np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=-1)


def color_code(color: int) -> str:
    """Return a color 0xRRGGBB as params.yaml has it."""
    return f"#{color:06x}"


def to_black_and_white(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the brightest channel of an image (H, W, C) as gray levels (H, W) in BLACK..WHITE, uint16.

    The brightest value becomes WHITE. Values between are BLACK + 1 ... WHITE - 1.
    """
    gray = pixels.max(axis=-1)
    top = gray.max()
    between = (gray > BLACK) & (gray < top)
    levels = np.where(gray == top, WHITE * bool(top), BLACK).astype(np.uint16)
    levels[between] = np.clip(np.rint(gray[between] / min(top, FULL) * WHITE), BLACK + 1, WHITE - 1)
    return levels


def _distinct(mask_values: MaskValues) -> tuple[MaskValues, NDArray[np.int64]]:
    """Return the values of a mask, rising, and the position of each pixel's value among them (H, W)."""
    if mask_values.dtype == np.uint16:  # ten times as fast as a sort
        found = np.flatnonzero(np.bincount(mask_values.ravel()))
        table = np.zeros(found[-1] + 1, np.int64)
        table[found] = range(len(found))
        return found.astype(np.uint16), table[mask_values]
    colors, position = np.unique(mask_values, return_inverse=True)
    return colors, position.reshape(mask_values.shape)


def _coordinates(values: NDArray[Any], are_colors: bool) -> NDArray[np.int64]:
    """Return numbers whose distances are those of values, (N, 3) for colors and (N, 1) for gray levels."""
    numbers = values.astype(np.int64)
    return to_rgb(numbers) if are_colors else numbers[..., np.newaxis]
