"""data/raw: one layout for every data set, whole or not at all."""

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
