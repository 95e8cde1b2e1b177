"""data/raw has one layout for every data set. It is written completely or not at all."""

import os
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from naevi.config import Config, DataConfig
from naevi.datasets.raw import build_raw, fill_raw
from naevi.datasets.synthetic import synthetic_image
from naevi.errors import UserError
from naevi.images.files import Pixels, read_image, read_mask, write_image
from naevi.tables import Decision, read_decisions
from naevi.workspace import Workspace
from tests.helpers import HERE

LABELS = pd.DataFrame({"image_id": ["a"], "diagnosis": ["common"]})

ConfigWith = Callable[[dict[str, Any]], Config]


def layout(folder: Path) -> list[str]:
    """Return the names of all files."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def write_one(folder: Path, name: str = "a.png") -> tuple[pd.DataFrame, list[Decision]]:
    """Write one file; return its labels, a decision about it, and a decision about no file."""
    (folder / "images" / name).touch()
    return LABELS, [Decision("Files in doubt", ["b", "a"], "data.doubt"), Decision("No files", [], "data.none")]


def test_the_folder_is_replaced_completely(tmp_path: Path) -> None:
    fill_raw(Workspace(tmp_path), partial(write_one, name="old.png"))
    fill_raw(Workspace(tmp_path), write_one)

    assert layout(tmp_path) == ["data/raw/decisions.csv", "data/raw/images/a.png", "data/raw/labels.csv"]
    assert pd.read_csv(tmp_path / "data" / "raw" / "labels.csv").equals(LABELS)


def test_decisions_are_listed_and_printed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workspace = Workspace(tmp_path)
    fill_raw(workspace, write_one)

    assert workspace.reading_decisions.read_text() == (
        "decision,item,parameter\nFiles in doubt,a,data.doubt\nFiles in doubt,b,data.doubt\n"
    )
    assert read_decisions(workspace) == [Decision("Files in doubt", ["a", "b"], "data.doubt")]
    assert caplog.messages == ["Files in doubt: 2 (a, b). Parameter: data.doubt."]


def test_an_error_leaves_the_old_folder_unchanged(tmp_path: Path) -> None:
    def fail(folder: Path) -> tuple[pd.DataFrame, list[Decision]]:
        write_one(folder, "half.png")
        raise UserError("The archive is truncated.")

    workspace = Workspace(tmp_path)
    fill_raw(workspace, write_one)
    with pytest.raises(UserError, match="truncated"):
        fill_raw(workspace, fail)
    assert layout(workspace.raw) == ["decisions.csv", "images/a.png", "labels.csv"]

    fill_raw(workspace, partial(write_one, name="next.png"))
    assert layout(workspace.raw) == ["decisions.csv", "images/next.png", "labels.csv"]


def test_synthetic_images_are_written_as_they_are_generated(tmp_path: Path, config_with: ConfigWith) -> None:
    workspace = Workspace(tmp_path)
    build_raw(workspace, config_with({"data.phantoms": {"number": 2, "height": 64, "width": 80, "seed": 3}}).data)
    second = synthetic_image(1, height=64, width=80, seed=3)

    assert layout(workspace.raw) == [
        "decisions.csv",
        "images/phantom-00000.png",
        "images/phantom-00001.png",
        "labels.csv",
        "masks/phantom-00000.png",
        "masks/phantom-00001.png",
    ]
    assert (workspace.raw / "labels.csv").read_text().split() == [
        "image_id,diagnosis",
        "phantom-00000,common",
        "phantom-00001,atypical",
    ]
    assert np.array_equal(read_image(workspace.raw / "images" / "phantom-00001.png"), second.image)
    assert np.array_equal(read_mask(workspace.raw / "masks" / "phantom-00001.png"), second.mask)


def test_ph2_is_read_from_data_external(ph2_alike: dict[str, tuple[Pixels, Pixels]], config_with: ConfigWith) -> None:
    Path("data/external").mkdir()
    for number, pixels in enumerate(sum(ph2_alike.values(), ())):
        write_image(Path(f"data/external/{number}.png"), pixels)

    build_raw(HERE, config_with({"data.source": "ph2", "data.path": "data/ph2.csv"}).data)

    names = ["images/IMD001.png", "images/IMD002.png", "labels.csv", "masks/IMD001.png", "masks/IMD002.png"]
    assert layout(HERE.raw) == ["decisions.csv", *names]
    assert HERE.reading_decisions.read_text() == "decision,item,parameter\n"


def write_images(folder: Path, labels: str | None = "image_id,class\na,naevus\nb,other\n") -> None:
    """Write two images of noise, 5 x 4 px, with masks of 0 and 255 that have ISIC's names."""
    rng = np.random.default_rng(0)
    for subfolder in ("images", "masks"):
        (folder / subfolder).mkdir(parents=True)
    for name in "ab":
        write_image(folder / "images" / f"{name}.bmp", rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        mask = rng.integers(0, 2, (4, 5), dtype=np.uint8) * np.uint8(255)
        write_image(folder / "masks" / f"{name}_segmentation.png", mask)
    if labels:
        (folder / "labels.csv").write_text(labels)


def own_images(config_with: ConfigWith, path: object = "data/mine") -> DataConfig:
    """Return the settings for images whose masks have the values 0 and 255."""
    settings = {"data.source": "folder", "data.path": str(path), "data.classes": {"skin": 0, "lesion": 255}}
    return config_with(settings).data


def test_own_images_are_read_from_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, config_with: ConfigWith
) -> None:
    """Only the path inside the source matters, so this readme is not an image although the source is in images/."""
    source = folder / "images" / "mine"
    write_images(source)
    (source / "readme.txt").touch()

    build_raw(HERE, own_images(config_with, source))

    names = ["images/a.png", "images/b.png", "labels.csv", "masks/a.png", "masks/b.png", "reading.json"]
    assert layout(HERE.raw) == ["decisions.csv", *names]
    assert (HERE.raw / "labels.csv").read_text() == "image_id,diagnosis\na,naevus\nb,other\n"
    assert np.array_equal(read_image(HERE.raw / "images" / "a.png"), read_image(source / "images" / "a.bmp"))
    assert set(read_mask(HERE.raw / "masks" / "a.png").ravel()) == {0, 1}


