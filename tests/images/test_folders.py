"""Folders of images: files of their own, or shards with the same content."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from naevi.errors import UserError
from naevi.images import folders
from naevi.images.files import write_image, write_mask
from naevi.images.folders import is_stored, pack_images, stored_bytes, stored_image, stored_mask, unpacked_md5

IMAGE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
MASK = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "SHARDS_FROM", 5)
    monkeypatch.setattr(folders, "SHARD_SIZE", 2)


def write(folder: Path, number: int) -> Path:
    """Write images with the values 0, 1, … into a new folder. The second one is a JPEG file."""
    folder.mkdir(parents=True)
    for value in range(number):
        write_image(folder / f"{value:03}.png", IMAGE + np.uint8(value))
    (folder / "001.png").rename(folder / "001.jpg")
    return folder


def test_few_files_stay_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "images", 4)
    pack_images(folder)

    assert sorted(path.name for path in folder.iterdir()) == ["000.png", "001.jpg", "002.png", "003.png"]
    assert np.array_equal(stored_image(folder, "003"), IMAGE + 3)


def test_many_files_become_shards_of_fixed_ranges(tmp_path: Path) -> None:
    folder = write(tmp_path / "images", 5)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    pack_images(folder)

    assert sorted(path.name for path in folder.iterdir()) == ["00000.zip", "00001.zip", "00002.zip", "shards.json"]
    assert json.loads((folder / "shards.json").read_text()) == ["000.png", "002.png", "004.png"]
    with zipfile.ZipFile(folder / "00001.zip") as shard:
        assert shard.namelist() == ["002.png", "003.png"]
        assert {info.compress_type for info in shard.infolist()} == {zipfile.ZIP_STORED}
    assert {name: stored_bytes(folder, name) for name in before} == before
    assert np.array_equal(stored_image(folder, "001"), IMAGE + 1)  # whatever its suffix is
    assert list(unpacked_md5(folder / "00002.zip")) == ["004.png"]


def test_equal_images_give_equal_shards_whenever_they_are_written(tmp_path: Path) -> None:
    first, second = write(tmp_path / "first", 5), write(tmp_path / "second", 5)
    for path in second.iterdir():
        path.touch()
    pack_images(first)
    pack_images(second)

    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }


def test_a_missing_image_is_the_error_of_a_missing_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "images", 5)
    pack_images(folder)

    assert is_stored(folder, "004")
    assert not is_stored(folder, "005")
    assert not is_stored(folder, "-")  # before the first one
    with pytest.raises(UserError, match=r"can't read or write .*005\.png: No such file"):
        stored_image(folder, "005")
    with pytest.raises(UserError, match=r"can't read or write .*005\.png: No such file"):
        stored_mask(folder, "005")


def test_a_replaced_folder_is_read_anew(tmp_path: Path) -> None:
    folder = write(tmp_path / "images", 5)
    pack_images(folder)
    assert np.array_equal(stored_image(folder, "004"), IMAGE + 4)
    folder.rename(tmp_path / "old")
    other = write(tmp_path / "images", 8)
    write_image(other / "004.png", IMAGE)
    pack_images(other)

    assert np.array_equal(stored_image(folder, "004"), IMAGE)


def test_a_damaged_shard_is_a_user_error(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for value in range(5):
        write_mask(folder / f"{value}.png", MASK)
    pack_images(folder)
    shard = folder / "00001.zip"
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b"IDAT", b"IDAX"))
    with pytest.raises(UserError) as error:
        stored_mask(folder, "3")

    assert str(error.value) == (
        f"{folder / '3.png'} can't be read (Bad CRC-32 for file '3.png'). Restore its shard with `dvc checkout`."
    )
    shard.write_bytes(b"")
    with pytest.raises(UserError, match="File is not a zip file"):
        stored_mask(folder, "3")
