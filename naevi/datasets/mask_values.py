"""Decode masks from other programs. A mask can be in the colors of a file or in its alpha channel."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from naevi.config import ReadingConfig
from naevi.datasets.decoding import Note, OpenedFile, open_file, set_orientation
from naevi.datasets.depth import FULL, color_and_alpha
from naevi.datasets.legend import Legend, color_code, to_black_and_white, to_colors
from naevi.images.files import MaskValues, Pixels

IN_COLOR = "is in color"
MAX_COLORS = 8  # of a mask that a message names
ALPHA_USED = Note("Masks read from their alpha channel", "data.reading.mask_alpha")
ALPHA_IGNORED = Note("Masks with transparent pixels, whose alpha channel is ignored", "data.reading.mask_alpha")


class DecodedMask(NamedTuple):
    """A decoded mask."""

    values: MaskValues  # (H, W)
    tag: int  # the EXIF orientation, 1 to 8
    one_value: bool  # whether the file is opaque and of one color, and its alpha channel would be another mask
    notes: list[Note]
    by_index: bool  # whether the values are palette indices, because the gray levels aren't all declared
    indices: MaskValues | None  # palette indices (H, W), if the values are gray levels and these are another mask


class Candidate(NamedTuple):
    """A possible mask: the colors of a file, or its alpha channel."""

    values: NDArray[Any]  # (H, W)
    problem: str  # why these can't be the values of a mask, or ""
    varies: bool
    by_index: bool = False  # whether the values are palette indices


def read_mask_values(source: Path | bytes, name: str, legend: Legend, reading: ReadingConfig) -> DecodedMask:
    """Return the pixel values of a mask: gray levels, palette indices, colors, or its alpha channel (0..255).

    They are colors if the legend has colors, and black and white if it has one class. With gray levels in the legend, a
    mask with a palette is read by its gray levels if all of them are declared, otherwise by its indices. A mask may
    lack some colors of the palette that other masks use, so the choice can differ between masks.
    `conversion.choose_palette_reading` makes them agree. Messages use `name`.

    Raises UserError as `decoding.read_image` does, if the mask is in color and the legend isn't, if a value doesn't fit
    into 16 bits, and if colors and alpha channel are different masks.
    """
    with open_file(source, name, reading) as opened:
        pixels, alpha = _color_and_alpha(opened)
        mask, one_value, notes = _read_colors(opened, pixels, legend), False, opened.notes
        indices = _other_indices(opened, mask, legend)
        if alpha is not None:
            by_alpha = Candidate(alpha, "", _varies(alpha))
            mask, one_value, note = _choose(mask, by_alpha, legend, reading.mask_alpha)
            notes = notes + ([note] if note else [])
            indices = None if mask is by_alpha else indices
        if mask.problem:
            colors = _describe_colors(pixels) if mask.problem == IN_COLOR else ""
            raise ValueError(f"a mask must be gray or have a palette, but this one {mask.problem}{colors}")
        lowest, highest = mask.values.min(), mask.values.max()
        if (lowest < 0 or highest > FULL) and not legend.are_colors:
            raise ValueError(f"mask values must be between 0 and 65535, but these are {lowest} to {highest}")

        def upright(pixels: NDArray[Any]) -> MaskValues:
            return set_orientation(pixels.astype(np.uint32 if legend.are_colors else np.uint16), opened, reading)

        other = None if indices is None else upright(indices)
        return DecodedMask(upright(mask.values), opened.tag, one_value, notes, mask.by_index, other)


def _color_and_alpha(opened: OpenedFile) -> tuple[NDArray[Any], Pixels | None]:
    """Return the colors (H, W, 1 or 3), and the alpha channel (H, W) if there is one."""
    if opened.deep is not None:
        return color_and_alpha(opened.deep)
    image = opened.image
    alpha = np.asarray(image.convert("RGBA").getchannel("A")) if image.has_transparency_data else None
    return np.asarray(image.convert("RGB")), alpha


def _read_colors(opened: OpenedFile, pixels: NDArray[Any], legend: Legend) -> Candidate:
    """Return the mask in the colors (H, W, 1 or 3) or palette indices of a file."""
    if legend.are_colors:
        problem = "has more than 8 bits per channel, and data.classes has colors" * (opened.deep is not None)
        return Candidate(pixels[..., 0] if problem else to_colors(pixels), problem, _varies(pixels))
    if legend.one_class:
        return Candidate(to_black_and_white(pixels), "", _varies(pixels))
    gray, is_colored = pixels[..., 0], bool((pixels != pixels[..., :1]).any())
    indices = _palette_indices(opened)
    if indices is not None and (is_colored or legend.undeclared(gray)):
        return Candidate(indices, "", _varies(indices), by_index=True)
    problem = IN_COLOR * is_colored or "has floating-point pixels" * (gray.dtype.kind == "f")
    return Candidate(gray, problem, _varies(pixels))


def _describe_colors(pixels: Pixels) -> str:
    """Return the colors of a mask (H, W, 3), the most frequent ones first, and what to do."""
    colors, numbers = np.unique(to_colors(pixels), return_counts=True)
    frequent = colors[np.argsort(-numbers, kind="stable")][:MAX_COLORS]
    named = ", ".join(f'"{color_code(color)}"' for color in frequent) + ", …" * (len(colors) > MAX_COLORS)
    return f": {named}. Declare its colors in data.classes"


def _palette_indices(opened: OpenedFile) -> Pixels | None:
    """Return the palette indices (H, W) of a file, or None if it has no palette."""
    if opened.image.mode not in ("P", "PA"):
        return None
    indices = np.asarray(opened.image)
    return indices if indices.ndim == 2 else indices[..., 0]


def _other_indices(opened: OpenedFile, mask: Candidate, legend: Legend) -> Pixels | None:
    """Return the palette indices of a mask that is read by gray levels, if they are another mask."""
    indices = _palette_indices(opened)
    if indices is None or mask.by_index or legend.are_colors or legend.one_class:
        return None
    classes = _classes(Candidate(indices, "", _varies(indices)), legend)
    return indices if classes and classes != _classes(mask, legend) else None


def _varies(pixels: NDArray[Any]) -> bool:
    return bool((pixels != pixels[0, 0]).any())


def _choose(
    by_color: Candidate, by_alpha: Candidate, legend: Legend, setting: str
) -> tuple[Candidate, bool, Note | None]:
    """Return the colors or the alpha channel as the mask, `DecodedMask.one_value`, and a note if there is one.

    Raises ValueError if both are masks and differ.
    """
    if setting == "use" or (setting == "auto" and by_alpha.varies and not by_color.varies):
        return by_alpha, False, ALPHA_USED
    if setting == "ignore":
        return by_color, False, ALPHA_IGNORED if by_alpha.values.min() < 255 else None
    color_classes, alpha_classes = _classes(by_color, legend), _classes(by_alpha, legend)
    # Colors with declared values are the mask if the alpha channel has others, such as 255 among classes 0, 1, 2.
    differ = color_classes != alpha_classes and bool(alpha_classes)
    if by_alpha.values.min() == 255:  # an opaque file
        return by_color, differ and not by_color.varies, None
    if differ and by_alpha.varies == by_color.varies:
        color_text, alpha_text = _describe(by_color, color_classes), _describe(by_alpha, alpha_classes)
        raise ValueError(
            f"its colors ({color_text}) and its alpha channel ({alpha_text}) are different masks. "
            "Set data.reading.mask_alpha to ignore or use"
        )
    return by_color, False, None


def _classes(mask: Candidate, legend: Legend) -> bytes:
    """Return the class of each pixel as a byte; empty if a value is undeclared."""
    too_large = mask.values.min() < 0 or (mask.values.max() > FULL and not legend.are_colors)
    if mask.problem or too_large or legend.undeclared(mask.values):
        return b""
    return legend.to_classes(mask.values.astype(np.uint32 if legend.are_colors else np.uint16)).tobytes()


def _describe(mask: Candidate, classes: bytes) -> str:
    if not classes:
        return mask.problem or "values without a class"
    return f"{len(classes) - classes.count(0)} foreground pixels"
