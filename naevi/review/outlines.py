"""Draw the outline of each class as the path of an SVG, which needs less space than a second picture."""

import numpy as np
from numpy.typing import NDArray

from naevi.images.files import Pixels
from naevi.rendering.colors import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW

CLASS_COLORS = (GREEN, SKY, YELLOW, VERMILION, BLUE, PURPLE, ORANGE)  # of class 1, 2, …; repeated


def outline_paths(mask: Pixels) -> list[tuple[str, str]]:
    """Return the color and the path of each class in a mask, uint8 (H, W), in px. The image border isn't drawn."""
    classes = [int(index) for index in np.unique(mask) if index]
    return [(class_color(index), outline_path(mask == index)) for index in classes]


def class_color(index: int) -> str:
    """Return the color of a class, 1 or higher."""
    return CLASS_COLORS[(index - 1) % len(CLASS_COLORS)]


def outline_path(area: NDArray[np.bool_]) -> str:
    """Return the lines between the pixels of an area (H, W) and those outside it."""
    across = _runs(area[1:] != area[:-1])
    down = _runs((area[:, 1:] != area[:, :-1]).T)
    lines = [f"M{start} {line + 1}h{length}" for line, start, length in across]
    return "".join([*lines, *(f"M{line + 1} {start}v{length}" for line, start, length in down)])


def _runs(edges: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return line, start and length of each run of True in the lines of an array."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return [(int(line), int(start), int(end - start)) for line, start, end in zip(lines, starts, ends, strict=True)]
