"""Pixels in and out of files, hashed, resized and compared; the arithmetic by hand on a few of them."""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from naevi import images
from naevi.refusal import Refusal


def random_image(seed: int, height: int = 5, width: int = 7) -> images.Pixels:
    """Noise, uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(picture: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    """The bytes of a file."""
    content = io.BytesIO()
    picture.save(content, kind, **settings)
    return content.getvalue()


def grey(levels: list[list[int]], dtype: type = np.uint8) -> Image.Image:
    """A picture of these levels."""
    return Image.fromarray(np.array(levels, dtype))


def palette(numbers: list[list[int]], colors: list[tuple[int, int, int]]) -> Image.Image:
    """A picture of these numbers of a palette."""
    picture = grey(numbers)
    picture.putpalette(bytes(sum(colors, ())))
    return picture


RED, GREY, WHITE = (255, 0, 0), (80, 80, 80), (255, 255, 255)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (saved(grey([[7, 200]])), [[7] * 3, [200] * 3]),
        (saved(grey([[0, 255]]).convert("1"), "BMP"), [[0] * 3, [255] * 3]),
        (saved(palette([[0, 1]], [(0, 0, 0), GREY])), [[0] * 3, [80] * 3]),
        (saved(palette([[1, 0]], [RED, (1, 2, 3)])), [[1, 2, 3], [255, 0, 0]]),
        (saved(palette([[1, 0]], [RED, (1, 2, 3)]), transparency=0), [[1, 2, 3], [255] * 3]),
        # Each byte stands for itself 257 times: 0x0707 and 0xffff. Halves are cut.
        (saved(grey([[7 * 257, 65535]], np.uint16)), [[7] * 3, [255] * 3]),
        (saved(grey([[7 * 257 + 128, 65535]], np.uint16), "TIFF"), [[7] * 3, [255] * 3]),
        (saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [[255, 0, 0]]),
        # Half of black on white is grey, and nothing is white.
        (saved(Image.new("RGBA", (1, 1), (0, 0, 0, 128))), [[127] * 3]),
        (saved(Image.new("LA", (1, 1), (0, 0))), [[255] * 3]),
        (saved(Image.new("RGBA", (1, 1), (1, 2, 3, 255))), [[1, 2, 3]]),
    ],
    ids=[
        "grey",
        "1-bit",
        "grey-palette",
        "palette",
        "transparent-palette",
        "16-bit",
        "tiff-16-bit",
        "cmyk",
        "half-clear",
        "clear",
        "solid",
    ],
)
def test_an_image_is_read_as_a_viewer_shows_it(content: bytes, expected: list[list[int]]) -> None:
    image = images.read_image(content)

    assert image.tolist() == [expected]
    assert image.dtype == np.uint8


@pytest.mark.parametrize(("kind", "settings"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_an_image_is_turned_as_its_camera_says(kind: str, settings: dict[str, bool]) -> None:
    """6: the camera was held so that the file's left is above; 90 degrees clockwise put it right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = random_image(0)

    assert np.array_equal(
        images.read_image(saved(Image.fromarray(pixels), kind, exif=exif, **settings)), np.rot90(pixels, -1)
    )


BLACK_AND_WHITE = [0, 255]


@pytest.mark.parametrize(
    ("content", "values", "expected"),
    [
        (saved(grey([[0, 255]])), BLACK_AND_WHITE, [0, 255]),
        (saved(grey([[0, 255]]).convert("1"), "BMP"), BLACK_AND_WHITE, [0, 255]),
        (saved(grey([[0, 255]]).convert("RGB"), "BMP"), BLACK_AND_WHITE, [0, 255]),
        (saved(grey([[0, 255]]).convert("RGBA")), BLACK_AND_WHITE, [0, 255]),
        (saved(grey([[3, 1, 40]])), [0, 1, 3], [3, 1, 40]),
        (saved(grey([[3, 300, 65535]], np.uint16)), [0, 3, 300], [3, 300, 65535]),
        (saved(grey([[3, 300, 65535]], np.uint16), "TIFF"), [0, 3, 300], [3, 300, 65535]),
        (saved(grey([[3, 300, 65535]], np.int32), "TIFF"), [0, 3, 300], [3, 300, 65535]),
        (saved(palette([[0, 1, 2]], [(0, 0, 0), RED, WHITE])), [0, 1, 2], [0, 1, 2]),
        (saved(palette([[0, 1]], [(0, 0, 0), WHITE])), BLACK_AND_WHITE, [0, 255]),
        (saved(palette([[1, 0]], [GREY, (0, 0, 0)])), [0, 80], [0, 80]),
        # No red here, so all is grey, but 80 is no class.
        (saved(palette([[0, 2]], [(0, 0, 0), RED, GREY])), [0, 1, 2], [0, 2]),
    ],
    ids=[
        "grey",
        "1-bit",
        "rgb",
        "rgba",
        "few",
        "16-bit",
        "tiff-16-bit",
        "tiff-32-bit",
        "palette",
        "white-palette",
        "grey-palette",
        "no-red",
    ],
)
def test_a_mask_is_read_as_levels_or_as_numbers_of_a_palette(
    content: bytes, values: list[int], expected: list[int]
) -> None:
    levels = images.read_levels(content, values)

    assert levels.tolist() == [expected]
    assert levels.dtype == np.uint16


