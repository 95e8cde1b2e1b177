"""Write metrics.json, details.json, per_image.csv and the tables behind the plots."""

from typing import Any

import pandas as pd

from naevi.evaluation.calibration import reliability_curve, risk_coverage_curve, threshold_curve
from naevi.evaluation.scoring import ImageScores
from naevi.evaluation.summary import average_classes, pool_images
from naevi.files import write_csv, write_json
from naevi.workspace import Workspace

DIGITS = 6  # so that git shows what really changed
# The scores in metrics.json: the few that people compare, because DVC shows each as a column. All others are details.
HEADLINE: dict[str, tuple[str, ...]] = {
    "images": (),
    "failed": (),
    "dice": ("mean", "low", "high", "p05"),
    "iou": ("mean", "low", "high"),
    "val": ("dice",),
}


def write_outputs(workspace: Workspace, test: ImageScores, scores: dict[str, Any], names: list[str]) -> None:
    """Write the scores of tested images and their curves. `names` are those of the classes."""
    workspace.metrics.parent.mkdir(parents=True, exist_ok=True)
    images = average_classes(test.rows)
    found = pool_images(test.rows).index  # a class that no mask and no prediction has would flatten the curves
    by_class = {name: counts for name, counts in zip(names[1:], test.pixels, strict=True) if name in found}
    reliability = _stack_classes({name: reliability_curve(counts) for name, counts in by_class.items()})
    thresholds = _stack_classes({name: threshold_curve(counts)[::10] for name, counts in by_class.items()})
    write_csv(workspace.per_image, test.rows, digits=DIGITS)
    write_csv(workspace.reliability, reliability, digits=DIGITS)
    write_csv(workspace.thresholds, thresholds, digits=DIGITS)
    write_csv(workspace.risk_coverage, risk_coverage_curve(images.confidence, images.dice), digits=DIGITS)
    metrics, details = split_scores(_rounded(scores))
    write_json(workspace.metrics, metrics)
    write_json(workspace.details_source, details)


def split_scores(scores: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the content of metrics.json and that of details.json. `record.merge_scores` is the inverse."""
    metrics: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for name, value in scores.items():
        if not isinstance(value, dict):
            (metrics if name in HEADLINE else details)[name] = value
            continue
        for key, score in value.items():
            (metrics if key in HEADLINE.get(name, ()) else details).setdefault(name, {})[key] = score
        if not value:
            details[name] = value
    return metrics, details


def _stack_classes(by_class: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([rows.assign(**{"class": name}) for name, rows in by_class.items()])


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value
