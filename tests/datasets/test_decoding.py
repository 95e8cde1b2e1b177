"""Image files of any origin are read as a viewer shows them, unless data.reading says otherwise."""

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2

from naevi.config import ReadingConfig
from naevi.datasets.decoding import image_size, read_image, read_new_image
from naevi.datasets.ph2 import READING
from naevi.errors import UserError
from naevi.images.files import Pixels, pixel_sha256
from tests.datasets.image_files import encode, exif, gray, palette, png_16_bit, tiff_16_bit, with_alpha

RED, GRAY, WHITE = (255, 0, 0), (80, 80, 80), (255, 255, 255)


def reading(**changes: Any) -> ReadingConfig:
    """Return the committed settings with others."""
    settings = {
        "orientation": "auto",
        "white": "auto",
        "image_alpha": "white",
        "mask_alpha": "auto",
        "pages": "refuse",
    }
    return ReadingConfig.model_validate(settings | changes)


def pixels(content: bytes, **changes: Any) -> Any:
    """Return the pixels of an image as nested lists."""
    return read_image(content, "a.png", reading(**changes)).pixels.tolist()


def notes(content: bytes, **changes: Any) -> dict[str, str]:
    """Return the decisions that were made, with their parameters."""
    return dict(read_image(content, "a.png", reading(**changes)).notes)


def problem(content: bytes, **changes: Any) -> str:
    """Return why an image can't be read."""
    with pytest.raises(UserError) as error:
        read_image(content, "a.png", reading(**changes))
    return str(error.value).removeprefix("a.png can't be read as an image: ")


