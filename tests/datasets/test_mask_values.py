"""Masks are read as gray levels, as palette indices, or from their alpha channel."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from naevi.datasets.legend import Legend
from naevi.datasets.mask_values import DecodedMask, read_mask_values
from naevi.errors import UserError
from tests.datasets.image_files import encode, exif, gray, palette, png_16_bit, with_alpha
from tests.datasets.test_decoding import GRAY, RED, WHITE, reading, two_pages

BLACK_AND_WHITE = [0, 255]
USED = [("Masks read from their alpha channel", "data.reading.mask_alpha")]


def read(content: bytes, values: list[int] = BLACK_AND_WHITE, **changes: Any) -> DecodedMask:
    """Return a mask that is read with the committed settings and others."""
    return read_mask_values(content, "masks/a.png", Legend(values, []), reading(**changes))


def problem(content: bytes, values: list[int] = BLACK_AND_WHITE, **changes: Any) -> str:
    """Return why a mask can't be read."""
    with pytest.raises(UserError) as error:
        read(content, values, **changes)
    return str(error.value).removeprefix("masks/a.png can't be read as an image: ")


@pytest.mark.parametrize(
    ("content", "values", "expected"),
    [
        (encode(gray([[0, 255]])), BLACK_AND_WHITE, [0, 255]),
        (encode(gray([[0, 255]]).convert("1"), "BMP"), BLACK_AND_WHITE, [0, 255]),
        (encode(gray([[0, 255]]).convert("RGB"), "BMP"), BLACK_AND_WHITE, [0, 255]),
        (encode(gray([[0, 255]]).convert("RGBA")), BLACK_AND_WHITE, [0, 255]),
        (encode(gray([[3, 1, 40]])), [0, 1, 3], [3, 1, 40]),
        (encode(gray([[3, 300, 65535]], np.uint16)), [0, 3, 300], [3, 300, 65535]),
        (encode(gray([[3, 300, 65535]], np.uint16), "TIFF"), [0, 3, 300], [3, 300, 65535]),
        (encode(gray([[3, 300, 65535]], np.int32), "TIFF"), [0, 3, 300], [3, 300, 65535]),
        (png_16_bit(np.array([[[3] * 3, [300] * 3]], np.uint16)), [0, 3, 300], [3, 300]),
        (encode(palette([[0, 1, 2]], [(0, 0, 0), RED, WHITE])), [0, 1, 2], [0, 1, 2]),
        (encode(palette([[0, 1]], [(0, 0, 0), WHITE])), BLACK_AND_WHITE, [0, 255]),
        (encode(palette([[1, 0]], [GRAY, (0, 0, 0)])), [0, 80], [0, 80]),
        # This mask has no red pixel, so all of it is gray, but 80 is undeclared.
        (encode(palette([[0, 2]], [(0, 0, 0), RED, GRAY])), [0, 1, 2], [0, 2]),
    ],
    ids=[
        "gray",
        "1-bit",
        "rgb",
        "rgba",
        "few",
        "16-bit",
        "tiff-16-bit",
        "tiff-32-bit",
        "rgb-16-bit",
        "palette",
        "white-palette",
        "gray-palette",
        "no-red",
    ],
)
def test_a_mask_is_read_as_gray_levels_or_as_palette_indices(
    content: bytes, values: list[int], expected: list[int]
) -> None:
    mask = read(content, values)

    assert mask.values.tolist() == [expected]
    assert mask.values.dtype == np.uint16
    assert mask.notes == []
    assert not mask.one_value


@pytest.mark.parametrize(
    ("image", "file_format", "reason"),
    [
        (
            Image.new("RGB", (2, 2), RED),
            "PNG",
            'a mask must be gray or have a palette, but this one is in color: "#ff0000". Declare its colors in '
            "data.classes",
        ),
        (
            Image.fromarray(np.array([[[9, 0, 0], [1, 2, 3], *([0, n, 0] for n in range(7)), [9, 0, 0]]], np.uint8)),
            "PNG",
            'a mask must be gray or have a palette, but this one is in color: "#090000", "#000000", "#000100", '
            '"#000200", "#000300", "#000400", "#000500", "#000600", …. Declare its colors in data.classes',
        ),
        (
            Image.new("F", (2, 2), 0.5),
            "TIFF",
            "a mask must be gray or have a palette, but this one has floating-point pixels",
        ),
        (gray([[0, -1]], np.int32), "TIFF", "mask values must be between 0 and 65535, but these are -1 to 0"),
        (gray([[5, 65536]], np.int32), "TIFF", "mask values must be between 0 and 65535, but these are 5 to 65536"),
    ],
)
def test_a_mask_without_integer_values_is_an_error(image: Image.Image, file_format: str, reason: str) -> None:
    assert problem(encode(image, file_format)) == f"{reason}."


