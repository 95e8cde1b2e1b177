"""Read images with more than 8 bits per channel, and scale them to 8 bits.

Of 16-bit color images, Pillow keeps only the high byte of each channel. To get the low byte, the file is opened again
with the byte order swapped.
"""

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile

from naevi.images.files import HEIF, Pixels, open_image

Deep = NDArray[Any]  # (H, W, C) of uint16, int32 or float32; C is 1 (gray), 2 (gray, alpha), 3 or 4 (with alpha)
White = float | Literal["auto"]

FULL = 2**16 - 1  # the largest value of 16 bits
BITS = (8, 10, 12, 14, 16)
# How Pillow reads the high bytes of 16-bit channels, and the low bytes. N is the byte order of this machine.
SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
COLOR_16 = {f"{mode};16{order}": f"{mode};16{SWAPPED[order]}" for mode in ("RGB", "RGBX", "RGBA") for order in "BLN"}
PREMULTIPLIED_OR_CMYK = ("RGBa;16", "CMYK;16")
SEPARATE = 2  # TIFF's PlanarConfiguration
WHITE_IS_ZERO = 0  # TIFF's PhotometricInterpretation
JPEG2000_START = b"\xff\x4f\xff\x51"


def read_deep(image: ImageFile, source: Path | bytes, white: White) -> Deep | None:
    """Return all bits of an image that isn't loaded yet, (H, W, C), or None if it has up to 8 bits per channel.

    Raises ValueError if Pillow can't read all bits, unless `white` is the largest value of these bits.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        white_is_zero = _is_white_zero(image)  # before the pixels are loaded
        deep = _with_color_key(np.asarray(image)[..., None], image)
        return FULL - deep if white_is_zero else deep
    first, *others = _decoder_arguments(image)
    rawmode = str(first)
    if image.format == "PPM" and image.mode == "RGB" and others and others[0] > 255:
        return _read_ppm(image)
    if rawmode == "LA;16B":
        _set_rawmode(image, "RGBA")  # the four bytes of gray and alpha, as if they were channels
        return np.asarray(image).view(">u2").astype(np.uint16)
    if image.format == "TIFF" and _has_deep_planes(image):
        raise ValueError("its channels of 16 bits are in separate planes, which Pillow misreads. Save it as PNG")
    if rawmode in COLOR_16:
        return _with_color_key(_read_color(image, source, COLOR_16[rawmode]), image)
    bits = 16 if rawmode.startswith(PREMULTIPLIED_OR_CMYK) else _bits(image, source)
    if bits > 8 and white != 2**bits - 1:
        raise ValueError(
            f"only 8 of its {bits} bits can be read from {image.format} with {image.mode}. Save it as PNG, or set "
            f"data.reading.white to {2**bits - 1} if all files use the whole range"
        )
    return None


def _is_white_zero(image: Any) -> bool:
    """Return whether an image with 16 bits is stored as a negative. Pillow turns only 8-bit images to positives.

    Raises ValueError for other negatives with more than 8 bits, because the value of black is unknown.
    """
    if image.format != "TIFF" or image.tag_v2.get(Base.PhotometricInterpretation) != WHITE_IS_ZERO:
        return False
    if image.mode == "F":
        raise ValueError("it is a negative with floating-point pixels, whose value of black is unknown")
    return True


def _has_deep_planes(tiff: Any) -> bool:
    tags = tiff.tag_v2
    return bool(tags.get(Base.PlanarConfiguration) == SEPARATE and max(tags.get(Base.BitsPerSample, [1])) > 8)


def _decoder_arguments(image: ImageFile) -> tuple[Any, ...]:
    """Return the arguments of the decoder that Pillow will use: the order of the bytes in the file, and others."""
    arguments = image.tile[0].args if image.tile else None
    return arguments if isinstance(arguments, tuple) and arguments else (arguments or "",)


def _set_rawmode(image: ImageFile, rawmode: str) -> None:
    """Let Pillow read another order of bytes from an image that isn't loaded yet."""
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]


