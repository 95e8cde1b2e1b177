"""Write metrics.json, per_image.csv and the tables behind the plots."""

from typing import Any

import pandas as pd

from naevi.evaluation.calibration import reliability_curve, risk_coverage_curve, threshold_curve
from naevi.evaluation.scoring import ImageScores
from naevi.evaluation.summary import average_classes, pool_images
from naevi.files import write_csv, write_json
from naevi.workspace import Workspace

DIGITS = 6  # so that git shows what really changed


def write_outputs(workspace: Workspace, test: ImageScores, scores: dict[str, Any], names: list[str]) -> None:
    """Write the scores of tested images and their curves under reports/. `names` are those of the classes."""
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
    write_json(workspace.metrics, _rounded(scores))


def _stack_classes(by_class: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([rows.assign(**{"class": name}) for name, rows in by_class.items()])


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value
