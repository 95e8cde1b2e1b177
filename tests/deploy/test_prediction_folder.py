"""An interrupted prediction goes on where it stopped, and comes to the bytes of one that nobody disturbed."""

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
from tests.deploy.predictors import write_predictor
from tests.helpers import ROOT


@pytest.fixture
def predictor(tmp_path: Path, config_with: Callable[[dict[str, Any]], Config]) -> Path:
    """A predictor with random weights."""
    return write_predictor(tmp_path / "predictor", config_with({}))


@pytest.fixture
def clinic(tmp_path: Path) -> list[Path]:
    """Patient folders with four images and a letter, and an archive with two more images. All sizes differ."""
    clinic, random = tmp_path / "clinic", np.random.default_rng(0)
    for index, name in enumerate(("p1/a.png", "p1/b.jfif", "p2/A.JPG", "p2/c.tif", "more/d.png", "more/e.png")):
        file = clinic / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (30 + index, 40, 3), np.uint8)
        Image.fromarray(pixels).save(file, format="JPEG" if name[-4:] in ("jfif", ".JPG") else None)
    (clinic / "p1/letter.txt").write_text("Dear colleague")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        for name in "de":
            archive.write(clinic / f"more/{name}.png", f"in/{name}.png")
            (clinic / f"more/{name}.png").unlink()
    (clinic / "more").rmdir()
    return [clinic, tmp_path / "more.zip"]


def content(folder: Path) -> dict[str, bytes | None]:
    """The bytes of each file in a folder, None for a folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: None if path.is_dir() else path.read_bytes() for name, path in paths.items()}


def test_killed_at_any_step_it_comes_to_the_same_bytes(tmp_path: Path, predictor: Path, clinic: list[Path]) -> None:
    command = [sys.executable, "-m", "tests.deploy.interruptions", *map(str, clinic), "--model", str(predictor)]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    print(done.stdout, done.stderr)
    whole = content(tmp_path / "whole")
    print(whole["lesions.csv"].decode(), whole["skipped.csv"].decode(), whole["predictions.jsonl"].decode())
    print(sorted(whole))
    for step in range(1,20):
        assert content(tmp_path/str(step)) == whole, step
    assert 0
