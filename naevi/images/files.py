"""Read, write, resize and hash the images and masks of this pipeline. `datasets.decoding` reads those of others.

A mask is an array of class indices, 0 for the background and `VOID` for pixels without a known class. On disk
it is a PNG with a palette, so that people can view it. `values_to_classes` converts the pixel values of masks from
other sources to class indices.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from naevi.errors import UserError, describe_error, describe_file_error

# The formats that are read, as Pillow names them, and the suffixes of their files. Nothing else is opened, whatever a
# file's name is: for PostScript, Pillow would start another program.
FORMATS = {
    "BMP": (".bmp",),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff", ".btf"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm"),
}
# HEIC photographs of phones are read if one of these packages is installed. Their wheels have parts under the GPL.
HEIF, HEIF_SUFFIXES, HEIF_PLUGINS = "HEIF", (".heic", ".heif", ".hif"), ("pillow_heif", "pi_heif")
IMAGE_SUFFIXES = (*(suffix for suffixes in FORMATS.values() for suffix in suffixes), *HEIF_SUFFIXES)
# Why a file can't be read and what to do, by its first bytes.
UNREAD = {
    rb"....ftyp.{0,80}?(hei[cxms]|hev[cx])": (
        "it is a HEIC photograph. Install pillow-heif (`pip install pillow-heif`), or convert it to PNG or JPEG"
    ),
    rb"II[*+]\0|MM\0[*+]": (
        "it is a damaged TIFF, or one of a kind that isn't read, such as with 64 bits. Save it as PNG"
    ),
}
# Images of data/raw in these formats stay as they are, with these suffixes. The files are small, and their decoders
# compute with integers, so that other versions of Pillow give the same pixels. MPO is a JPEG of a phone with a preview.
KEPT_FORMATS = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp"}
MAX_PIXELS = 50_000_000
VOID = 255  # in masks: the index of pixels without a known class, which are in no loss and no score
READING_FILE = "reading.json"  # in data/raw: how its images were read, as far as predictions must read theirs alike

# Colors of masks on disk: black and white, then the palette of Okabe and Ito, repeated.
COLORS = "000000 ffffff" + 32 * " e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 808080"
PALETTE = bytes.fromhex(COLORS)[: 3 * 256]

# Pillow warns above this number, and raises above twice this number before it allocates memory. A GIF of 37 bytes can
# have a frame of 2 GB.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

Pixels = NDArray[np.uint8]
MaskValues = NDArray[np.uint16 | np.uint32]  # gray levels or palette indices, uint16, or colors 0xRRGGBB, uint32


def read_image(source: Path | bytes, name: str = "") -> Pixels:
    """Return an image of this pipeline as viewers show it, uint8 (H, W, 3), from a file or its content.

    Raises UserError if it can't be read, with `name` if it is given.
    """
    with open_image(source, name) as image:
        return _pixels(image)


def _pixels(image: ImageFile) -> Pixels:
    ImageOps.exif_transpose(image, in_place=True)
    pixels: Pixels = np.asarray(image.convert("RGB"))
    return pixels


def kept_suffix(content: bytes, pixels: Pixels) -> str:
    """Return the suffix of a file that can be kept as an image of data/raw, or "" if it must be written as PNG.

    It can be kept if `read_image` would return these pixels (H, W, 3).
    """
    try:
        with open_image(content) as image:
            suffix = KEPT_FORMATS.get(str(image.format), "")
            return suffix if suffix and np.array_equal(_pixels(image), pixels) else ""
    except UserError:  # Pillow decodes some files with corrupt EXIF data, but can't turn them
        return ""


def undeclared_values(mask_values: NDArray[Any], values: list[int]) -> list[int]:
    """Return the values in a mask (H, W) that aren't in `values`, in rising order."""
    found: list[int] = np.unique(mask_values[~np.isin(mask_values, values)]).tolist()
    return found


def values_to_classes(mask_values: MaskValues, values: list[int], void: list[int]) -> Pixels:
    """Return the class indices of a mask, uint8 (H, W): the position of each pixel in `values`, or VOID if in `void`.

    Values in neither become 0.
    """
    class_indices = np.zeros(2**16 if mask_values.dtype == np.uint16 else 2**24, np.uint8)
    class_indices[values], class_indices[void] = range(len(values)), VOID
    mask: Pixels = class_indices[mask_values]
    return mask


