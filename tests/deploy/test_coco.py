"""Predictions as COCO annotations: doubtful images first, and read back to the pixel."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from scipy import ndimage

from naevi.config import Config
from naevi.datasets.coco_format import draw_outline
from naevi.deploy.coco import outline_polygon, simplify, write_coco
from naevi.deploy.predict import predict_images
from naevi.deploy.regions import describe_regions
from naevi.images.files import read_mask, write_image, write_mask
from naevi.inference.segmenter import load_segmenter
from tests.deploy.predictors import write_predictor

NAMES = ["skin", "nevus", "melanoma"]
MASKS = {"sure": ["....", ".11.", ".11.", "...."], "empty": ["...."] * 4, "p1/two": ["1.22", "1.22", "....", "1..."]}


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def ellipse(height: int, width: int, radius: float) -> NDArray[np.bool_]:
    """Return an ellipse in the middle, `radius` as a share of the sides."""
    y, x = np.mgrid[:height, :width]
    return ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) < radius**2


@pytest.fixture
def written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    """Write coco.json for MASKS of three images. Return its folder."""
    caplog.set_level(logging.INFO)
    rows, images, out = [], tmp_path / "clinic", tmp_path / "out"
    for name in MASKS:
        for path in (images / f"{name}.JPG", out / "masks" / f"{name}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
        (images / f"{name}.JPG").touch()
    for name, text in MASKS.items():
        mask = np.array([[".12".index(sign) for sign in row] for row in text], np.uint8)
        write_mask(out / "masks" / f"{name}.png", mask)
        probability = np.stack([mask == value for value in range(3)]).astype(np.float32)
        if name == "p1/two":
            probability[1, 3, 0] = 0.6  # of the second nevus
        rows += [{"image": name} | row for row in describe_regions(mask, probability, NAMES)]
    pd.DataFrame(rows).to_csv(out / "lesions.csv", index=False)
    paths = {name: str(images / f"{name}.JPG") for name in MASKS}
    write_coco(out / "coco.json", out / "lesions.csv", out=out, paths=paths, names=NAMES)
    return out


def test_doubtful_images_are_first(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A region with a probability of .6 has a Dice confidence of 2 * .6 / (.6 + 1) = .75."""
    content = json.loads((written / "coco.json").read_text())

    assert content["images"] == [
        {"id": 1, "file_name": "empty.JPG", "height": 4, "width": 4},
        {"id": 2, "file_name": "p1/two.JPG", "height": 4, "width": 4},
        {"id": 3, "file_name": "sure.JPG", "height": 4, "width": 4},
    ]
    assert content["categories"] == [{"id": 1, "name": "nevus"}, {"id": 2, "name": "melanoma"}]
    found = [
        tuple(item[key] for key in ("id", "image_id", "category_id", "area", "score"))
        for item in content["annotations"]
    ]
    assert found == [(1, 2, 1, 2, 1.0), (2, 2, 1, 1, 0.75), (3, 2, 2, 4, 1.0), (4, 3, 1, 4, 1.0)]
    assert [record.getMessage() for record in caplog.get_records("setup")] == [
        "Images in coco.json with their confidence, those without a region first: empty, p1/two (0.75), sure (1.00)"
    ]


def test_pycocotools_reads_the_file(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also as results, which it takes as RLE."""
    coco = COCO(written / "coco.json")
    results = coco.loadRes([item | {"segmentation": coco.annToRLE(item)} for item in coco.anns.values()])

    for content in (coco, results):
        assert [item["file_name"] for item in content.imgs.values()] == ["empty.JPG", "p1/two.JPG", "sure.JPG"]
        drawn = np.zeros((4, 4), np.uint8)
        for item in content.imgToAnns[2]:
            drawn[content.annToMask(item) > 0] = item["category_id"]
        assert drawn.tolist() == read_mask(written / "masks/p1/two.png").tolist()


@pytest.mark.parametrize("sigma", [0, 1, 3])
def test_any_region_is_read_back(sigma: float) -> None:
    """Regions of noise have holes, touch the frame and touch themselves at corners."""
    regions, count = ndimage.label(ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(30, 40)), sigma) > 0)

    for label in range(1, count + 1):
        polygon = outline_polygon(regions == label).ravel().tolist()
        assert dice(draw_outline([polygon], 30, 40), regions == label) >= 0.999


def test_polygons_have_few_points() -> None:
    region = ellipse(576, 767, 0.3)

    polygon = outline_polygon(region)

    assert dice(draw_outline([polygon.ravel().tolist()], *region.shape), region) >= 0.999
    assert len(polygon) < 80  # of more than a thousand pixels


def test_holes_stay_holes() -> None:
    region = ellipse(300, 400, 0.4) & ~ellipse(300, 400, 0.2)
    region[140:160, 10:50] = False  # an inlet, and another hole below it
    region[100:110, 80:95] = False

    drawn = draw_outline([outline_polygon(region).ravel().tolist()], *region.shape)

    assert dice(drawn, region) >= 0.999
    assert not drawn[150, 200]
    assert not drawn[105, 88]


def test_points_near_a_line_are_left_out() -> None:
    """The point in the middle of each side is .2 px outside it."""
    line = np.array([[0, 0], [5, -0.2], [10, 0], [10.2, 5], [10, 10], [0, 10], [0, 0]], float)

    assert simplify(line, 0.3).tolist() == [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
    assert simplify(line, 0.1).tolist() == line.tolist()


def test_predict_writes_the_file_on_request(
    tmp_path: Path, config_with: Callable[[dict[str, Any]], Config], torch_threads: None
) -> None:
    """Equal images give equal bytes, wherever they are. Other outputs stay the same."""
    segmenter = load_segmenter(write_predictor(tmp_path / "predictor", config_with({})))
    for folder in ("here", "there"):
        (tmp_path / folder / "p1").mkdir(parents=True)
        write_image(tmp_path / folder / "p1/=x.png", np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
        write_image(tmp_path / folder / "y.png", np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8))
        predict_images(segmenter, [tmp_path / folder], tmp_path / "out" / folder, force=False, coco=True)
    predict_images(segmenter, [tmp_path / "here"], tmp_path / "out" / "plain", force=False)

    content = (tmp_path / "out/here/coco.json").read_bytes()
    assert content == (tmp_path / "out/there/coco.json").read_bytes()
    assert not (tmp_path / "out/plain/coco.json").exists()
    assert {image["file_name"] for image in json.loads(content)["images"]} == {"p1/=x.png", "y.png"}
    for name in ("lesions.csv", "masks/y.png", "overlays/p1/=x.jpg"):
        assert (tmp_path / "out/here" / name).read_bytes() == (tmp_path / "out/plain" / name).read_bytes()
