"""Every image predicted once by a model that never saw it, and scored at its own size."""

import json
from typing import Any

import pandas as pd
from torch import Tensor

from naevi import dataset, metrics, model_file, paths, splitting
from naevi.config import Config
from naevi.images import read_mask, write_mask
from naevi.prediction import at_size, probabilities
from naevi.progress import progress
from naevi.runtime import resolve


def cross_validate(config: Config, split: pd.DataFrame, lesions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the predictions of the test parts; return the scores of test and validation images, one row each.

    Columns: image_id, dataset, diagnosis, fold; dice, iou, sensitivity, specificity (0..1); tp, fp, fn, tn (native px).
    """
    paths.PREDICTIONS.mkdir(parents=True, exist_ok=True)
    runtime = resolve(config.runtime)
    parts: dict[str, list[pd.DataFrame]] = {"test": [], "val": []}
    folds = config.folds()
    for fold in progress(folds, total=len(folds), label="evaluate", unit="folds"):
        network = model_file.read(paths.model(str(fold)), device=runtime.device)
        for part, tables in parts.items():
            held_out = dataset.load(paths.PREPARED, splitting.ids(split, str(fold), part), device=runtime.device)
            probability = probabilities(network, held_out.images, runtime, flips=config.evaluate.flips).cpu()
            for image_id, each in zip(held_out.ids, probability, strict=True):
                row = _score(image_id, each, config.evaluate.threshold, keep=part == "test")
                tables.append(row.assign(fold=fold))
    test, validation = (_table(pd.concat(tables), lesions) for tables in parts.values())
    return test, validation


def _score(image_id: str, probability: Tensor, threshold: float, *, keep: bool) -> pd.DataFrame:
    """Counts of one image at native size; with `keep` its prediction is written."""
    mask = read_mask(paths.RAW / "masks" / f"{image_id}.png")
    height, width = mask.shape
    prediction = (at_size(probability, height=height, width=width) >= threshold).numpy().astype("uint8")
    if keep:
        write_mask(paths.PREDICTIONS / f"{image_id}.png", prediction)
    return metrics.counts(mask[None], prediction[None]).assign(image_id=image_id)


def _table(counts: pd.DataFrame, lesions: pd.DataFrame) -> pd.DataFrame:
    table = lesions[["image_id", "dataset", "diagnosis"]].merge(counts, on="image_id")
    table = table.join(metrics.scores(table))
    return table[["image_id", "dataset", "diagnosis", "fold", *metrics.SCORES, "tp", "fp", "fn", "tn"]]


def curves(config: Config) -> pd.DataFrame:
    """The history of every model, one row per epoch, with a column `model`."""
    return pd.concat(
        [pd.read_csv(paths.model(item) / "history.csv").assign(model=item) for item in config.items()],
        ignore_index=True,
    )


def write(test: pd.DataFrame, validation: pd.DataFrame, config: Config) -> None:
    """Write reports/metrics.json, per_image.csv and curves.csv: rounded to 6 digits, so that git shows what moved."""
    paths.METRICS.parent.mkdir(parents=True, exist_ok=True)
    test.to_csv(paths.PER_IMAGE, index=False, float_format="%.6f")
    curves(config).to_csv(paths.CURVES, index=False)
    figures = _rounded(metrics.summary(test, validation, config.evaluate))
    paths.METRICS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value
