"""Decode image files of any origin. If a file can be read in several ways, data.reading of params.yaml decides.

Each such decision is a note beside the pixels, so that it can be counted and printed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile

from naevi.config import ReadingConfig
from naevi.datasets.depth import FULL, Deep, color_and_alpha, highest_value, read_deep, scale_to_8_bits
from naevi.datasets.orientation import UPRIGHT, orientation_tag, turn, turn_back
from naevi.errors import UserError
from naevi.images.files import MAX_PIXELS, Pixels, open_image

MAX_SIDE_PX = 2**15 - 1  # MONAI computes distances with 16 bits, and a JPEG has at most 65,500 px
MAX_PAGES = 100  # of a TIFF that are searched for one that isn't a smaller copy. Each costs time to open
REDUCED = 1  # the bit of TIFF's NewSubfileType that marks a smaller copy of another page
# A new image is refused if its largest value is at most white / 16 (nearly black) or at least 4 * white (nearly white).
DARKEST, BRIGHTEST = 1 / 16, 4


class Note(NamedTuple):
    """A decision that was made when a file was read."""

    decision: str
    parameter: str


ALPHA_NOTES = {
    "white": Note("Images with transparent pixels, put on white", "data.reading.image_alpha"),
    "black": Note("Images with transparent pixels, put on black", "data.reading.image_alpha"),
    "ignore": Note("Images with transparent pixels, whose alpha channel is ignored", "data.reading.image_alpha"),
}
FIRST_PAGE = Note("Files with several pages, of which the first is read", "data.reading.pages")
TAG_IGNORED = Note("Files whose EXIF orientation is ignored", "data.reading.orientation")


class OpenedFile(NamedTuple):
    """An opened image file, with all its bits if it has more than 8 per channel."""

    image: ImageFile
    deep: Deep | None
    tag: int  # the EXIF orientation, 1 to 8
    notes: list[Note]


class DecodedImage(NamedTuple):
    """A decoded image."""

    pixels: Pixels  # (H, W, 3)
    tag: int  # the EXIF orientation, 1 to 8
    highest: float | None  # the largest value of an image with more than 8 bits per channel
    notes: list[Note]


def read_image(source: Path | bytes, name: str, reading: ReadingConfig) -> DecodedImage:
    """Return an image as uint8 (H, W, 3). CMYK, gray and palettes become RGB.

    With more than 8 bits per channel, `reading.white` becomes 255. If it is auto, 65535 becomes 255.
    Messages use `name`.

    Raises UserError if the source can't be read as an image, has more than images.MAX_PIXELS or MAX_SIDE_PX, or has
    several pages and `reading` refuses them.
    """
    with open_file(source, name, reading) as opened:
        highest, notes = None, opened.notes
        image: Image.Image | Pixels = opened.image
        if opened.deep is not None:
            color, alpha = color_and_alpha(opened.deep)
            highest = highest_value(color, reading.white)
            image = _join(scale_to_8_bits(color, FULL if reading.white == "auto" else reading.white), alpha)
        if isinstance(image, Image.Image) and image.has_transparency_data:
            image, is_transparent = _without_alpha(image, reading.image_alpha)
            notes = notes + [ALPHA_NOTES[reading.image_alpha]] * is_transparent
        pixels = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
        return DecodedImage(set_orientation(pixels, opened, reading), opened.tag, highest, notes)


def read_new_image(source: Path | bytes, name: str, reading: ReadingConfig) -> DecodedImage:
    """Return an image for a trained model. `reading` says how its training images were read.

    Raises UserError as `read_image` does, and if its range of values is far from that of the training images.
    """
    image, white = read_image(source, name, reading), reading.white
    if image.highest and white != "auto" and not white * DARKEST < image.highest < white * BRIGHTEST:
        raise UserError(
            f"{name} can't be read as an image: its largest value is {image.highest:.10g}, but white was {white:.10g} "
            "when this model was trained. Convert the image, or change white in predict.json."
        )
    return image


def image_size(source: Path | bytes, name: str) -> tuple[int, int]:
    """Return height and width of the page that `open_file` reads, before any pixel is decoded.

    Raises UserError if it can't be read as an image or is too large. Messages use `name`.
    """
    with open_image(source, name) as image:
        _select_page(image)
        return image.height, image.width


@contextmanager
def open_file(source: Path | bytes, name: str, reading: ReadingConfig) -> Iterator[OpenedFile]:
    """Open an image file or its content. Raises UserError for each error that occurs until it is closed."""
    with open_image(source, name) as image:
        has_more, notes = _select_page(image), []
        if has_more and reading.pages == "refuse":
            raise ValueError(
                "it has more than one page. Save the page to read as a file of its own. For training, you can also set "
                "data.reading.pages to first"
            )
        if has_more:
            notes.append(FIRST_PAGE)
        # When Pillow loads the pixels, it finds the tag of a PNG and removes the tag of a TIFF.
        tag = orientation_tag(image) if image.format == "TIFF" else None
        deep = read_deep(image, source, reading.white)
        tag = orientation_tag(image) if tag is None else tag
        if tag != UPRIGHT and reading.orientation == "ignore":
            notes.append(TAG_IGNORED)
        yield OpenedFile(image, deep, tag, notes)


def set_orientation(pixels: NDArray[Any], opened: OpenedFile, reading: ReadingConfig) -> NDArray[Any]:
    """Return the loaded pixels (H, W, ...) as a viewer shows them, or as stored if `reading` ignores orientation."""
    # Pillow has already turned a TIFF.
    stored = turn_back(pixels, opened.tag) if opened.image.format == "TIFF" else pixels
    return stored if reading.orientation == "ignore" else turn(stored, opened.tag)


def _select_page(image: ImageFile) -> bool:
    """Go to the first page that isn't a smaller copy of another one; return whether there are other such pages.

    Raises ValueError if the page is too large.
    """
    # The second picture of an MPO, a JPEG from a phone, is a preview or a depth map.
    has_more = image.format != "MPO" and getattr(image, "is_animated", False)
    if has_more and image.format == "TIFF":
        has_more = _select_tiff_page(image)
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE_PX:
        raise ValueError(
            f"it has {image.width} x {image.height} px, but at most {MAX_PIXELS:,} pixels and {MAX_SIDE_PX:,} px a "
            "side are possible. Make it smaller"
        )
    return has_more


def _select_tiff_page(image: ImageFile) -> bool:
    full: list[int] = []
    page = 0
    while len(full) < 2 and page < MAX_PAGES:
        try:
            image.seek(page)
        except EOFError:
            break
        if not image.tag_v2.get(Base.NewSubfileType, 0) & REDUCED:  # type: ignore[attr-defined]  # of TIFF only
            full.append(page)
        page += 1
    image.seek(full[0] if full else 0)
    return len(full) > 1 or page == MAX_PAGES


def _join(color: Pixels, alpha: Pixels | None) -> Image.Image | Pixels:
    """Return the values (H, W, 1 or 3) as pixels (H, W, 3), or with the alpha channel (H, W) as an image."""
    color = np.repeat(color, 3, axis=2) if color.shape[2] == 1 else color
    if alpha is None:
        return color
    image = Image.fromarray(color)
    image.putalpha(Image.fromarray(alpha))
    return image


def _without_alpha(image: Image.Image, setting: str) -> tuple[Image.Image, bool]:
    """Return an image without its alpha channel, and whether any pixel is transparent."""
    with_alpha = image.convert("RGBA")
    lowest, _ = with_alpha.getchannel("A").getextrema()
    if lowest == 255:
        return with_alpha, False
    if setting == "ignore":
        return image, True
    return Image.alpha_composite(Image.new("RGBA", image.size, setting), with_alpha), True
