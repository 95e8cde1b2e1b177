"""Images that lack classes, from the prediction to metrics.json. The network predicts what is drawn in the image."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from naevi.config import EvaluateConfig
from naevi.evaluation.outputs import write_outputs
from naevi.evaluation.scoring import ImageScores, Part, per_image_table, score_images
from naevi.evaluation.summary import summarize, summarize_cross_validation
from naevi.evaluation.surface_distance import SURFACE_SCORES
from naevi.files import read_csv
from naevi.images.files import write_image, write_mask
from naevi.inference.segmenter import Segmenter
from naevi.models.build import NormalizedNetwork
from naevi.models.device import ComputeSettings
from naevi.record import read_scores
from naevi.workspace import Workspace

SETTINGS = EvaluateConfig(
    flips=False, turns=False, threshold=0.5, fill_holes=False, largest_only=False, resamples=100, seed=0
)
NAN = float("nan")
SIDE, STEP = 4, 20  # px; gray values from one class to the next


class Drawn(nn.Module):
    """A network that is sure of the class that a pixel's gray value stands for."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, C, H, W)."""
        class_map = (image[:, :1] * 255 / STEP).round()
        if self.classes == 2:
            return 40 * class_map - 20
        return -20 * (class_map - torch.arange(self.classes).view(1, -1, 1, 1)).abs()


def area(*classes: int) -> np.ndarray:
    """Return a map with a row of pixels for each class, uint8 (SIDE, SIDE); the other rows are background."""
    rows = np.zeros((SIDE, SIDE), np.uint8)
    rows[: len(classes)] = np.array(classes, np.uint8)[:, None]
    return rows


def score(folder: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray]], classes: int) -> ImageScores:
    """Score images by id, each a mask and a prediction, as `evaluate` does. All are in fold 0."""
    workspace = Workspace(folder)
    for path in (workspace.raw / "masks", workspace.prepared / "images", workspace.prepared / "masks"):
        path.mkdir(parents=True)
    workspace.predictions.mkdir()
    for image_id, (mask, prediction) in pairs.items():
        for path in (workspace.raw, workspace.prepared):
            write_mask(path / "masks" / f"{image_id}.png", mask)
        write_image(workspace.prepared / "images" / f"{image_id}.png", np.repeat(prediction[..., None] * STEP, 3, 2))
    network = NormalizedNetwork(Drawn(classes), mean=(0, 0, 0), std=(1, 1, 1))
    names = [f"class {number}" for number in range(classes)]
    segmenter = Segmenter(folder, network, names, SIDE, SETTINGS, ComputeSettings("cpu", "fp32", 1))
    (scores,) = score_images(workspace, [Part(segmenter, list(pairs), keep=workspace.predictions)])
    fractions = [(mask > 0).mean() for mask, _ in pairs.values()]
    image_table = pd.DataFrame({"image_id": list(pairs), "lesion_fraction": fractions})
    image_table = image_table.assign(dataset="folder", diagnosis="x", touches_frame=True, dark_corners=0)
    return scores._replace(rows=per_image_table(scores.rows.assign(fold=0), image_table))


def test_predicting_nothing_scores_0_although_most_classes_are_absent(tmp_path: Path) -> None:
    """Ten classes, two in each image. If absent classes counted as 1, the mean would be 0.8."""
    pairs = {f"image {index}": (area(1 + index, 1 + (index + 1) % 10), area()) for index in range(10)}
    test = score(tmp_path, pairs, classes=11)

    metrics = summarize(test.rows, test.pixels, SETTINGS)

    assert metrics["dice"]["mean"] == 0.0
    assert metrics["iou"]["mean"] == 0.0
    assert metrics["specificity"]["mean"] == 1.0
    assert metrics["failed"] == 10
    assert metrics["empty_predictions"] == 10
    assert metrics["confidence"]["mean"] == 0.0
    assert {scores["images"] for scores in metrics["by_class"].values()} == {2}


# Three classes: both right; 1 right and 2 only predicted; 2 missed; nothing to find and nothing predicted.
PAIRS = {
    "right": (area(1, 2), area(1, 2)),
    "too much": (area(1), area(1, 2)),
    "missed": (area(2), area()),
    "nothing": (area(), area()),
}


@pytest.fixture
def three(tmp_path: Path) -> ImageScores:
    return score(tmp_path, PAIRS, classes=3)


