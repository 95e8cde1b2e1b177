"""Images and masks: files to arrays, arrays to files, hashes of pixels, sizes, near-duplicates."""

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from naevi.refusal import Refusal

SUFFIXES = (".bmp", ".png", ".tif", ".tiff", ".jpg", ".jpeg")
NEAR_DUPLICATE = 0.985  # correlation of 32x32 grey pictures; the closest two of PH2 have .974

Pixels = NDArray[np.uint8]


def read_image(source: Path | bytes) -> Pixels:
    """An image, uint8 (H, W, 3); raises Refusal for what isn't one."""
    name = str(source) if isinstance(source, Path) else f"a member of {len(source)} bytes"
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as picture:
            pixels: Pixels = np.asarray(picture.convert("RGB"))
            return pixels
    except (
        Exception
    ) as error:  # a spoilt file makes Pillow raise anything, DecompressionBombError and TypeError included
        raise Refusal(f"{name} can't be read as an image: {error}.") from error


def read_mask(source: Path) -> Pixels:
    """A mask, uint8 (H, W) of 0 and 1, from a picture that holds only black and white; raises Refusal for others."""
    picture = read_image(source)
    values = np.unique(picture)
    white = picture == 255
    mask: Pixels = white.all(axis=2).astype(np.uint8)
    shown = ", ".join(str(value) for value in values[:6]) + ", …" * (len(values) > 6)
    if not set(values.tolist()) <= {0, 255} or (white.any(axis=2) != mask).any():
        colored = " in color" if (picture != picture[..., :1]).any() else ""
        raise Refusal(f"A mask holds 0 (skin) and 255 (lesion) only; {source} holds {shown}{colored}.")
    return mask


def write_image(path: Path, pixels: Pixels) -> None:
    """A PNG of uint8 (H, W) or (H, W, 3); the same pixels give the same bytes."""
    # Level 1 is four times as fast as the default and costs a tenth in size.
    Image.fromarray(pixels).save(path, format="PNG", compress_level=1)


def write_mask(path: Path, mask: Pixels) -> None:
    """A black and white PNG of a mask, uint8 (H, W) of 0 and 1."""
    write_image(path, mask * np.uint8(255))


def pixel_sha256(image: Pixels) -> str:
    """SHA-256 of the decoded picture, uint8 (H, W, 3), and its size: the same for BMP, PNG or any lossless copy."""
    height, width = image.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}\n".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def resize_image(image: Pixels, size: int) -> Pixels:
    """The image as a square, uint8 (size, size, 3); every pixel of the source counts (antialiased)."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_mask(mask: Pixels, size: int) -> Pixels:
    """The mask as a square, uint8 (size, size) of 0 and 1: lesion where lesion covers at least half of the pixel."""
    grey = Image.fromarray(mask * np.uint8(255)).resize((size, size), Image.Resampling.BOX)
    return (np.asarray(grey) >= 128).astype(np.uint8)


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
    block = 1000  # rows at a time: 10,000 pictures stay within 40 MB
    for start in range(0, len(thumbnails), block):
        correlation = thumbnails[start : start + block] @ thumbnails.T
        rows, columns = np.nonzero(correlation >= NEAR_DUPLICATE)
        pairs += [(start + int(i), int(j)) for i, j in zip(rows, columns, strict=True) if start + i < j]
    return pairs
