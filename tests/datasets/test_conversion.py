"""Images stay as they are in data/raw if they can be read back as they were decoded. Otherwise they become PNG."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi.config import Config, DataConfig
from naevi.datasets.decoding import read_image as decode
from naevi.datasets.folder import import_folder
from naevi.images import raw_image, read_image
from naevi.preprocessing.prepare import Prepared, prepare
from naevi.tables import write_decisions
from naevi.workspace import Workspace
from tests.datasets.image_files import encode, exif, gray, palette, png_16_bit, with_alpha
from tests.datasets.test_orientation import disk, picture
from tests.preprocessing.raw_data import settings_with

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
    assert raw_image(tmp_path, "a.b").read_bytes() == content
    assert np.array_equal(read_image(raw_image(tmp_path, "a.b")), decode(content, "", own.reading).pixels)


@pytest.mark.parametrize("kind", CONVERTED)
def test_an_image_that_would_be_read_otherwise_or_is_large_becomes_png(
    tmp_path: Path, own: DataConfig, kind: str
) -> None:
    write(tmp_path, CONVERTED[kind], own)

    with Image.open(tmp_path / "images/a.b.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGB")


def test_a_turned_image_becomes_png_if_its_orientation_is_ignored(tmp_path: Path, own: DataConfig) -> None:
    ignoring = own.model_copy(update={"reading": own.reading.model_copy(update={"orientation": "ignore"})})

    write(tmp_path, KEPT["JPEG turned by 6"][0], ignoring)

    assert raw_image(tmp_path, "a.b").name == "a.b.png"
    assert read_image(raw_image(tmp_path, "a.b")).shape == (24, 32, 3)  # as stored


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
