"""Images with more than 8 bits per channel are read with all bits."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from naevi.datasets.depth import bits_in_use, color_and_alpha, highest_value, read_deep, scale_to_8_bits
from tests.datasets.image_files import encode, gray, png_16_bit, tiff_16_bit


def noise(channels: int, seed: int = 0) -> NDArray[np.uint16]:
    """Return values of 16 bits, (5, 7, channels)."""
    return np.random.default_rng(seed).integers(0, 2**16, (5, 7, channels), dtype=np.uint16)


def read(content: bytes, white: float | str = "auto") -> NDArray[np.uint16] | None:
    """Return what `read_deep` reads from a file."""
    with Image.open(io.BytesIO(content)) as image:
        return read_deep(image, content, white)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_both_bytes_of_a_png_are_read(channels: int, tmp_path: Path) -> None:
    pixels = noise(channels)
    content = png_16_bit(pixels)
    (tmp_path / "a.png").write_bytes(content)

    deep = read(content)
    with Image.open(tmp_path / "a.png") as image:
        from_path = read_deep(image, tmp_path / "a.png", "auto")

    assert deep is not None
    assert deep.dtype == np.uint16
    assert np.array_equal(deep, pixels)
    assert np.array_equal(from_path, pixels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("channels", "extra"), [(3, 0), (4, 0), (4, 2)], ids=["rgb", "rgbx", "rgba"])
def test_both_bytes_of_a_tiff_are_read(order: str, compressed: bool, channels: int, extra: int) -> None:
    pixels = noise(channels)

    deep = read(tiff_16_bit(pixels, order, compressed=compressed, extra=extra))

    assert np.array_equal(deep, pixels if extra else pixels[..., :3])


def test_both_bytes_of_a_ppm_are_read() -> None:
    pixels = noise(3)

    assert np.array_equal(read(b"P6 7 5 65535\n" + pixels.astype(">u2").tobytes()), pixels)
    assert np.array_equal(read(b"P3 7 5 65535\n" + " ".join(map(str, pixels.ravel())).encode()), pixels)
    # The header declares 4095 as white, so 4095 becomes 65535.
    assert read(b"P6 1 1 4095\n" + bytes([0x0F, 0xFF, 0, 0, 0x0F, 0xFF])).tolist() == [[[65535, 0, 65535]]]
    assert read(b"P6 1 1 255\n\x01\x02\x03") is None


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_gray_images_are_read_as_they_are(dtype: type) -> None:
    deep = read(encode(gray([[3, 65535]], dtype), "TIFF"))

    assert deep.tolist() == [[[3], [65535]]]
    assert deep.dtype == np.uint16


def test_a_color_key_is_an_alpha_channel() -> None:
    rgb = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint16)

    assert read(png_16_bit(rgb, (1, 2, 3))).tolist() == [[[1, 2, 3, 0], [1, 2, 4, 65535]]]
    assert read(png_16_bit(rgb[..., :1], (9,))).tolist() == [[[1, 65535], [1, 65535]]]


def test_images_with_8_bits_are_not_deep() -> None:
    for kind in ("PNG", "BMP", "GIF", "JPEG", "JPEG2000", "TIFF", "WEBP", "PPM"):
        assert read(encode(Image.new("RGB", (16, 16), (1, 2, 3)), kind)) is None


def jpeg2000(bits: int) -> bytes:
    """Return a JPEG 2000 in color whose header declares these bits, up to 8 of which are stored."""
    content = encode(Image.new("RGB", (16, 16), (1, 2, 3)), "JPEG2000", no_jp2=True)
    return content[:42] + bytes([bits - 1]) + content[43:]


@pytest.mark.parametrize(
    ("content", "bits", "kind"),
    [
        (jpeg2000(16), 16, "JPEG2000 with RGB"),
        (jpeg2000(12), 12, "JPEG2000 with RGB"),
        (tiff_16_bit(noise(4), "<", compressed=False, extra=1), 16, "TIFF with RGBA"),
    ],
)
def test_bits_that_pillow_does_not_read_are_an_error_unless_the_range_is_full(
    content: bytes, bits: int, kind: str
) -> None:
    white = 2**bits - 1
    with pytest.raises(ValueError, match=r"^only 8 of its") as error:
        read(content)
    assert str(error.value) == (
        f"only 8 of its {bits} bits can be read from {kind}. Save it as PNG, or set data.reading.white to {white} if "
        "all files use the whole range"
    )
    assert read(content, white) is None


@pytest.mark.parametrize("compressed", [False, True])
def test_separate_planes_are_an_error(compressed: bool) -> None:
    with pytest.raises(ValueError, match="its channels of 16 bits are in separate planes, which Pillow misreads"):
        read(tiff_16_bit(noise(3), "<", compressed=compressed, planes=2))


def test_the_alpha_channel_has_8_bits() -> None:
    color, alpha = color_and_alpha(np.array([[[5, 0], [6, 257], [7, 65535]]], np.uint16))

    assert color.tolist() == [[[5], [6], [7]]]
    assert alpha is not None
    assert alpha.tolist() == [[0, 1, 255]]
    assert color_and_alpha(noise(3))[1] is None


def test_bits_in_use_are_8_10_12_14_or_16() -> None:
    highest = [0, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535]

    assert [bits_in_use(value) for value in highest] == [8, 8, 10, 10, 12, 12, 14, 14, 16, 16]


def test_white_becomes_255_and_fractions_are_dropped() -> None:
    values = np.array([0, 16, 17, 4094, 4095, 60000], np.uint16)

    assert scale_to_8_bits(values, 4095).tolist() == [0, 0, 1, 254, 255, 255]
    assert scale_to_8_bits(np.arange(2**16, dtype=np.uint16), 65535).tolist() == [v // 257 for v in range(2**16)]
    assert scale_to_8_bits(np.array([0, 70000, 2**31 - 1], np.int32), 140000).tolist() == [0, 127, 255]
    assert scale_to_8_bits(np.array([0, 0.5, 1, 1.2], np.float32), 1).tolist() == [0, 127, 255, 255]


def test_values_without_a_known_range_are_an_error() -> None:
    assert highest_value(np.array([0, 4000], np.uint16), "auto") == 4000
    assert highest_value(np.array([0, 0.5], np.float32), 1.0) == 0.5
    message = r"it has floating-point pixels \(up to 0.5\), whose range is unknown. Set data.reading.white to it"
    with pytest.raises(ValueError, match=message):
        highest_value(np.array([0, 0.5], np.float32), "auto")
    with pytest.raises(ValueError, match=r"it has values above 16 bits \(up to 70000\), whose range is unknown"):
        highest_value(np.array([0, 70000], np.int32), "auto")
    for wrong in ([-1.0, 1], [np.nan, 1], [np.inf, 1]):
        with pytest.raises(ValueError, match=r"values that are negative, infinite or undefined \(NaN\)"):
            highest_value(np.array(wrong, np.float32), 1.0)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_negative_becomes_a_positive(compression: str) -> None:
    """PhotometricInterpretation 0 means that 0 is white."""
    negative = encode(gray([[0, 65535, 1000]], np.uint16), "TIFF", compression=compression, tiffinfo={262: 0})

    assert read(negative).tolist() == [[[65535], [0], [64535]]]


def test_a_negative_without_a_known_range_is_refused() -> None:
    with pytest.raises(ValueError, match="it is a negative with floating-point pixels"):
        read(encode(gray([[0, 0.5]], np.float32), "TIFF", tiffinfo={262: 0}))
