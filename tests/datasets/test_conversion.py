"""Image files of all formats are read. In data/raw, they stay as they are if they can be read back as decoded."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi.config import Config, DataConfig
from naevi.datasets.decoding import read_image as decode
from naevi.datasets.folder import import_folder, is_picture
from naevi.errors import UserError
from naevi.images.files import HEIF_PLUGINS, readable_formats
from naevi.images.folders import stored_bytes, stored_image
from naevi.preprocessing.prepare import Prepared, prepare
from naevi.tables import write_decisions
from naevi.workspace import Workspace
from tests.datasets.image_files import encode, exif, gray, palette, png_16_bit, with_alpha
from tests.datasets.test_orientation import disk, picture
from tests.preprocessing.raw_data import settings_with

HEIC = (Path(__file__).parent / "photograph.heic").read_bytes()  # 32x16 px, the left half red, the right half blue
SPOT = disk(24, 32, 10, 12, 6)
PICTURE = Image.fromarray(picture(SPOT))
KEPT = {
    "JPEG": (encode(PICTURE, "JPEG"), ".jpg"),
    "gray JPEG": (encode(PICTURE.convert("L"), "JPEG"), ".jpg"),
    "CMYK JPEG": (encode(PICTURE.convert("CMYK"), "JPEG"), ".jpg"),
    "JPEG with a preview": (encode(PICTURE, "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))]), ".jpg"),
    "PNG": (encode(PICTURE), ".png"),
    "PNG with a palette": (encode(palette([[0, 1]], [(1, 2, 3), (4, 5, 6)])), ".png"),
    "WebP": (encode(PICTURE, "WEBP"), ".webp"),
} | {f"JPEG turned by {tag}": (encode(PICTURE, "JPEG", exif=exif(tag)), ".jpg") for tag in range(2, 9)}
CONVERTED = {
    "BMP": encode(PICTURE, "BMP"),
    "TIFF": encode(PICTURE, "TIFF"),
    "16 bits": png_16_bit(np.full((1, 2, 3), 257 * 9, np.uint16)),
    "transparent": encode(with_alpha([[9, 9]], [[255, 0]])),
}


@pytest.fixture
def own(config_with: Callable[[dict[str, Any]], Config]) -> DataConfig:
    """Return the settings of images whose masks have the values 0 and 255."""
    changes = {"data.source": "folder", "data.path": "mine", "data.classes": {"skin": 0, "lesion": 255}}
    return config_with(changes).data


def write(folder: Path, content: bytes, data: DataConfig, name: str = "a.b.JPG") -> pd.DataFrame:
    """Write an image with its mask into a folder; return the labels."""
    height, width, _ = decode(content, name, data.reading).pixels.shape
    mask = encode(gray(np.eye(height, width) * 255))
    files = [("images", f"images/{name}", content), ("masks", "masks/a.b.png", mask)]
    return import_folder(files, folder, data)[0]


@pytest.mark.parametrize("kind", KEPT)
def test_an_image_stays_as_it_is(tmp_path: Path, own: DataConfig, kind: str) -> None:
    content, suffix = KEPT[kind]

    write(tmp_path, content, own)

    assert [path.name for path in (tmp_path / "images").iterdir()] == [f"a.b{suffix}"]
    assert stored_bytes(tmp_path / "images", f"a.b{suffix}") == content
    assert np.array_equal(stored_image(tmp_path / "images", "a.b"), decode(content, "", own.reading).pixels)


@pytest.mark.parametrize("kind", CONVERTED)
def test_an_image_that_would_be_read_otherwise_or_is_large_becomes_png(
    tmp_path: Path, own: DataConfig, kind: str
) -> None:
    write(tmp_path, CONVERTED[kind], own)

    with Image.open(tmp_path / "images/a.b.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
    assert (tmp_path / "images/a.b.png").read_bytes() != CONVERTED[kind]


def test_a_turned_image_becomes_png_if_its_orientation_is_ignored(tmp_path: Path, own: DataConfig) -> None:
    ignoring = own.model_copy(update={"reading": own.reading.model_copy(update={"orientation": "ignore"})})

    write(tmp_path, KEPT["JPEG turned by 6"][0], ignoring)

    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.b.png"]
    assert stored_image(tmp_path / "images", "a.b").shape == (24, 32, 3)  # as stored


def test_a_kept_file_gives_the_same_data_set_as_its_pixels(tmp_path: Path, own: DataConfig) -> None:
    """The digest identifies the data set, and training reads only data/prepared."""
    jpeg = KEPT["JPEG turned by 6"][0]
    bmp = encode(Image.fromarray(decode(jpeg, "", own.reading).pixels), "BMP")

    def prepared(name: str, content: bytes) -> tuple[Prepared, dict[str, bytes]]:
        workspace = Workspace(tmp_path / name)
        write(workspace.raw, content, own).to_csv(workspace.raw / "labels.csv", index=False)
        write_decisions(workspace.reading_decisions, [])
        result = prepare(workspace, own, settings_with())
        files = {path.name: path.read_bytes() for path in workspace.prepared.rglob("*") if path.is_file()}
        return result, files

    (kept, kept_files), (converted, converted_files) = prepared("kept", jpeg), prepared("converted", bmp)

    assert (kept.image_table.height[0], kept.image_table.width[0]) == (32, 24)
    assert kept.digest == converted.digest
    assert kept_files == converted_files


FILES = {
    "a.JFIF": (encode(PICTURE, "JPEG"), ".jpg"),
    "a.jpe": (encode(PICTURE, "JPEG"), ".jpg"),
    "a.WEBP": (encode(PICTURE, "WEBP"), ".webp"),
    "a.TIF": (encode(PICTURE, "TIFF", compression="tiff_lzw"), ".png"),
    "a.Btf": (encode(PICTURE, "TIFF", big_tiff=True), ".png"),
    "a.j2k": (encode(PICTURE, "JPEG2000"), ".png"),
    "a.PNM": (encode(PICTURE, "PPM"), ".png"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_recognized_by_its_ending(tmp_path: Path, own: DataConfig, name: str) -> None:
    """Without `is_picture`, a file isn't used. A table may have the ending in the names of images."""
    assert is_picture(name)
    content, suffix = FILES[name]
    image = ("images", f"images/{name}", content)
    mask, table = ("masks", "masks/a.png", encode(gray(SPOT * 255))), f"image,dx\n{name},nevus\n".encode()

    labels, _ = import_folder([image, mask, ("labels", "labels.csv", table)], tmp_path, own)

    assert labels.to_numpy().tolist() == [["a", "nevus"]]
    assert [path.name for path in (tmp_path / "images").iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("settings", [
    {"compression": "tiff_adobe_deflate"},
    {"compression": "packbits"},
    {"compression": "zstd"},
    {"strip_size": 1000},
    {"strip_size": 1000, "compression": "tiff_lzw", "big_tiff": True},
])  # fmt: skip
def test_tiffs_of_all_kinds_are_read(own: DataConfig, settings: dict[str, Any]) -> None:
    content = encode(PICTURE, "TIFF", **settings)

    assert np.array_equal(decode(content, "", own.reading).pixels, np.asarray(PICTURE))


def test_a_tiff_of_another_kind_is_an_error(own: DataConfig) -> None:
    """Pillow reads floating-point numbers of 32 bits only. Tag 258 has the bits, 339 is 3 for floating point."""
    tags = encode(gray([[0.5]], np.float32), "TIFF").replace(
        b"\x02\x01\x03\0\x01\0\0\0\x20", b"\x02\x01\x03\0\x01\0\0\0\x40"
    )

    with pytest.raises(UserError) as error:
        decode(tags, "a.tif", own.reading)
    assert str(error.value) == (
        "a.tif can't be read as an image: it is a damaged TIFF, or one of a kind that isn't read, such as with 64 "
        "bits. Save it as PNG."
    )


def test_without_a_plugin_a_heic_photograph_is_an_error(
    tmp_path: Path, own: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It isn't left out either, because another machine may have the plugin."""
    for plugin in HEIF_PLUGINS:
        monkeypatch.setitem(sys.modules, plugin, None)
    readable_formats.cache_clear()
    files = [("images", "images/a.HEIC", HEIC), ("images", "images/b.png", encode(PICTURE))]
    files.append(("masks", "masks/b.png", encode(gray(SPOT * 255))))

    with pytest.raises(UserError) as error:
        import_folder(files, tmp_path, own.model_copy(update={"mismatches": "leave-out"}))
    readable_formats.cache_clear()

    assert str(error.value) == (
        "1 file(s) can't be used as images or masks:\n"
        "  images/a.HEIC can't be read as an image: it is a HEIC photograph. Install pillow-heif (`pip install "
        "pillow-heif`), or convert it to PNG or JPEG."
    )


needs_heif_plugin = pytest.mark.skipif(not any(map(find_spec, HEIF_PLUGINS)), reason="pillow-heif isn't installed")


@needs_heif_plugin
def test_with_a_plugin_a_heic_photograph_becomes_png(tmp_path: Path, own: DataConfig) -> None:
    """Whoever reads data/raw needs no plugin."""
    mask = encode(gray(np.eye(16, 32) * 255))
    import_folder([("images", "images/a.HEIC", HEIC), ("masks", "masks/a.png", mask)], tmp_path, own)

    assert (tmp_path / "images/a.png").exists()
    image = stored_image(tmp_path / "images", "a").astype(int)
    assert np.abs(image[:, :16] - (200, 60, 40)).max() < 8
    assert np.abs(image[:, 16:] - (30, 80, 160)).max() < 8


@needs_heif_plugin
def test_a_heic_photograph_with_10_bits_needs_white(own: DataConfig) -> None:
    """All values are 300 of 1023."""
    content = (Path(__file__).parent / "photograph_10_bits.heic").read_bytes()

    with pytest.raises(UserError, match="only 8 of its 10 bits can be read from HEIF"):
        decode(content, "a.heic", own.reading)
    known = own.reading.model_copy(update={"white": 1023.0})
    assert np.abs(decode(content, "a.heic", known).pixels - 75.0).max() < 3