def read_mask(source: Path | bytes, name: str = "") -> Pixels:
    """Return a mask that `write_mask` wrote, uint8 (H, W) of class indices, from a file or its content.

    Raises UserError for any other file, with `name` if it is given.
    """
    with open_image(source, name) as image:
        if image.mode != "P":
            raise ValueError("masks of this pipeline have a palette")
        mask: Pixels = np.asarray(image)
        return mask


@contextmanager
def open_image(source: Path | bytes, name: str = "") -> Iterator[ImageFile]:
    """Open an image file or its content. Messages use `name` if it is given.

    Raises UserError for each error that occurs until the image is closed, and if it has more than MAX_PIXELS.
    """
    name = name or (str(source) if isinstance(source, Path) else f"Data of {len(source)} bytes")
    try:
        with Image.open(
            source if isinstance(source, Path) else io.BytesIO(source), formats=readable_formats()
        ) as image:
            yield image
    except Image.DecompressionBombError as error:
        reason = describe_error(error).partition(",")[0]  # the rest is about attacks
        raise UserError(f"{name} can't be read as an image: {reason}. Make it smaller.") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name} can't be read as an image: {_why_unread(source)}.") from error
    except Exception as error:  # a corrupt file makes Pillow raise anything, SyntaxError and TypeError included
        if problem := describe_file_error(error):
            raise UserError(problem) from error
        raise UserError(f"{name} can't be read as an image: {describe_error(error)}.") from error


@cache
def readable_formats() -> list[str]:
    """Return the formats that can be opened here."""
    for plugin in HEIF_PLUGINS:
        with suppress(ImportError):
            import_module(plugin).register_heif_opener()
            return [*FORMATS, HEIF]
    return list(FORMATS)


def _why_unread(source: Path | bytes) -> str:
    """Return why Pillow doesn't recognize a file, and what to do."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            source = file.read(100)
    found = (reason for start, reason in UNREAD.items() if re.match(start, source, re.DOTALL))
    return next(found, f"its format is unknown. Save it as {', '.join(FORMATS)}")


def write_image(path: Path, pixels: Pixels) -> None:
    """Write uint8 (H, W) or (H, W, 3) as PNG. Equal pixels give equal bytes."""
    # Level 1 is four times as fast as the default, and the file is a tenth larger.
    Image.fromarray(pixels).save(path, format="PNG", compress_level=1)


def write_mask(file: Path | IO[bytes], mask: Pixels) -> None:
    """Write a mask, uint8 (H, W) of class indices, as PNG: background black, class 1 white, the others in colors."""
    image = Image.fromarray(mask)
    image.putpalette(PALETTE)
    image.save(file, format="PNG", compress_level=1)


def is_foreground(mask: Pixels) -> NDArray[np.bool_]:
    """Return where a mask (H, W) has a class besides the background."""
    foreground: NDArray[np.bool_] = (mask > 0) & (mask != VOID)
    return foreground


def pixel_sha256(image: Pixels) -> str:
    """Return the SHA-256 of the size and the decoded pixels, uint8 (H, W, 3).

    BMP, PNG and every other lossless copy give the same hash.
    """
    height, width = image.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}\n".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def resize_image(image: Pixels, size: int) -> Pixels:
    """Return the image as an antialiased square, uint8 (size, size, 3)."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_mask(mask: Pixels, size: tuple[int, int]) -> Pixels:
    """Return a mask at `size` (width, height). Each pixel gets the class that covers most of it, or is VOID.

    If a class and the background cover half of a pixel each, the class wins.
    """
    present = np.flatnonzero(np.bincount(mask.ravel())[1:]) + 1
    if not len(present):
        return np.zeros(size[::-1], np.uint8)
    coverages = [_coverage(mask == class_index, size) for class_index in present]
    largest, most = np.zeros(size[::-1], np.uint8), 255 - sum(coverages)
    for class_index, coverage in zip(present[::-1], coverages[::-1], strict=True):  # the first of equal classes wins
        np.copyto(largest, class_index, where=coverage >= most, casting="unsafe")
        most = np.maximum(most, coverage)
    return largest


def _coverage(area: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.int16]:
    """Return how much of each pixel an area covers, 0..255."""
    full = Image.fromarray(area.astype(np.uint8) * np.uint8(255))
    return np.asarray(full.resize(size, Image.Resampling.BOX)).astype(np.int16)
