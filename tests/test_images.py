"""Pixels in and out of files, hashed, resized and compared; the arithmetic by hand on a few of them."""

import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from naevi import images
from naevi.refusal import Refusal


def random_image(seed: int, height: int = 5, width: int = 7) -> images.Pixels:
    """Noise, uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("mode", "suffix"), [("1", "bmp"), ("L", "png"), ("RGB", "bmp"), ("RGBA", "png")])
def test_a_mask_is_read_as_zeros_and_ones(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"mask.{suffix}"
    Image.fromarray(np.array([[0, 255, 0], [255, 255, 0]], np.uint8)).convert(mode).save(path)

    mask = images.read_mask(path)

    assert mask.tolist() == [[0, 1, 0], [1, 1, 0]]
    assert mask.dtype == np.uint8


@pytest.mark.parametrize(
    ("values", "shown"), [([0, 128, 255], "0, 128, 255"), ([0, 1], "0, 1"), (range(9), "0, 1, 2, 3, 4, 5, …")]
)
def test_a_mask_with_other_values_is_refused(tmp_path: Path, values: list[int], shown: str) -> None:
    path = tmp_path / "mask.png"
    images.write_image(path, np.array([list(values)], np.uint8))

    with pytest.raises(Refusal) as refusal:
        images.read_mask(path)
    assert str(refusal.value) == f"A mask holds 0 (skin) and 255 (lesion) only; {path} holds {shown}."


def test_a_colored_mask_is_refused(tmp_path: Path) -> None:
    """Red is not white, though its first channel is 255."""
    path = tmp_path / "mask.png"
    images.write_image(path, np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8))

    with pytest.raises(Refusal, match=r"^A mask holds 0 \(skin\) and 255 \(lesion\) only"):
        images.read_mask(path)


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

    assert images.resize_mask(mask, 2).tolist() == [[1, 1], [0, 0]]
    assert images.resize_mask(mask, 4).tolist() == mask.tolist()
    assert images.resize_mask(mask[2:3, :2], 4).tolist() == [[1, 1, 0, 0]] * 4


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
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes((tmp_path / "whole.png").read_bytes()[:2000])

    for path in (broken, missing):
        with pytest.raises(Refusal, match=f"^{path} can't be read as an image: "):
            images.read_image(path)
    with pytest.raises(Refusal, match=r"^a member of 5 bytes can't be read as an image: cannot identify"):
        images.read_image(b"hello")


def test_a_header_that_claims_a_huge_picture_is_refused() -> None:
    """Pillow's DecompressionBombError is no OSError."""
    content = io.BytesIO()
    Image.fromarray(random_image(0)).save(content, "BMP")
    bomb = content.getvalue()[:18] + struct.pack("<ii", 30_000, 30_000) + content.getvalue()[26:]

    with pytest.raises(Refusal, match="can't be read as an image"):
        images.read_image(bomb)