def test_a_class_in_neither_mask_nor_prediction_has_no_score(three: ImageScores) -> None:
    far = SIDE * 2**0.5
    expected = {  # of class 1 and class 2
        "right": ([1, 1], [1, 1], [0, 0], [1, 1]),
        "too much": ([1, 0], [1, 0], [0, far], [1, 1]),
        "missed": ([NAN, 0], [NAN, 0], [NAN, far], [0, 0]),
        "nothing": ([NAN, NAN], [NAN, NAN], [NAN, NAN], [0, 0]),
    }
    for image_id, columns in expected.items():
        rows = three.rows[three.rows.image_id == image_id]
        for name, values in zip(("dice", "nsd_2", "hd95", "confidence"), columns, strict=True):
            assert rows[name].tolist() == pytest.approx(values, abs=1e-6, nan_ok=True), (image_id, name)
        assert rows.brier.isna().tolist() == rows.dice.isna().tolist()
        assert rows.specificity[rows.dice.isna()].isna().all()


def test_a_class_that_is_not_predicted_has_no_confidence_beside_one_that_is(tmp_path: Path) -> None:
    rows = score(tmp_path, {"half": (area(1, 2), area(1))}, classes=3).rows

    assert rows.confidence.tolist() == pytest.approx([1, NAN], nan_ok=True)
    assert rows.dice.tolist() == [1, 0]


def test_the_summary_counts_images_without_a_score_and_leaves_them_out(three: ImageScores) -> None:
    metrics = summarize_cross_validation(three.rows, three.pixels, three.rows, SETTINGS)

    assert metrics["images"] == 4
    assert metrics["unscored"] == 1
    assert metrics["empty_masks"] == 1
    assert metrics["empty_predictions"] == 2
    assert metrics["failed"] == 2
    assert metrics["dice"]["mean"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert metrics["val"]["dice"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert metrics["confidence"]["mean"] == pytest.approx((1 + 1 + 0) / 3)
    assert {name: scores["images"] for name, scores in metrics["by_class"].items()} == {"class 1": 2, "class 2": 3}
    assert metrics["by_class"]["class 2"]["dice"] == pytest.approx(1 / 3)
    assert metrics["by_diagnosis"]["x"]["images"] == metrics["fold"]["0"]["images"] == 3


def test_no_file_has_nan_in_it(three: ImageScores, tmp_path: Path) -> None:
    """An empty cell of per_image.csv is read again as a missing score."""
    workspace = Workspace(tmp_path)
    metrics = summarize_cross_validation(three.rows, three.pixels, three.rows, SETTINGS)

    write_outputs(workspace, three, metrics, ["class 0", "class 1", "class 2"])

    for path in [*(tmp_path / "reports").iterdir(), workspace.details_source]:
        assert "nan" not in path.read_text().lower(), path
    assert json.dumps(read_scores(workspace.metrics, workspace.details_source), allow_nan=False)
    again = summarize(read_csv(workspace.per_image), three.pixels, SETTINGS)
    assert leaves({key: metrics[key] for key in again}) == pytest.approx(leaves(again), abs=1e-6)
    assert len(read_csv(workspace.risk_coverage)) == 3


def test_a_class_that_nobody_has_is_in_no_curve_and_no_mean(tmp_path: Path) -> None:
    test = score(tmp_path, {"a": (area(1), area(1)), "b": (area(1), area(1, 1))}, classes=3)
    metrics = summarize(test.rows, test.pixels, SETTINGS)

    write_outputs(Workspace(tmp_path), test, metrics, ["class 0", "class 1", "class 2"])

    assert metrics["by_class"]["class 2"] == {"images": 0}
    assert metrics["micro"]["dice"] == pytest.approx(2 * 8 / (8 + 12))
    one = summarize(test.rows[test.rows["class"] == "class 1"], test.pixels[:1], SETTINGS)
    assert metrics["calibration"] == one["calibration"]
    for path in (Workspace(tmp_path).reliability, Workspace(tmp_path).thresholds):
        assert set(read_csv(path)["class"]) == {"class 1"}


def test_with_two_classes_an_empty_image_still_scores_1(tmp_path: Path) -> None:
    pairs = {"nothing": (area(), area()), "false": (area(), area(1)), "right": (area(1), area(1))}
    test = score(tmp_path, pairs, classes=2)

    metrics = summarize(test.rows, test.pixels, SETTINGS)

    assert test.rows.dice.tolist() == [1, 0, 1]
    assert test.rows.confidence.tolist() == pytest.approx([1, 1, 1])
    assert test.rows[["brier", *SURFACE_SCORES]].notna().all(axis=None)
    assert (metrics["unscored"], metrics["empty_masks"], metrics["dice"]["mean"]) == (0, 2, pytest.approx(2 / 3))


def leaves(value: Any) -> list[float]:
    """Return all numbers in nested dicts, sorted by key."""
    return [leaf for _, each in sorted(value.items()) for leaf in leaves(each)] if isinstance(value, dict) else [value]
