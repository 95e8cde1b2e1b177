"""A result with known scores, without training: each prediction is the mask, moved some pixels further."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from naevi import provenance
from naevi.config import Config
from naevi.evaluation.calibration import N_BINS, reliability_curve, risk_coverage_curve, threshold_curve
from naevi.evaluation.scoring import IMAGE_COLUMNS
from naevi.evaluation.summary import summarize_cross_validation
from naevi.evaluation.surface_distance import SURFACE_SCORES
from naevi.images.files import read_mask, write_mask
from naevi.metrics import confusion_counts, overlap_scores
from naevi.reporting.dependencies import Dependencies
from naevi.reporting.report import render_html
from naevi.reporting.result import ReportData
from naevi.reporting.selection import ExampleImage

Tiny = Any  # conftest's
PIXELS = np.ones((1, 2, N_BINS), np.int64)
PLOTS = [
    *("histogram", "subgroups", "confidence", "risk_coverage", "reliability", "thresholds"),
    *("others", "learning_curves"),  # not in every report
]


def model_json(item: str, **runtime: Any) -> dict[str, Any]:
    """Return the model.json of a fold or `all`."""
    parts = {"train": {"images": 20 if item == "all" else 8, "digest": "d"}}
    origin = {
        "item": item,
        "model": {"architecture": "unet", "encoder": "resnet18", "weights": "imagenet"},
        "dataset": "phantoms",
        "runtime": {"device": "cpu", "precision": "fp32", "threads": 1} | runtime,
        "data": parts if item == "all" else parts | {"val": {"images": 2, "digest": "d"}},
        "code": "code-of-train",
        "versions": {"torch": "2.14.1", "numpy": "2.4.6"},
    }
    return {"fingerprint": provenance.digest(origin)} | origin | {"sha256": f"sha256-of-{item}"}


def write_predictions(tiny: Tiny, folder: Path) -> Path:
    """Write the masks as predictions, each moved one pixel further than the one before."""
    for index, image_id in enumerate(tiny.image_table.image_id):
        mask = read_mask(tiny.workspace.raw / "masks" / f"{image_id}.png")
        write_mask(folder / f"{image_id}.png", np.roll(mask, index, axis=1))
    return folder


def score_predictions(tiny: Tiny, predictions: Path) -> ReportData:
    """Return the result of those predictions. The better one is, the more confident the model."""
    rows = []
    for image_id in tiny.image_table.image_id:
        mask = read_mask(tiny.workspace.raw / "masks" / f"{image_id}.png")
        rows.append(confusion_counts(mask[None], read_mask(predictions / f"{image_id}.png")[None]))
    counts = pd.concat(rows, ignore_index=True)
    folds = (tiny.split["1"] == "test").astype(int)
    others = {"class": "lesion"} | dict.fromkeys([*SURFACE_SCORES, "brier"], 0.5)
    table = tiny.image_table[IMAGE_COLUMNS].assign(fold=folds).join(overlap_scores(counts, classes=2)).join(counts)
    table = table.assign(**others, confidence=0.5 + table.dice / 3)
    curves = pd.DataFrame(
        {"epoch": 1, "lr": 0.001, "train_loss": 0.5, "val_dice": [0.625, 0.375, None], "val_iou": [0.5, 0.25, None]}
    )
    return ReportData(
        config=tiny.config,
        metrics=summarize_cross_validation(table, PIXELS, table.head(6), tiny.config.evaluate),
        per_image=table,
        curves=curves.assign(model=["0", "1", "all"]),
        reliability=reliability_curve(PIXELS[0]).assign(**{"class": "lesion"}),
        thresholds=threshold_curve(PIXELS[0]).assign(**{"class": "lesion"}),
        risk_coverage=risk_coverage_curve(table.confidence, table.dice),
        image_table=tiny.image_table,
        statistics=tiny.statistics,
        models=[model_json(item) for item in ("0", "1", "all")],
        recorded=[],
        inputs={"reports/metrics.json": "sha256-of-metrics"},
        dependencies=Dependencies("requirements.lock", ["numpy==2.4.6", "torch==2.14.1"]),
        fingerprint="fingerprint-of-result",
    )


def page(result: ReportData, examples: list[ExampleImage]) -> str:
    """Return the page with empty plots."""
    return render_html(result, examples, dict.fromkeys(PLOTS, "<svg></svg>"))


def as_ph2(result: ReportData, config_with: Callable[[dict[str, Any]], Config]) -> ReportData:
    """Return the result as if it had been measured on PH2."""
    return replace(result, config=config_with({"data.source": "ph2"}))