@pytest.mark.parametrize(
    ("picture", "kind", "why"),
    [
        (Image.new("RGB", (2, 2), RED), "PNG", "a mask is grey or has a palette, and this one is in color"),
        (Image.new("F", (2, 2), 0.5), "TIFF", "a mask is grey or has a palette, and this one holds fractions"),
        (grey([[0, -1]], np.int32), "TIFF", "a mask holds 0 to 65535, and this one -1 to 0"),
        (grey([[5, 65536]], np.int32), "TIFF", "a mask holds 0 to 65535, and this one 5 to 65536"),
    ],
)
def test_a_mask_without_levels_is_refused(picture: Image.Image, kind: str, why: str) -> None:
    with pytest.raises(Refusal) as refusal:
        images.read_levels(saved(picture, kind), BLACK_AND_WHITE, "masks/a.png")
    assert str(refusal.value) == f"masks/a.png can't be read as an image: {why}."


def test_classes_are_the_places_of_levels_among_the_values() -> None:
    levels = np.array([[300, 0], [7, 0]], np.uint16)
    mask = images.classes(levels, [0, 7, 300])

    assert mask.tolist() == [[2, 0], [1, 0]]
    assert mask.dtype == np.uint8
    assert images.strange(levels, [0, 7, 300]) == []
    assert images.strange(levels, [0, 7, 255]) == [300]
    assert images.strange(levels, [1, 2]) == [0, 7, 300]


@pytest.mark.parametrize("number", [2, 3, 256])
def test_masks_of_any_number_of_classes_are_read_again(tmp_path: Path, number: int) -> None:
    mask = np.random.default_rng(0).integers(0, number, (40, 30), dtype=np.uint8)
    images.write_mask(tmp_path / "mask.png", mask)

    assert np.array_equal(images.read_mask(tmp_path / "mask.png"), mask)


def test_people_see_a_mask_in_black_white_and_colors(tmp_path: Path) -> None:
    images.write_mask(tmp_path / "mask.png", np.array([[0, 1, 2, 3]], np.uint8))

    assert images.read_image(tmp_path / "mask.png").tolist() == [[[0] * 3, [255] * 3, [230, 159, 0], [86, 180, 233]]]


def test_a_mask_that_others_wrote_is_none_of_this_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    images.write_image(path, np.array([[0, 255]], np.uint8))

    with pytest.raises(Refusal) as refusal:
        images.read_mask(path)
    assert str(refusal.value) == f"{path} can't be read as an image: masks of this pipeline have a palette."


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    image, mask = random_image(0), random_image(1)[..., 0] & 1
    images.write_image(tmp_path / "image.png", image)
    images.write_mask(tmp_path / "mask.png", mask)

    assert np.array_equal(images.read_image(tmp_path / "image.png"), image)
    assert np.array_equal(images.read_image((tmp_path / "image.png").read_bytes()), image)
    assert np.array_equal(images.read_mask(tmp_path / "mask.png"), mask)


def test_equal_pixels_are_written_as_equal_bytes(tmp_path: Path) -> None:
    for name in ("first.png", "second.png"):
        images.write_image(tmp_path / name, random_image(0))

    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_the_hash_is_of_the_size_and_the_pixels() -> None:
    image = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)  # 2 wide, 1 high

    assert images.pixel_sha256(image) == hashlib.sha256(b"2x1\n\x01\x02\x03\x04\x05\x06").hexdigest()
    assert images.pixel_sha256(image) != images.pixel_sha256(image.reshape(2, 1, 3))
    assert images.pixel_sha256(image[:, ::-1]) == images.pixel_sha256(image[:, ::-1].copy())


def test_the_hash_does_not_depend_on_the_file_format() -> None:
    hashes = set()
    for kind in ("BMP", "PNG", "TIFF"):
        content = io.BytesIO()
        Image.fromarray(random_image(0)).save(content, kind)
        hashes.add(images.pixel_sha256(images.read_image(content.getvalue())))

    assert hashes == {images.pixel_sha256(random_image(0))}


def test_an_image_is_resized_with_every_pixel_counted() -> None:
    """Four pixels to one: the triangle is 4 wide to either side, so the weights are 5/8, 7/8, 7/8, 5/8, over 3."""
    image = np.repeat(np.array([[0, 0, 0, 240]], np.uint8)[..., None], 3, axis=2)

    assert images.resize_image(image, 1).tolist() == [[[50, 50, 50]]]
    assert images.resize_image(image, 8).shape == (8, 8, 3)


