"""A prediction that was interrupted goes on where it stopped. Nothing is lost without --force."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from naevi.config import Config
from naevi.inference.segmenter import Segmenter, load_segmenter
from tests.deploy.predictors import write_predictor
from tests.helpers import ROOT

# Of random weights, so that some images have regions.
SETTINGS = {"evaluate.threshold": 0.4, "evaluate.largest_only": False}


@pytest.fixture
def predictor(tmp_path: Path, config_with: Callable[[dict[str, Any]], Config]) -> Path:
    """A predictor with random weights."""
    return write_predictor(tmp_path / "predictor", config_with(SETTINGS))


@pytest.fixture
def segmenter(predictor: Path, torch_threads: None) -> Segmenter:
    """The same, loaded."""
    return load_segmenter(predictor)


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Patient folders with three images of different sizes and formats, and a letter."""
    clinic, random = tmp_path / "clinic", np.random.default_rng(0)
    for index, name in enumerate(("p1/a.png", "p1/b.jfif", "p2/A.JPG")):
        file = clinic / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (30 + index, 40, 3), np.uint8)
        Image.fromarray(pixels).save(file, format="PNG" if file.suffix == ".png" else "JPEG")
    (clinic / "p1/letter.txt").write_text("Dear colleague")
    return clinic


def content(folder: Path) -> dict[str, bytes | None]:
    """The bytes of each file in a folder, None for a folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: None if path.is_dir() else path.read_bytes() for name, path in paths.items()}


def inodes(folder: Path) -> dict[str, int]:
    """The number of each mask and overlay, another one if it was written again."""
    files = [file for name in ("masks", "overlays") for file in (folder / name).rglob("*.*")]
    return {str(file): file.stat().st_ino for file in files}


def test_interrupted_at_any_step_it_comes_to_the_same_bytes(tmp_path: Path, predictor: Path, clinic: Path) -> None:
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(clinic / "p1/a.png", "in/c.png")
    given = [str(clinic), str(tmp_path / "more.zip"), "--model", str(predictor)]
    command = [sys.executable, "-m", "tests.deploy.interruptions", *given, str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    whole = content(tmp_path / "whole")
    assert content(tmp_path / "interrupted") == whole
    assert [name for name in whole if name.startswith("masks/") and name.endswith(".png")] == 0
    print(done.stdout, done.stderr)
