"""A prediction that was interrupted goes on where it stopped. Nothing is lost without --force."""

import json
import shutil
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
from naevi.deploy.predict import predict_images
from naevi.errors import UserError
from naevi.files import read_csv
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
    (clinic / "p1/letter.jpg").write_text("Dear colleague")
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
    codes = dict(line.split() for line in done.stdout.splitlines()[:3])
    assert codes == {"whole": "1", "SIGINT": "130", "SIGTERM": "-15"}  # 1 because of the letter
    assert content(tmp_path / "interrupted") == whole
    assert sorted(name for name in whole if name.endswith(".png")) == [
        "masks/in/c.png",
        "masks/p1/a.png",
        "masks/p1/b.png",
        "masks/p2/A.png",
    ]
    assert "image(s) are already done" in done.stderr
    assert "1 file(s) were skipped because they can't be read as images: " in done.stderr


def test_what_is_done_is_not_predicted_again(
    tmp_path: Path, segmenter: Segmenter, clinic: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    predict_images(segmenter, [clinic], tmp_path / "out", force=False)
    before = inodes(tmp_path / "out")
    shutil.copy(clinic / "p1/a.png", clinic / "p2/new.png")
    caplog.clear()

    skipped = predict_images(segmenter, [clinic], tmp_path / "out", force=False)

    after = inodes(tmp_path / "out")
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2
    assert "3 image(s) are already done. 2 file(s) are left." in caplog.messages
    assert [Path(path).name for path in skipped] == ["letter.jpg"]
    assert read_csv(tmp_path / "out" / "skipped.csv").file.tolist() == skipped
    predict_images(segmenter, [clinic], tmp_path / "at once", force=False)
    assert content(tmp_path / "out") == content(tmp_path / "at once")


def test_other_predictions_and_files_are_never_overwritten_without_force(
    tmp_path: Path, predictor: Path, segmenter: Segmenter, clinic: Path
) -> None:
    out = tmp_path / "out"
    predict_images(segmenter, [clinic], out, force=False)
    before = content(out)

    def refusal(images: list[Path] = [clinic], model: Segmenter = segmenter) -> str:  # noqa: B006
        with pytest.raises(UserError) as error:
            predict_images(model, images, out, force=False)
        return str(error.value)

    assert refusal([clinic / "p1"]) == (
        f"--out {out} has predictions of 3 image(s) that aren't named now or that have changed: p1/a, p1/b, p2/A. "
        "Choose a new name, or remove these predictions with --force."
    )
    settings = json.loads((predictor / "predict.json").read_text()) | {"threshold": 0.9}
    (predictor / "predict.json").write_text(json.dumps(settings))
    assert refusal(model=load_segmenter(predictor)) == (
        f"--out {out} was written with other settings. Choose a new name, or overwrite it with --force."
    )
    assert content(out) == before
    (out / "masks/p1/a.png").write_bytes(b"edited")
    assert refusal() == (
        f"{out / 'masks/p1/a.png'} changed after the prediction. Choose a new name, or overwrite it with --force."
    )
    (out / "notes.txt").write_text("mine")
    assert refusal() == (
        f"--out {out} has files that `naevi predict` didn't write: {out / 'notes.txt'}. Move them, choose a new name, "
        "or keep them there with --force."
    )
    predict_images(segmenter, [clinic], out, force=True)
    assert content(out) == before | {"notes.txt": b"mine"}