def test_a_resized_mask_is_lesion_where_half_of_the_pixel_is() -> None:
    mask = np.array(
        [
            [1, 1, 1, 0],  # 4 of 4 | 2 of 4
            [1, 1, 0, 1],
            [1, 0, 0, 0],  # 1 of 4 | 0 of 4
            [0, 0, 0, 0],
        ],
        np.uint8,
    )

    assert images.resize_mask(mask, (2, 2), 2).tolist() == [[1, 1], [0, 0]]
    assert images.resize_mask(mask, (4, 4), 2).tolist() == mask.tolist()
    assert images.resize_mask(mask[2:3, :2], (4, 4), 2).tolist() == [[1, 1, 0, 0]] * 4
    assert images.resize_mask(mask, (4, 2), 2).tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize("size", [(160, 160), (7, 31), (500, 90)])
def test_of_two_classes_the_rule_is_that_of_a_grey_picture_and_a_half(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (97, 131), dtype=np.uint8)
    cover = np.asarray(Image.fromarray(mask * np.uint8(255)).resize(size, Image.Resampling.BOX))

    assert np.array_equal(images.resize_mask(mask, size, 2), cover >= 128)


def test_of_several_classes_the_one_that_covers_most_is_left() -> None:
    mask = np.array(
        [
            [0, 1, 0, 2, 2, 1, 0, 0],  # 2 of 4 are background, but 1 and 2 share the rest | 1 of 4
            [0, 2, 1, 1, 2, 1, 0, 2],  #                          | 2 of 4 are 1 | 2 and 1 halve it
        ],
        np.uint8,
    )

    assert images.resize_mask(mask, (4, 1), 3).tolist() == [[0, 1, 1, 0]]
    assert images.resize_mask(mask, (8, 2), 3).tolist() == mask.tolist()
    assert images.resize_mask(np.array([[0, 2]], np.uint8), (1, 1), 3).tolist() == [[2]]


def test_a_thumbnail_has_mean_zero_and_length_one() -> None:
    small = images.thumbnail(random_image(0, 64, 96))

    assert (small.shape, small.dtype) == ((1024,), np.float32)
    assert small.mean() == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(small) == pytest.approx(1, abs=1e-6)


def test_one_flat_color_is_like_nothing() -> None:
    flat = images.thumbnail(np.full((64, 64, 3), 90, np.uint8))

    assert not flat.any()
    assert images.near_duplicates(np.stack([flat, flat])) == []


def test_a_copy_in_another_light_is_a_near_duplicate_and_another_picture_is_not() -> None:
    pictures = [random_image(0, 64, 96), random_image(1, 64, 96), random_image(0, 64, 96) // 2 + 40]

    assert images.near_duplicates(np.stack([images.thumbnail(each) for each in pictures])) == [(0, 2)]


def test_near_duplicates_are_found_among_thousands() -> None:
    """They are compared in blocks of 1000."""
    vectors = np.random.default_rng(0).standard_normal((1002, 1024)).astype(np.float32)
    vectors[[1000, 1001]] = vectors[3]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    assert images.near_duplicates(vectors) == [(3, 1000), (3, 1001), (1000, 1001)]


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    images.write_image(tmp_path / "whole.png", random_image(0, 64, 64))
    broken, text, missing = tmp_path / "broken.png", tmp_path / "text.jpg", tmp_path / "missing.png"
    broken.write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    text.write_text("hello")

    for path, why in (
        (broken, "image file is truncated"),
        (text, "its format is unknown"),
        (missing, ".*No such file"),
    ):
        with pytest.raises(Refusal, match=f"^{path} can't be read as an image: {why}.*[.]$"):
            images.read_image(path)
    with pytest.raises(Refusal, match=r"^a member of 5 bytes can't be read as an image: its format is unknown\."):
        images.read_image(b"hello")
    with pytest.raises(Refusal, match=r"^images/a.png can't be read as an image: its format is unknown\."):
        images.read_image(b"hello", "images/a.png")


def test_an_image_of_fractions_is_refused() -> None:
    with pytest.raises(Refusal, match="it holds fractions, whose black and white nobody knows; save it with 8 or 16"):
        images.read_image(saved(Image.new("F", (2, 2), 0.5), "TIFF"))


def png_header(width: int, height: int) -> bytes:
    """A PNG of 8 bits of grey without any pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((13, header), (0, b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk)) for size, chunk in chunks
    )


def bmp_header(width: int, height: int) -> bytes:
    """A BMP of 24 bits without any pixels."""
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("header", [png_header, bmp_header])
@pytest.mark.parametrize("read", [images.read_image, partial(images.read_levels, values=BLACK_AND_WHITE)])
def test_a_header_that_claims_a_huge_picture_is_refused(
    header: Callable[[int, int], bytes], read: Callable[..., Any]
) -> None:
    """It takes no memory, and Pillow has no word in it."""
    with pytest.raises(Refusal) as refusal:
        read(header(100_000, 100_000), name="images/a.png")
    assert str(refusal.value) == (
        "images/a.png can't be read as an image: Image size (10000000000 pixels) exceeds limit of 50000000 pixels; "
        "make it smaller."
    )
    with pytest.raises(Refusal, match="image file is truncated"):
        read(header(10_000, 5_000))
