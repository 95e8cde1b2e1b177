"""Every image predicted once by a model that never saw it, and scored at its own size."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from naevi import dataset, metrics, model_file, paths, splitting, whole
from naevi.config import Config, EvaluateConfig
from naevi.images import read_mask, write_mask
from naevi.prediction import at_size, cleaned, decided, probabilities
from naevi.progress import progress
from naevi.runtime import Runtime, resolve

COLUMNS = ["image_id", "dataset", "diagnosis", "fold", "class", *metrics.SCORES, "tp", "fp", "fn", "tn"]
PART = 256  # images in memory at a time


def cross_validate(config: Config, split: pd.DataFrame, lesions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the predictions of the test parts; return the scores of test and validation images.

    One row per image and class that is not the background: image_id, dataset, diagnosis, fold, class; dice, iou,
    sensitivity, specificity (0..1); tp, fp, fn, tn (native px).
    """
    runtime = resolve(config.runtime)
    parts: dict[str, list[pd.DataFrame]] = {"test": [], "val": []}
    folds = config.folds()
    with whole.folder(paths.PREDICTIONS) as predictions:
        for fold in progress(folds, total=len(folds), label="evaluate", unit="folds"):
            network = model_file.read(paths.model(str(fold)), device=runtime.device)
            for part, tables in parts.items():
                ids = splitting.ids(split, str(fold), part)
                keep = predictions if part == "test" else None
                tables.append(scored(network, ids, config, runtime, keep=keep).assign(fold=fold))
    test, validation = (table(pd.concat(tables), lesions) for tables in parts.values())
    return test, validation


def scored(network: nn.Module, ids: list[str], config: Config, runtime: Runtime, *, keep: Path | None) -> pd.DataFrame:
    """Counts of these images at native size, with image_id and class; predictions are written into `keep`."""
    names = config.data.names()
    rows = []
    for first in range(0, len(ids), PART):
        part = ids[first : first + PART]
        held_out = dataset.load(paths.PREPARED, part, classes=len(names), device=runtime.device)
        probability = probabilities(
            network, held_out.images, runtime, flips=config.evaluate.flips, turns=config.evaluate.turns
        ).cpu()
        rows += [
            _score(image_id, each, config.evaluate, names, keep)
            for image_id, each in zip(part, probability, strict=True)
        ]
    return pd.concat(rows)


def _score(
    image_id: str, probability: Tensor, settings: EvaluateConfig, names: list[str], keep: Path | None
) -> pd.DataFrame:
    mask = read_mask(paths.RAW / "masks" / f"{image_id}.png")
    height, width = mask.shape
    decision = decided(at_size(probability, height=height, width=width), settings.threshold).numpy()
    prediction = cleaned(
        decision, classes=len(names), fill_holes=settings.fill_holes, largest_only=settings.largest_only
    )
    if keep:
        write_mask(keep / f"{image_id}.png", prediction)
    counts = metrics.counts(mask[None], prediction[None], classes=len(names))
    return counts.assign(image_id=image_id, **{"class": [names[place] for place in counts.place]})


def table(counts: pd.DataFrame, lesions: pd.DataFrame) -> pd.DataFrame:
    """Counts of images and classes, as `scored` gives them, with their scores; columns as in per_image.csv."""
    rows = lesions[["image_id", "dataset", "diagnosis"]].merge(counts, on="image_id")
    return rows.join(metrics.scores(rows))[COLUMNS]


def curves(config: Config) -> pd.DataFrame:
    """The history of every model, one row per epoch, with a column `model`."""
    return pd.concat(
        [pd.read_csv(paths.model(item) / "history.csv").assign(model=item) for item in config.items()],
        ignore_index=True,
    )


def write(test: pd.DataFrame, figures: dict[str, Any]) -> None:
    """Write reports/per_image.csv and metrics.json: rounded to 6 digits, so that git shows what moved."""
    paths.METRICS.parent.mkdir(parents=True, exist_ok=True)
    test.to_csv(paths.PER_IMAGE, index=False, float_format="%.6f")
    paths.METRICS.write_text(json.dumps(_rounded(figures), indent=2) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value