def test_files_that_are_not_used_are_counted(
    folder: Path, config_with: ConfigWith, caplog: pytest.LogCaptureFixture
) -> None:
    """An archive inside images/ is used. Hidden files aren't counted."""
    own = folder / "data" / "mine"
    write_images(own, labels=None)
    with zipfile.ZipFile(own / "images/more.zip", "w") as archive:
        archive.write(own / "images/a.bmp", "a.bmp")
    (own / "images/a.bmp").unlink()
    (own / "other").mkdir()
    for name in ("other/b.png", "labels.tsv", ".hidden.png", "a\x07.txt", "=1.txt", os.fsdecode(b"caf\xe9.txt")):
        (own / name).touch()

    build_raw(HERE, own_images(config_with))

    assert (HERE.raw / "labels.csv").read_text() == "image_id,diagnosis\na,unlabelled\nb,unlabelled\n"
    text = "Files that are no images, masks or tables (.csv), not used"
    names = ["'a\\x07.txt'", "'caf\\udce9.txt'", "_=1.txt", "labels.tsv", "other/b.png"]
    assert read_decisions(HERE) == [Decision(text, names, "data.path")]
    assert caplog.messages[-1] == f"{text}: 5 ({', '.join(names)}). Parameter: data.path."


def test_own_images_are_read_from_an_archive(folder: Path, config_with: ConfigWith) -> None:
    write_images(folder / "mine", labels=None)
    shutil.make_archive("data/mine", "zip", folder / "mine")

    build_raw(HERE, own_images(config_with, "data/mine.zip"))

    assert (HERE.raw / "labels.csv").read_text() == "image_id,diagnosis\na,unlabelled\nb,unlabelled\n"


def test_without_own_images_the_error_says_what_to_do(folder: Path, config_with: ConfigWith) -> None:
    with pytest.raises(UserError) as error:
        build_raw(HERE, own_images(config_with))

    assert str(error.value) == (
        "data.path is data/mine, which doesn't exist. Set data.path to your images. They are a folder or an archive "
        "with images/<id>.png, masks/<id>.png (or other image formats) and, optionally, labels.csv."
    )
    assert not HERE.raw.exists()