def test_a_mask_is_turned_by_its_exif_orientation() -> None:
    mask = read(encode(gray([[0, 255, 255]]), exif=exif(6)))

    assert mask.values.tolist() == [[0], [255], [255]]
    assert mask.tag == 6
    assert read(encode(gray([[0, 255, 255]]), exif=exif(6)), orientation="ignore").values.tolist() == [[0, 255, 255]]


def test_a_mask_with_two_pages_is_refused() -> None:
    assert problem(two_pages("TIFF")).startswith("it has more than one page. ")
    assert read(two_pages("TIFF"), pages="first").values.tolist() == [[0, 0]]


IN_ALPHA = with_alpha([[0, 0, 0]], [[0, 255, 255]])


@pytest.mark.parametrize(
    "content",
    [
        encode(IN_ALPHA),
        encode(IN_ALPHA.convert("LA")),
        encode(IN_ALPHA, "TIFF"),
        encode(palette([[0, 1, 1]], [(0, 0, 0), (0, 0, 0)]), transparency=b"\x00\xff"),
        encode(with_alpha([[255, 255, 255]], [[0, 255, 255]])),
        png_16_bit(np.array([[[7, 0], [7, 65535], [7, 65535]]], np.uint16)),
    ],
    ids=["rgba", "la", "tiff", "palette", "white", "la-16-bit"],
)
@pytest.mark.parametrize("setting", ["auto", "use"])
def test_a_mask_in_the_alpha_channel_is_read(content: bytes, setting: str) -> None:
    mask = read(content, mask_alpha=setting)

    assert mask.values.tolist() == [[0, 255, 255]]
    assert mask.notes == USED


def test_a_red_mask_with_a_shape_in_the_alpha_channel_is_read() -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putalpha(gray([[0, 255]]))

    assert read(encode(image)).values.tolist() == [[0, 255]]


def test_an_ignored_alpha_channel_is_counted_if_it_is_not_opaque() -> None:
    mask = read(encode(IN_ALPHA), mask_alpha="ignore")

    assert mask.values.tolist() == [[0, 0, 0]]
    assert mask.notes == [("Masks with transparent pixels, whose alpha channel is ignored", "data.reading.mask_alpha")]
    assert read(encode(with_alpha([[0, 255]], [[255, 255]])), mask_alpha="ignore").notes == []


def test_colors_and_alpha_channel_that_agree_are_no_question() -> None:
    mask = read(encode(with_alpha([[0, 255, 255]], [[0, 255, 255]])))

    assert mask.values.tolist() == [[0, 255, 255]]
    assert mask.notes == []


@pytest.mark.parametrize(
    ("image", "color", "alpha"),
    [
        (with_alpha([[0, 255, 255]], [[255, 255, 0]]), "2 foreground pixels", "2 foreground pixels"),
        (with_alpha([[0, 9, 9]], [[0, 255, 0]]), "values without a class", "1 foreground pixels"),
        (with_alpha([[255, 255]], [[0, 0]]), "2 foreground pixels", "0 foreground pixels"),
    ],
    ids=["different", "undeclared", "neither-varies"],
)
def test_colors_and_alpha_channel_that_differ_are_refused(image: Image.Image, color: str, alpha: str) -> None:
    content = encode(image)

    assert problem(content) == (
        f"its colors ({color}) and its alpha channel ({alpha}) are different masks. "
        "Set data.reading.mask_alpha to ignore or use."
    )
    levels = np.asarray(image)
    assert read(content, mask_alpha="ignore").values.tolist() == levels[..., 0].tolist()
    assert read(content, mask_alpha="use").values.tolist() == levels[..., 3].tolist()


def test_a_palette_in_color_with_another_alpha_channel_is_refused() -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((0, 0), (0, 0, 255))
    image.putalpha(gray([[0, 255]]))

    assert problem(encode(image)).startswith("its colors (is in color) and its alpha channel (1 foreground pixels) are")


def test_an_alpha_channel_with_undeclared_values_is_not_a_mask() -> None:
    """The background of this palette is transparent, and 255 is not a class."""
    content = encode(palette([[0, 1, 2]], [(0, 0, 0), RED, WHITE]), transparency=0)

    assert read(content, [0, 1, 2]).values.tolist() == [[0, 1, 2]]
    assert read(content, [0, 1, 2]).notes == []


@pytest.mark.parametrize(("level", "one_value"), [(0, True), (255, False)])
def test_an_opaque_mask_of_one_value_is_read_by_its_color_and_marked(level: int, one_value: bool) -> None:
    """By its alpha channel, all would be foreground."""
    mask = read(encode(with_alpha([[level, level]], [[255, 255]])))

    assert mask.values.tolist() == [[level, level]]
    assert mask.one_value == one_value