def random_image(seed: int, height: int = 5, width: int = 7) -> Pixels:
    """Return noise, uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encode(gray([[7, 200]])), [[7] * 3, [200] * 3]),
        (encode(gray([[0, 255]]).convert("1"), "BMP"), [[0] * 3, [255] * 3]),
        (encode(palette([[0, 1]], [(0, 0, 0), GRAY])), [[0] * 3, [80] * 3]),
        (encode(palette([[1, 0]], [RED, (1, 2, 3)])), [[1, 2, 3], [255, 0, 0]]),
        (encode(palette([[1, 0]], [RED, (1, 2, 3)]), transparency=0), [[1, 2, 3], [255] * 3]),
        # A level of 8 bits is 257 times as large in 16 bits: 0x0707 and 0xffff. Fractions are dropped.
        (encode(gray([[7 * 257, 65535]], np.uint16)), [[7] * 3, [255] * 3]),
        (encode(gray([[7 * 257 + 128, 65535]], np.uint16), "TIFF"), [[7] * 3, [255] * 3]),
        (encode(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [[255, 0, 0]]),
        # Half-transparent black on white is gray, and fully transparent pixels are white.
        (encode(Image.new("RGBA", (1, 1), (0, 0, 0, 128))), [[127] * 3]),
        (encode(Image.new("LA", (1, 1), (0, 0))), [[255] * 3]),
        (encode(Image.new("RGBA", (1, 1), (1, 2, 3, 255))), [[1, 2, 3]]),
    ],
    ids=[
        "gray",
        "1-bit",
        "gray-palette",
        "palette",
        "transparent-palette",
        "16-bit",
        "tiff-16-bit",
        "cmyk",
        "half-transparent",
        "transparent",
        "opaque",
    ],
)
def test_an_image_is_read_as_a_viewer_shows_it(content: bytes, expected: list[list[int]]) -> None:
    image = read_image(content, "a.png", reading()).pixels

    assert image.tolist() == [expected]
    assert image.dtype == np.uint8


def test_the_hash_does_not_depend_on_the_file_format() -> None:
    hashes = set()
    for file_format in ("BMP", "PNG", "TIFF"):
        content = encode(Image.fromarray(random_image(0)), file_format)
        hashes.add(pixel_sha256(read_image(content, "a", READING).pixels))

    assert hashes == {pixel_sha256(random_image(0))}


@pytest.mark.parametrize(
    ("file_format", "settings"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})],
)
def test_the_exif_orientation_is_applied_or_ignored(file_format: str, settings: dict[str, Any]) -> None:
    """Orientation 6: the file must be rotated by 90 degrees clockwise."""
    stored = random_image(0)
    content = encode(Image.fromarray(stored), file_format, exif=exif(6), **settings)

    for orientation in ("auto", "apply"):
        image = read_image(content, "a", reading(orientation=orientation))
        assert np.array_equal(image.pixels, np.rot90(stored, -1))
        assert (image.tag, image.notes) == (6, [])
    image = read_image(content, "a", reading(orientation="ignore"))
    assert np.array_equal(image.pixels, stored)
    assert image.notes == [("Files whose EXIF orientation is ignored", "data.reading.orientation")]


@pytest.mark.parametrize("tag", range(1, 9))
def test_each_exif_orientation_is_applied_as_pillow_does(tag: int) -> None:
    content = encode(Image.fromarray(random_image(0)), "PNG", exif=exif(tag))

    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_image(content, "a", reading()).pixels, expected)


def test_an_unknown_exif_orientation_is_upright() -> None:
    content = encode(Image.fromarray(random_image(0)), "PNG", exif=exif(9))

    assert read_image(content, "a", reading(orientation="ignore")).tag == 1
    assert notes(content, orientation="ignore") == {}


@pytest.mark.parametrize("compressed", [False, True])
def test_a_16_bit_image_is_turned_too(compressed: bool) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint16)
    for content in (
        encode(gray(levels[..., 0] * 257, np.uint16), "PNG", exif=exif(6)),
        tiff_16_bit(levels * 257, compressed=compressed, orientation=6),
    ):
        image = read_image(content, "a", reading())
        assert np.array_equal(image.pixels[..., 0], np.rot90(levels[..., 0], -1))
        assert image.tag == 6
        stored = read_image(content, "a", reading(orientation="ignore")).pixels
        assert np.array_equal(stored[..., 0], levels[..., 0])


def test_transparent_pixels_are_put_on_white_or_black_or_ignored() -> None:
    content = encode(with_alpha([[100, 100, 100]], [[255, 128, 0]]))

    # 128/255 of 100, and the rest white: 50.2 + 127 = 177.2
    assert [pixel[0] for pixel in pixels(content)[0]] == [100, 177, 255]
    assert [pixel[0] for pixel in pixels(content, image_alpha="black")[0]] == [100, 50, 0]
    assert [pixel[0] for pixel in pixels(content, image_alpha="ignore")[0]] == [100, 100, 100]
    parameter = "data.reading.image_alpha"
    assert notes(content) == {"Images with transparent pixels, put on white": parameter}
    assert notes(content, image_alpha="black") == {"Images with transparent pixels, put on black": parameter}
    assert notes(content, image_alpha="ignore") == {
        "Images with transparent pixels, whose alpha channel is ignored": parameter
    }


@pytest.mark.parametrize("setting", ["white", "black", "ignore"])
def test_an_opaque_alpha_channel_is_not_a_decision(setting: str) -> None:
    content = encode(with_alpha([[100, 7]], [[255, 255]]))

    assert pixels(content, image_alpha=setting) == [[[100] * 3, [7] * 3]]
    assert notes(content, image_alpha=setting) == {}


def test_the_alpha_channel_of_16_bits_is_used() -> None:
    content = png_16_bit(np.array([[[65535, 0, 0, 65535], [65535, 0, 0, 0]]], np.uint16))

    assert pixels(content) == [[[255, 0, 0], [255, 255, 255]]]
    assert pixels(content, image_alpha="ignore") == [[[255, 0, 0], [255, 0, 0]]]


def test_white_is_the_value_that_is_given() -> None:
    content = png_16_bit(np.array([[[4095, 2048, 0]]], np.uint16))

    assert pixels(content, white=4095) == [[[255, 127, 0]]]
    assert pixels(content) == [[[4095 // 257, 2048 // 257, 0]]]  # auto: the range is known after the last image
    assert read_image(content, "a", reading()).highest == 4095
    assert read_image(encode(gray([[9]])), "a", reading()).highest is None


def test_images_of_unknown_range_need_white() -> None:
    content = encode(Image.new("F", (1, 1), 0.5), "TIFF")

    assert problem(content) == (
        "it has floating-point pixels (up to 0.5), whose range is unknown. Set data.reading.white to it."
    )
    assert pixels(content, white=1.0) == [[[127] * 3]]
    assert problem(encode(Image.new("F", (1, 1), -0.5), "TIFF"), white=1.0) == (
        "it has values that are negative, infinite or undefined (NaN). Save it without them."
    )


def two_pages(kind: str) -> bytes:
    """Return a file with two pages of 1 x 2 px, black then white."""
    first, second = Image.new("RGB", (2, 1)), Image.new("RGB", (2, 1), "white")
    return encode(first, kind, save_all=True, append_images=[second])


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_several_pages_are_refused_or_the_first_is_read(kind: str) -> None:
    content = two_pages(kind)

    assert problem(content) == (
        "it has more than one page. Save the page to read as a file of its own. For training, you can also set "
        "data.reading.pages to first."
    )
    assert pixels(content, pages="first") == [[[0] * 3] * 2]
    assert notes(content, pages="first") == {
        "Files with several pages, of which the first is read": "data.reading.pages"
    }
    assert notes(encode(Image.new("RGB", (2, 1)), kind)) == {}


def test_the_preview_in_a_photograph_is_not_a_page() -> None:
    content = encode(Image.new("RGB", (8, 8)), "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))])

    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.n_frames) == ("MPO", 2)  # type: ignore[attr-defined]
    assert np.shape(pixels(content)) == (8, 8, 3)


def pyramid(pages: list[Image.Image], full_width: int) -> bytes:
    """Return a TIFF in which the pages of another width are marked as smaller copies.

    Tag 254 is NewSubfileType, whose bit 0 marks a smaller copy.
    """
    content = io.BytesIO()
    with AppendingTiffWriter(content, new=True) as writer:
        for page in pages:
            tags = ImageFileDirectory_v2()
            tags[254] = int(page.width != full_width)
            page.save(writer, "TIFF", tiffinfo=tags)
            writer.newFrame()
    return content.getvalue()


@pytest.mark.parametrize("full_first", [True, False])
def test_smaller_copies_in_a_tiff_are_not_pages(full_first: bool) -> None:
    pages = [Image.new("RGB", (8, 4), "white"), Image.new("RGB", (4, 2))]
    content = pyramid(pages if full_first else pages[::-1], full_width=8)

    assert pixels(content) == [[[255] * 3] * 8] * 4
    assert notes(content) == {}
    assert image_size(content, "a") == (4, 8)


def test_a_page_of_a_tiff_may_not_be_larger_than_an_image() -> None:
    """Pillow checks only the size of the first page, which is a smaller copy here."""
    content = pyramid([Image.new("1", (4, 2)), Image.new("1", (7072, 7072))], full_width=7072)
    text = "it has 7072 x 7072 px, but at most 50,000,000 pixels and 32,767 px a side are possible. Make it smaller."

    assert problem(content) == text
    with pytest.raises(UserError, match=re.escape(text)):
        image_size(content, "a")


@pytest.mark.parametrize(("size", "is_refused"), [((32767, 1), False), ((32768, 1), True), ((1, 32768), True)])
def test_a_side_longer_than_can_be_scored_is_refused(size: tuple[int, int], is_refused: bool) -> None:
    content = encode(Image.new("L", size))

    assert (f"it has {size[0]} x {size[1]} px" in problem(content)) if is_refused else np.any(pixels(content)) == 0


def test_only_the_first_pages_of_a_tiff_are_searched() -> None:
    """Opening 80,000 pages would take half a minute."""
    content = pyramid([Image.new("L", (4, 2))] * 101 + [Image.new("L", (8, 4))], full_width=8)

    assert problem(content).startswith("it has more than one page.")
    assert np.shape(pixels(content, pages="first")) == (2, 4, 3)


def test_a_new_image_is_read_like_the_training_images() -> None:
    content = png_16_bit(np.full((1, 1, 1), 2048, np.uint16))

    assert read_new_image(content, "a", reading(white=4095)).pixels.tolist() == [[[127] * 3]]
    assert read_new_image(encode(gray([[9]])), "a", reading(white=4095)).pixels.tolist() == [[[9] * 3]]
    black = png_16_bit(np.zeros((1, 1, 1), np.uint16))
    assert read_new_image(black, "a", reading(white=4095)).pixels.tolist() == [[[0] * 3]]


@pytest.mark.parametrize(("highest", "white"), [(4095, 65535), (65535, 4095), (16380, 4095)])
def test_a_new_image_with_another_range_is_refused(highest: int, white: int) -> None:
    """It would be nearly black, or nearly white."""
    with pytest.raises(UserError) as error:
        read_new_image(png_16_bit(np.full((1, 1, 1), highest, np.uint16)), "a.png", reading(white=white))
    assert str(error.value) == (
        f"a.png can't be read as an image: its largest value is {highest}, but white was {white} when this "
        "model was trained. Convert the image, or change white in predict.json."
    )
