"""Images and masks are read, written, hashed and resized. Expected values are computed by hand."""

import hashlib
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from naevi.errors import UserError
from naevi.images.files import (
    FORMATS,
    VOID,
    Pixels,
    is_foreground,
    open_image,
    pixel_sha256,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
    undeclared_values,
    values_to_classes,
    write_image,
    write_mask,
)


def random_image(seed: int, height: int = 5, width: int = 7) -> Pixels:
    """Return noise, uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_class_index_is_the_position_among_the_values() -> None:
    mask_values = np.array([[300, 0], [7, 0]], np.uint16)
    mask = values_to_classes(mask_values, [0, 7, 300], [])

    assert mask.tolist() == [[2, 0], [1, 0]]
    assert mask.dtype == np.uint8
    assert undeclared_values(mask_values, [0, 7, 300]) == []
    assert undeclared_values(mask_values, [0, 7, 255]) == [300]
    assert undeclared_values(mask_values, [1, 2]) == [0, 7, 300]


@pytest.mark.parametrize("classes", [2, 3, 256])
def test_a_mask_with_any_number_of_classes_can_be_read_back(tmp_path: Path, classes: int) -> None:
    mask = np.random.default_rng(0).integers(0, classes, (40, 30), dtype=np.uint8)
    write_mask(tmp_path / "mask.png", mask)

    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask)


def test_viewers_show_a_mask_in_black_white_and_colors(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", np.array([[0, 1, 2, 3]], np.uint8))

    assert read_image(tmp_path / "mask.png").tolist() == [[[0] * 3, [255] * 3, [230, 159, 0], [86, 180, 233]]]


def test_a_mask_of_another_program_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    write_image(path, np.array([[0, 255]], np.uint8))

    with pytest.raises(UserError) as error:
        read_mask(path)
    assert str(error.value) == f"{path} can't be read as an image: masks of this pipeline have a palette."


def test_images_and_masks_can_be_read_back(tmp_path: Path) -> None:
    image, mask = random_image(0), random_image(1)[..., 0] & 1
    write_image(tmp_path / "image.png", image)
    write_mask(tmp_path / "mask.png", mask)

    assert np.array_equal(read_image(tmp_path / "image.png"), image)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask)


def test_equal_pixels_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("first.png", "second.png"):
        write_image(tmp_path / name, random_image(0))

    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_the_hash_depends_on_size_and_pixels() -> None:
    image = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)  # 2 wide, 1 high

    assert pixel_sha256(image) == hashlib.sha256(b"2x1\n\x01\x02\x03\x04\x05\x06").hexdigest()
    assert pixel_sha256(image) != pixel_sha256(image.reshape(2, 1, 3))
    assert pixel_sha256(image[:, ::-1]) == pixel_sha256(image[:, ::-1].copy())


def test_every_pixel_contributes_to_a_resized_image() -> None:
    """Four pixels become one. The triangle filter reaches 4 pixels, so the weights are 5/8, 7/8, 7/8, 5/8, over 3."""
    image = np.repeat(np.array([[0, 0, 0, 240]], np.uint8)[..., None], 3, axis=2)

    assert resize_image(image, 1).tolist() == [[[50, 50, 50]]]
    assert resize_image(image, 8).shape == (8, 8, 3)


def test_a_resized_mask_is_lesion_if_half_of_the_pixel_is() -> None:
    mask = np.array(
        [
            [1, 1, 1, 0],  # 4 of 4 | 2 of 4
            [1, 1, 0, 1],
            [1, 0, 0, 0],  # 1 of 4 | 0 of 4
            [0, 0, 0, 0],
        ],
        np.uint8,
    )

    assert resize_mask(mask, (2, 2)).tolist() == [[1, 1], [0, 0]]
    assert resize_mask(mask, (4, 4)).tolist() == mask.tolist()
    assert resize_mask(mask[2:3, :2], (4, 4)).tolist() == [[1, 1, 0, 0]] * 4
    assert resize_mask(mask, (4, 2)).tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize("size", [(160, 160), (7, 31), (500, 90)])
def test_with_two_classes_resizing_is_thresholding_a_gray_image_at_half(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (97, 131), dtype=np.uint8)
    coverage = np.asarray(Image.fromarray(mask * np.uint8(255)).resize(size, Image.Resampling.BOX))

    assert np.array_equal(resize_mask(mask, size), coverage >= 128)


def test_with_several_classes_the_one_that_covers_most_wins() -> None:
    # Blocks of 2 x 2 become a pixel. They have: half background, a quarter 1, a quarter 2 | half 1, a quarter each of
    # the others | half 2, half 1 | a quarter 2.
    mask = np.array([[0, 1, 0, 2, 2, 1, 0, 0], [0, 2, 1, 1, 2, 1, 0, 2]], np.uint8)

    assert resize_mask(mask, (4, 1)).tolist() == [[0, 1, 1, 0]]
    assert resize_mask(mask, (8, 2)).tolist() == mask.tolist()
    assert resize_mask(np.array([[0, 2]], np.uint8), (1, 1)).tolist() == [[2]]
    assert resize_mask(np.zeros((2, 3), np.uint8), (4, 1)).tolist() == [[0, 0, 0, 0]]


def test_a_resized_pixel_is_void_if_half_of_it_is() -> None:
    mask = np.array([[VOID, VOID, VOID, 1], [0, 0, 1, 1]], np.uint8)

    assert resize_mask(mask, (2, 1)).tolist() == [[VOID, 1]]
    assert is_foreground(mask).tolist() == [[False, False, False, True], [False, False, True, True]]


def test_a_file_that_is_not_an_image_is_an_error(tmp_path: Path) -> None:
    write_image(tmp_path / "whole.png", random_image(0, 64, 64))
    broken, text, missing = tmp_path / "broken.png", tmp_path / "text.jpg", tmp_path / "missing.png"
    problem = "No such file or directory. Please restore what has disappeared and run the command again."
    broken.write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    text.write_text("hello")

    for path, reason in ((broken, "image file is truncated"), (text, "its format is unknown")):
        with pytest.raises(UserError, match=f"^{path} can't be read as an image: {reason}.*[.]$"):
            read_image(path)
    with pytest.raises(UserError, match=f"^can't read or write {missing}: {problem}$"):
        read_image(missing)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG header for 8-bit gray, without any pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((13, header), (0, b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk)) for size, chunk in chunks
    )


def bmp_header(width: int, height: int) -> bytes:
    """Return a BMP header for 24 bits, without any pixels."""
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("header", [png_header, bmp_header])
def test_a_header_that_claims_a_huge_image_is_an_error(header: Callable[[int, int], bytes], tmp_path: Path) -> None:
    """No memory is allocated, and Pillow's own advice is omitted."""
    path = tmp_path / "a.png"
    path.write_bytes(header(100_000, 100_000))
    with pytest.raises(UserError) as error:
        read_image(path)
    assert str(error.value) == (
        f"{path} can't be read as an image: Image size (10000000000 pixels) exceeds limit of 50000000 pixels. "
        "Make it smaller."
    )
    path.write_bytes(header(10_000, 5_000))
    with pytest.raises(UserError, match="image file is truncated"):
        read_image(path)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("name", ["a.png", "a.eps"])
def test_only_the_listed_formats_are_opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For PostScript, Pillow would start Ghostscript, whatever the file is called."""
    (tmp_path / name).write_bytes(POSTSCRIPT)
    started: list[object] = []
    monkeypatch.setattr(subprocess, "check_call", lambda *arguments, **_: started.append(arguments))
    with Image.open(tmp_path / name) as image:
        assert image.format == "EPS"

    for source in (tmp_path / name, POSTSCRIPT):
        with pytest.raises(UserError, match="its format is unknown"), open_image(source) as image:
            image.load()
    assert started == []


def test_every_suffix_belongs_to_a_format_that_pillow_has() -> None:
    Image.init()

    assert set(FORMATS) <= set(Image.OPEN)
    for name, suffixes in FORMATS.items():
        assert {Image.EXTENSION[suffix] for suffix in suffixes if suffix != ".btf"} == {name}  # a TIFF of over 4 GB