def _read_color(image: ImageFile, source: Path | bytes, low: str) -> Deep:
    bands = [band for band in image.getbands() if band != "X"]
    image.load()  # Pillow turns a TIFF by its EXIF tag now
    deep = np.empty((image.height, image.width, len(bands)), np.uint16)
    with open_image(source) as second:
        second.seek(image.tell())
        _set_rawmode(second, low)
        for index, band in enumerate(bands):  # one by one, because of the memory
            deep[..., index] = np.asarray(image.getchannel(band))
            deep[..., index] <<= 8
            deep[..., index] |= np.asarray(second.getchannel(band))
    return deep


def _read_ppm(image: ImageFile) -> Deep:
    """Return a color PPM as 16 bits. It is read as a gray image of three times the width."""
    (tile,), (_, highest) = image.tile, _decoder_arguments(image)
    width, height = image.size
    image._mode, image._size = "I", (3 * width, height)  # what Pillow's plugins set
    image.tile = [tile._replace(extents=(0, 0, 3 * width, height), args=("I", highest))]
    return np.asarray(image).reshape(height, width, 3).astype(np.uint16)


def _with_color_key(deep: Deep, image: ImageFile) -> Deep:
    """Return 16-bit values as uint16, with an alpha channel if PNG declares one value as transparent."""
    if deep.dtype.kind in "iu" and deep.min() >= 0 and deep.max() <= FULL:
        deep = deep.astype(np.uint16, copy=False)
    key = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(key, int | tuple):
        return deep
    opaque = (deep != np.array(key, np.uint16)).any(axis=2, keepdims=True)
    return np.concatenate([deep, opaque * np.uint16(FULL)], axis=2)


def _bits(image: ImageFile, source: Path | bytes) -> int:
    """Return the bits per channel of a JPEG 2000 or HEIC image; 8 for other formats."""
    if image.format == HEIF:
        return int(image.info.get("bit_depth", 8))
    if image.format != "JPEG2000":
        return 8
    data = source.read_bytes() if isinstance(source, Path) else source
    size = data.index(JPEG2000_START) + len(JPEG2000_START)  # of the header, whose 39th byte has the depth
    return (data[size + 38] & 127) + 1


def color_and_alpha(deep: Deep) -> tuple[Deep, Pixels | None]:
    """Return the values (H, W, 1 or 3) and the alpha channel (H, W), 0..255, of an image if it has one."""
    if deep.shape[2] in (1, 3):
        return deep, None
    return deep[..., :-1], (deep[..., -1] // (FULL // 255)).astype(np.uint8)


def highest_value(color: Deep, white: White) -> float:
    """Return the largest value. Raises ValueError if the range is unknown or the values can't be brightness."""
    lowest, highest = float(color.min()), float(color.max())
    if not (lowest >= 0 and highest < float("inf")):  # also if they are NaN
        raise ValueError("it has values that are negative, infinite or undefined (NaN). Save it without them")
    if white == "auto" and (color.dtype.kind == "f" or highest > FULL):
        kind = "floating-point pixels" if color.dtype.kind == "f" else "values above 16 bits"
        raise ValueError(f"it has {kind} (up to {highest:.10g}), whose range is unknown. Set data.reading.white to it")
    return highest


def bits_in_use(highest: float) -> int:
    """Return the smallest usual bit depth (BITS) that can hold the largest value of 16-bit images."""
    return next(bits for bits in BITS if highest < 2**bits)


def scale_to_8_bits(color: Deep, white: float) -> Pixels:
    """Return the values as 0..255, rounded down. `white` and all larger values become 255."""
    if color.dtype == np.uint16:
        table = np.minimum(np.arange(FULL + 1) * 255.0 / white, 255).astype(np.uint8)
        scaled: Pixels = table[color]
        return scaled
    return np.minimum(color * 255.0 / white, 255).astype(np.uint8)
