"""Images and masks: files to arrays, arrays to files, hashes of pixels, sizes, near-duplicates.

Masks are arrays of classes, 0 for the background. On disk they are PNGs with a palette, so that people see them too.
What the levels of other people's masks mean is asked once, by `classes`.
"""

import hashlib
import io
import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from naevi.refusal import Refusal, reason

SUFFIXES = (".bmp", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".gif", ".jp2", ".pgm", ".ppm")
MOST_PIXELS = 50_000_000
NEAR_DUPLICATE = 0.985  # correlation of 32x32 grey pictures; the closest two of PH2 have .974

# Of masks on disk: black and white, then Okabe and Ito's colors, again and again.
COLORS = "000000 ffffff" + 32 * " e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 808080"
PALETTE = bytes.fromhex(COLORS)[: 3 * 256]

# Pillow warns from here on, and refuses twice as many before it takes memory for them: a GIF of 37 bytes can have a
# frame of 2 GB.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

Pixels = NDArray[np.uint8]
Levels = NDArray[np.uint16]


def read_image(source: Path | bytes, name: str = "") -> Pixels:
    """An image as a viewer shows it, uint8 (H, W, 3): turned by its EXIF tag, on white where it is transparent.

    16 bits a channel become 8; CMYK, grey and palettes become RGB. `name` is for messages where the source has none.

    Raises Refusal for what is no image, and for more than MOST_PIXELS.
    """
    with _opened(source, name) as picture:
        if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip
            grey = np.clip(np.asarray(picture) // 257, 0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if picture.mode == "F":
            raise ValueError("it holds fractions, whose black and white nobody knows; save it with 8 or 16 bits")
        if picture.has_transparency_data:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        pixels: Pixels = np.asarray(picture.convert("RGB"))
        return pixels


def read_levels(source: Path | bytes, values: list[int], name: str = "") -> Levels:
    """What a mask from elsewhere holds, uint16 (H, W): levels of grey, or numbers in a palette.

    A palette counts by its greys where `values` has them all, else by its numbers: one that has colors for other masks
    may show this one in black and white.

    Raises Refusal as `read_image` does, for a mask in color, and for one with levels beyond 16 bits.
    """
    with _opened(source, name) as picture:
        if picture.mode.startswith("I"):
            levels = np.asarray(picture)
        else:
            pixels = np.asarray(picture.convert("RGB"))
            levels, colored = pixels[..., 0], (pixels != pixels[..., :1]).any()
            if picture.mode == "P" and (colored or strange(levels, values)):
                levels = np.asarray(picture)
            elif picture.mode == "F" or colored:
                wrong = "is in color" if colored else "holds fractions"
                raise ValueError(f"a mask is grey or has a palette, and this one {wrong}")
        if levels.min() < 0 or levels.max() >= 2**16:
            raise ValueError(f"a mask holds 0 to 65535, and this one {levels.min()} to {levels.max()}")
        return levels.astype(np.uint16)


def strange(levels: NDArray[Any], values: list[int]) -> list[int]:
    """The levels (H, W) that no class has, in rising order."""
    return sorted(set(np.flatnonzero(np.bincount(levels.ravel())).tolist()) - set(values))


def classes(levels: Levels, values: list[int]) -> Pixels:
    """The classes of a mask, uint8 (H, W) of 0 ... K - 1: where in `values` each level stands; 0 for strange ones."""
    places = np.zeros(2**16, np.uint8)
    places[values] = range(len(values))
    mask: Pixels = places[levels]
    return mask


def read_mask(path: Path) -> Pixels:
    """A mask that `write_mask` wrote, uint8 (H, W) of classes."""
    with _opened(path) as picture:
        if picture.mode != "P":
            raise ValueError("masks of this pipeline have a palette")
        mask: Pixels = np.asarray(picture)
        return mask


@contextmanager
def _opened(source: Path | bytes, name: str = "") -> Iterator[Image.Image]:
    name = name or (str(source) if isinstance(source, Path) else f"a member of {len(source)} bytes")
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as picture:
            ImageOps.exif_transpose(picture, in_place=True)  # else a copy, and the largest picture takes over 1 GB
            yield picture
    except Image.DecompressionBombError as error:
        told = reason(error).partition(",")[0]  # the rest speaks of attacks
        raise Refusal(f"{name} can't be read as an image: {told}; make it smaller.") from error
    except UnidentifiedImageError as error:
        raise Refusal(f"{name} can't be read as an image: its format is unknown.") from error
    except Exception as error:  # a spoilt file makes Pillow raise anything, SyntaxError and TypeError included
        raise Refusal(f"{name} can't be read as an image: {reason(error)}.") from error


def write_image(path: Path, pixels: Pixels) -> None:
    """A PNG of uint8 (H, W) or (H, W, 3); the same pixels give the same bytes."""
    # Level 1 is four times as fast as the default and costs a tenth in size.
    Image.fromarray(pixels).save(path, format="PNG", compress_level=1)


def write_mask(file: Path | IO[bytes], mask: Pixels) -> None:
    """A PNG of a mask, uint8 (H, W) of classes: the background black, class 1 white, others in colors."""
    picture = Image.fromarray(mask)
    picture.putpalette(PALETTE)
    picture.save(file, format="PNG", compress_level=1)


def pixel_sha256(image: Pixels) -> str:
    """SHA-256 of the decoded picture, uint8 (H, W, 3), and its size: the same for BMP, PNG or any lossless copy."""
    height, width = image.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}\n".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def resize_image(image: Pixels, size: int) -> Pixels:
    """The image as a square, uint8 (size, size, 3); every pixel of the source counts (antialiased)."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_mask(mask: Pixels, size: tuple[int, int], number: int) -> Pixels:
    """A mask of `number` classes at `size` (width, height): each pixel's is the one that covers most of it.

    Of two that cover half each, the background loses.
    """
    cover = [_cover(mask == place, size) for place in range(1, number)]
    background = 255 - np.sum(cover, axis=0)
    largest: Pixels = ((np.argmax([*cover, background], axis=0) + 1) % number).astype(np.uint8)
    return largest


def _cover(area: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.int16]:
    """How much of each pixel an area covers, 0..255."""
    full = Image.fromarray(area.astype(np.uint8) * np.uint8(255))
    return np.asarray(full.resize(size, Image.Resampling.BOX)).astype(np.int16)


def thumbnail(image: Pixels) -> NDArray[np.float32]:
    """The grey 32x32 picture as a vector, float32 (1024,), with mean 0 and length 1 (all zero for one flat color)."""
    grey = np.asarray(Image.fromarray(image).convert("L").resize((32, 32), Image.Resampling.BOX), dtype=np.float32)
    vector = grey.ravel() - grey.mean()
    length = float(np.linalg.norm(vector))
    unit: NDArray[np.float32] = vector / np.float32(length) if length > 0 else vector
    return unit


def near_duplicates(thumbnails: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs (i < j) of pictures whose thumbnails, float32 (N, 1024), correlate at NEAR_DUPLICATE or more."""
    pairs = []
    block = 1000  # pictures at a time: however many there are, a table of 4 MB
    for start, other in itertools.combinations_with_replacement(range(0, len(thumbnails), block), 2):
        correlation = thumbnails[start : start + block] @ thumbnails[other : other + block].T
        rows, columns = np.nonzero(correlation >= NEAR_DUPLICATE)
        pairs += [(start + int(i), other + int(j)) for i, j in zip(rows, columns, strict=True) if start + i < other + j]
    return sorted(pairs)
