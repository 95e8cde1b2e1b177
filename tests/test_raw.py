"""data/raw: one layout for every data set, whole or not at all."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from naevi import paths, raw
from naevi.config import PhantomsConfig
from naevi.images import Pixels, read_image, read_mask, write_image
from naevi.phantoms import phantom
from naevi.refusal import Refusal

LABELS = pd.DataFrame({"image_id": ["a"], "diagnosis": ["common"]})


def layout(folder: Path) -> list[str]:
    """All files, by name."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def one(folder: Path, name: str = "a.png") -> pd.DataFrame:
    """Writes one file, as raw.fill wants it."""
    (folder / "images" / name).touch()
    return LABELS


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    raw.fill(tmp_path / "raw", partial(one, name="old.png"))
    raw.fill(tmp_path / "raw", one)

    assert layout(tmp_path) == ["raw/images/a.png", "raw/labels.csv"]
    assert pd.read_csv(tmp_path / "raw" / "labels.csv").equals(LABELS)


def test_a_write_that_fails_leaves_the_old_folder_as_it_was(tmp_path: Path) -> None:
    def fails(folder: Path) -> pd.DataFrame:
        one(folder, "half.png")
        raise Refusal("the archive ends early.")

    raw.fill(tmp_path / "raw", one)
    with pytest.raises(Refusal, match="ends early"):
        raw.fill(tmp_path / "raw", fails)
    assert layout(tmp_path / "raw") == ["images/a.png", "labels.csv"]

    raw.fill(tmp_path / "raw", partial(one, name="next.png"))
    assert layout(tmp_path) == ["raw/images/next.png", "raw/labels.csv"]


def test_phantoms_are_written_as_they_are_made(tmp_path: Path) -> None:
    settings = PhantomsConfig(number=2, height=64, width=80, seed=3)
    raw.fill(tmp_path, partial(raw.phantom_images, settings=settings))
    second = phantom(1, height=64, width=80, seed=3)

    assert layout(tmp_path) == [
        "images/phantom-00000.png",
        "images/phantom-00001.png",
        "labels.csv",
        "masks/phantom-00000.png",
        "masks/phantom-00001.png",
    ]
    assert (tmp_path / "labels.csv").read_text().split() == [
        "image_id,diagnosis",
        "phantom-00000,common",
        "phantom-00001,atypical",
    ]
    assert np.array_equal(read_image(tmp_path / "images" / "phantom-00001.png"), second.image)
    assert np.array_equal(read_mask(tmp_path / "masks" / "phantom-00001.png"), second.mask)


def test_ph2_is_taken_from_where_it_lies(ph2_alike: dict[str, tuple[Pixels, Pixels]]) -> None:
    Path("data/external").mkdir()
    for number, pixels in enumerate(sum(ph2_alike.values(), ())):
        write_image(Path(f"data/external/{number}.png"), pixels)

    raw.fill(paths.RAW, raw.ph2_images)

    names = ["images/IMD001.png", "images/IMD002.png", "labels.csv", "masks/IMD001.png", "masks/IMD002.png"]
    assert layout(paths.RAW) == names


def lay_out(folder: Path, labels: str | None = "image_id,class\na,naevus\nb,other\n") -> None:
    """Two images of noise, 5 x 4 px, with masks of 0 and 255 that ISIC might have named."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for name in "ab":
        write_image(folder / "images" / f"{name}.bmp", rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        mask = rng.integers(0, 2, (4, 5), dtype=np.uint8) * np.uint8(255)
        write_image(folder / "masks" / f"{name}_segmentation.png", mask)
    if labels:
        (folder / "labels.csv").write_text(labels)


def test_own_images_are_taken_from_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what lies within the folder counts, not where it lies: this readme is no image."""
    source = folder / "images" / "mine"
    lay_out(source)
    (source / "readme.txt").touch()
    monkeypatch.setenv("NAEVI_SOURCE", str(source))

    raw.fill(paths.RAW, partial(raw.folder_images, values=[0, 255]))

    assert layout(paths.RAW) == ["images/a.png", "images/b.png", "labels.csv", "masks/a.png", "masks/b.png"]
    assert (paths.RAW / "labels.csv").read_text() == "image_id,diagnosis\na,naevus\nb,other\n"
    assert np.array_equal(read_image(paths.RAW / "images" / "a.png"), read_image(source / "images" / "a.bmp"))
    assert set(read_mask(paths.RAW / "masks" / "a.png").ravel()) == {0, 1}


def test_own_images_are_taken_from_an_archive(folder: Path) -> None:
    lay_out(folder / "mine", labels=None)
    Path("data/external").mkdir()
    shutil.make_archive("data/external/mine", "zip", folder / "mine")

    raw.fill(paths.RAW, partial(raw.folder_images, values=[0, 255]))

    assert (paths.RAW / "labels.csv").read_text() == "image_id,diagnosis\na,unlabelled\nb,unlabelled\n"


def test_without_own_images_the_ways_on_are_told(folder: Path) -> None:
    with pytest.raises(Refusal) as refusal:
        raw.fill(paths.RAW, partial(raw.folder_images, values=[0, 255]))

    assert str(refusal.value) == (
        "your images are not here yet, and the ways on are:\n"
        "  NAEVI_SOURCE=<folder or archive> make repro\n"
        "  put the folder or archive into data/external/, then make repro\n"
        "It holds images/<id>.png, masks/<id>.png (or other pictures) and, if any, labels.csv."
    )
    assert not paths.RAW.exists()
