"""Image files for the tests of reading."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode(image: Image.Image, file_format: str = "PNG", **settings: Any) -> bytes:
    """Return the content of an image file."""
    content = io.BytesIO()
    image.save(content, file_format, **settings)
    return content.getvalue()


def gray(levels: Any, dtype: type = np.uint8) -> Image.Image:
    """Return an image with these gray levels."""
    return Image.fromarray(np.array(levels, dtype))


def palette(indices: list[list[int]], colors: list[tuple[int, int, int]]) -> Image.Image:
    """Return an image with these palette indices."""
    image = gray(indices)
    image.putpalette(bytes(sum(colors, ())))
    return image


def with_alpha(levels: Any, alpha: Any) -> Image.Image:
    """Return an RGBA image of gray levels and an alpha channel."""
    image = gray(levels).convert("RGB")
    image.putalpha(gray(alpha))
    return image


def exif(orientation: int) -> Image.Exif:
    """Return EXIF data with an orientation."""
    data = Image.Exif()
    data[0x0112] = orientation
    return data


PNG_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def png_chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_16_bit(pixels: NDArray[np.uint16], color_key: tuple[int, ...] = ()) -> bytes:
    """Return a PNG of 16 bits per channel, made by hand, from (H, W, C): gray, gray and alpha, RGB or RGBA."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    key = png_chunk(b"tRNS", struct.pack(f">{len(color_key)}H", *color_key)) if color_key else b""
    chunks = png_chunk(b"IHDR", header) + key + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


SIZES = {"H": 2, "I": 4}


def tiff_16_bit(
    pixels: NDArray[np.uint16],
    order: str = "<",
    *,
    compressed: bool = False,
    extra: int = 2,
    planes: int = 1,
    orientation: int = 1,
) -> bytes:
    """Return a TIFF of 16 bits per channel, made by hand, from RGB or RGBA (H, W, C). `order` is < or >.

    `extra` is the meaning of a fourth channel (0 none, 1 premultiplied alpha, 2 alpha), `planes` 2 for separate planes.
    """
    height, width, channels = pixels.shape
    parts = [pixels] if planes == 1 else [pixels[..., channel] for channel in range(channels)]
    data = [part.astype(f"{order}u2").tobytes() for part in parts]
    data = [zlib.compress(part) for part in data] if compressed else data
    tags: list[tuple[int, str, list[int]]] = [
        (256, "H", [width]),
        (257, "H", [height]),
        (258, "H", [16] * channels),
        (259, "H", [8 if compressed else 1]),
        (262, "H", [2]),
        (273, "I", [0] * len(data)),  # offsets
        (274, "H", [orientation]),
        (277, "H", [channels]),
        (278, "H", [height]),
        (279, "I", list(map(len, data))),
        (284, "H", [planes]),
    ]
    tags += [(338, "H", [extra])] if channels == 4 else []
    outside = 8 + 2 + 12 * len(tags) + 4
    start = outside + sum(len(v) * SIZES[kind] for _, kind, v in tags if len(v) * SIZES[kind] > 4)
    offsets = [start + sum(map(len, data[:index])) for index in range(len(data))]
    entries, values = b"", b""
    for tag, kind, numbers in tags:
        packed = struct.pack(f"{order}{len(numbers)}{kind}", *(offsets if tag == 273 else numbers))
        entries += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(numbers))
        entries += packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}I", outside + len(values))
        values += packed if len(packed) > 4 else b""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}IH", 8, len(tags)) + entries + struct.pack(f"{order}I", 0)
    return head + values + b"".join(data)
