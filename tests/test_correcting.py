"""Predict, correct as CVAT does, read the corrections: the commands of docs/correcting.md, on generated images."""

import json
import logging
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from naevi.cli import main
from naevi.config import Config
from naevi.datasets.synthetic import synthetic_image
from naevi.experiments.demo import set_parameters
from naevi.images.files import read_mask, write_image
from stages import download
from tests import pipeline
from tests.deploy.predictors import write_predictor
from tests.helpers import HERE, ROOT

ConfigWith = Callable[[dict[str, Any]], Config]

EXPORTED = "data/clinic/annotations/instances_default.json"
DOCS = (ROOT / "docs/correcting.md").read_text(encoding="utf-8")


def documented(command: str) -> list[str]:
    """Return the arguments of the only line in the page that begins with a command."""
    [line] = re.findall(rf"^{command} (.*)$", DOCS, re.MULTILINE)
    return shlex.split(line)


def correct(content: dict[str, Any]) -> None:
    """Change annotations as CVAT exports them: a polygon, a brush mask on a diagonal, and an image without any.

    CVAT writes brush masks as RLE that isn't compressed.
    """
    first, second, _ = (image["id"] for image in content["images"])
    outside = [0, *[64] * 63, 32 * 64]  # on the diagonal, 64 px are between one pixel and the next, by column
    run_lengths = [length for pixels in outside for length in (pixels, 1)][:-1]
    outlines = [
        {"image_id": first, "segmentation": [[10, 20, 30, 20, 30, 25, 10, 25]], "iscrowd": 0},
        {"image_id": second, "segmentation": {"counts": run_lengths, "size": [64, 96]}, "iscrowd": 1},
    ]
    content["annotations"] = [{"id": number, "category_id": 1} | outline for number, outline in enumerate(outlines)]


def predict_and_correct(folder: Path, config_with: ConfigWith) -> list[str]:
    """Predict three images, correct the file, export it to data/clinic; return the ids of the images in its order."""
    write_predictor(folder / "data/predictor", config_with({"evaluate.threshold": 0.1}))
    for index in range(3):
        (folder / f"clinic/p{index}").mkdir(parents=True)
        image = synthetic_image(index, height=64, width=96, seed=0).image
        write_image(folder / f"clinic/p{index}/x{index}.png", image)
    done = CliRunner().invoke(main, ["predict", *documented("naevi predict")])
    assert done.exit_code == 0, done.output
    content = json.loads((folder / "found/coco.json").read_text())

    correct(content)
    shutil.copytree(folder / "clinic", folder / "data/clinic/images/default")
    (folder / EXPORTED).parent.mkdir()
    (folder / EXPORTED).write_text(json.dumps(content))
    return [Path(image["file_name"]).stem for image in content["images"]]


def prepare_download(path: str) -> None:
    """Set the parameters that the page sets, with another data.path."""
    assert documented("dvc exp run") == ["-S", "data.source=folder", "-S", "data.path=data/clinic"]
    set_parameters(HERE.params, ["data.source=folder", f"data.path={path}"])


def masks() -> dict[str, list[list[int]]]:
    return {path.stem: read_mask(path).tolist() for path in (HERE.raw / "masks").iterdir()}


def test_corrections_are_read_to_the_pixel(folder: Path, config_with: ConfigWith, torch_threads: None) -> None:
    corrected = predict_and_correct(folder, config_with)
    prepare_download("data/clinic")

    printed = pipeline.run(folder, "python", "-m", "stages.download", PYTHONPATH=str(ROOT))

    assert "Read as COCO annotations: 3 images, 3 masks." in printed
    polygon = np.zeros((64, 96), np.uint8)
    polygon[20:25, 10:30] = 1
    expected = [polygon, np.eye(64, 96, dtype=np.uint8), np.zeros_like(polygon)]
    assert masks() == {name: mask.tolist() for name, mask in zip(corrected, expected, strict=True)}


def test_corrections_can_be_beside_earlier_images(
    folder: Path, config_with: ConfigWith, torch_threads: None, caplog: pytest.LogCaptureFixture
) -> None:
    corrected = predict_and_correct(folder, config_with)
    caplog.set_level(logging.INFO)
    earlier = synthetic_image(7, height=64, width=96, seed=0)
    for name, pixels in (("images", earlier.image), ("masks", earlier.mask * np.uint8(255))):
        (folder / "data/mine" / name).mkdir(parents=True)
        write_image(folder / f"data/mine/{name}/earlier.png", pixels)
    shutil.move(folder / "data/clinic", folder / "data/mine/clinic")
    prepare_download("data/mine")

    download.main()

    assert "Read as images/ and masks/, and COCO annotations: 4 images, 4 masks." in caplog.messages
    found = masks()
    assert {name: sum(map(sum, mask)) for name, mask in found.items()} == {
        "earlier": earlier.mask.sum(),
        corrected[0]: 5 * 20,
        corrected[1]: 64,
        corrected[2]: 0,
    }
    assert found["earlier"] == earlier.mask.tolist()


def test_uncorrected_predictions_come_back(folder: Path, config_with: ConfigWith, torch_threads: None) -> None:
    """The file of `naevi predict` itself, beside its images."""
    predict_and_correct(folder, config_with)
    shutil.copy(folder / "found/coco.json", folder / EXPORTED)
    prepare_download("data/clinic")

    download.main()

    for path in (folder / "found/masks").rglob("*.png"):  # polygons with few points cut off corners of the frame
        predicted, read = read_mask(path), read_mask(HERE.raw / "masks" / path.name)
        assert 2 * (predicted & read).sum() / (predicted.sum() + read.sum()) >= 0.999
