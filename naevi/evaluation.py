"""Every image predicted once by a model that never saw it, and scored at its own size."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor, nn

from naevi import calibration, dataset, metrics, model_file, paths, splitting, summary, surfaces, whole
from naevi.config import Config, EvaluateConfig
from naevi.images import read_mask, write_mask
from naevi.prediction import at_size, masked, probabilities
from naevi.progress import progress
from naevi.runtime import Runtime, resolve

LESION = ["image_id", "dataset", "diagnosis", "lesion_fraction", "touches_frame", "dark_corners"]
COLUMNS = [*LESION, "fold", "class", *summary.SCORES, "tp", "fp", "fn", "tn"]
PART = 256  # images in memory at a time


class Scored(NamedTuple):
    """What is known of some images.

    rows: one per image and class that is not the background. pixels: of each of these classes all images' pixels by
    probability, int64 (K - 1, 2, BINS), see `calibration.counts`.
    """

    rows: pd.DataFrame
    pixels: calibration.Counts


def cross_validate(config: Config, split: pd.DataFrame, lesions: pd.DataFrame) -> tuple[Scored, pd.DataFrame]:
    """Write the predictions of the test parts; return what is known of test images, and the rows of validation images.

    The columns of rows are those of per_image.csv; validation images have no distances between outlines.
    """
    runtime = resolve(config.runtime)
    parts: dict[str, list[Scored]] = {"test": [], "val": []}
    folds = config.folds()
    with whole.folder(paths.PREDICTIONS) as predictions:
        for fold in progress(folds, total=len(folds), label="evaluate", unit="folds"):
            network = model_file.read(paths.model(str(fold)), device=runtime.device)
            for part, found in parts.items():
                ids = splitting.ids(split, str(fold), part)
                keep = predictions if part == "test" else None
                rows, pixels = scored(network, ids, config, runtime, keep=keep)
                found.append(Scored(rows.assign(fold=fold), pixels))
    test, validation = map(_together, parts.values())
    return test._replace(rows=table(test.rows, lesions)), table(validation.rows, lesions)


def scored(network: nn.Module, ids: list[str], config: Config, runtime: Runtime, *, keep: Path | None) -> Scored:
    """These images measured at native size; with `keep`, predictions are written there and outlines compared.

    Columns of rows: image_id, class, those of `metrics.counts` and `metrics.scores`, brier, confidence and, with
    `keep`, surfaces.SURFACES.
    """
    settings, names = config.evaluate, config.data.names()
    found = []
    for first in range(0, len(ids), PART):
        part = ids[first : first + PART]
        held_out = dataset.load(paths.PREPARED, part, classes=len(names), device=runtime.device)
        probability = probabilities(network, held_out.images, runtime, flips=settings.flips, turns=settings.turns).cpu()
        found += [_score(*each, settings, names, keep) for each in zip(part, probability, strict=True)]
    return _together(found)


def _together(parts: list[Scored]) -> Scored:
    return Scored(pd.concat([part.rows for part in parts]), np.sum([part.pixels for part in parts], axis=0))


def _score(image_id: str, probability: Tensor, settings: EvaluateConfig, names: list[str], keep: Path | None) -> Scored:
    mask = read_mask(paths.RAW / "masks" / f"{image_id}.png")
    height, width = mask.shape
    resized = at_size(probability, height=height, width=width)
    prediction = masked(resized, settings)
    if keep:
        write_mask(keep / f"{image_id}.png", prediction)
    counts = metrics.counts(mask[None], prediction[None], classes=len(names))
    more, pixels = [], []
    # Of two classes there is only the probability of the one that is not the background.
    for place, of_class in enumerate(resized.numpy()[-(len(names) - 1) :], start=1):
        area, predicted = mask == place, prediction == place
        pixels.append(calibration.counts(of_class, area))
        more.append(
            {
                "class": names[place],
                "brier": calibration.brier(of_class, area),
                "confidence": calibration.confidence(of_class, predicted),
            }
            | (surfaces.distances(area, predicted) if keep else {})
        )
    rows = counts.join(metrics.scores(counts)).join(pd.DataFrame(more)).assign(image_id=image_id)
    return Scored(rows, np.stack(pixels))


def table(rows: pd.DataFrame, lesions: pd.DataFrame) -> pd.DataFrame:
    """Rows as `scored` gives them, with `fold`, in the order of lesions.csv and with what it knows of each image."""
    found = lesions[LESION].merge(rows, on="image_id")
    return found[[column for column in COLUMNS if column in found]]


def curves(config: Config) -> pd.DataFrame:
    """The history of every model, one row per epoch, with a column `model`."""
    return pd.concat(
        [pd.read_csv(paths.model(item) / "history.csv").assign(model=item) for item in config.items()],
        ignore_index=True,
    )


def write(test: Scored, figures: dict[str, Any], names: list[str]) -> None:
    """Write reports/metrics.json, per_image.csv and the curves: rounded to 6 digits, so that git shows what moved."""
    paths.METRICS.parent.mkdir(parents=True, exist_ok=True)
    images = summary.by_image(test.rows)
    by_class = dict(zip(names[1:], test.pixels, strict=True))
    tables = {
        paths.PER_IMAGE: test.rows,
        paths.RELIABILITY: _stacked({name: calibration.reliability(pixels) for name, pixels in by_class.items()}),
        paths.THRESHOLDS: _stacked({name: calibration.thresholds(pixels)[::10] for name, pixels in by_class.items()}),
        paths.RISK_COVERAGE: calibration.risk_coverage(images.confidence, images.dice),
    }
    for path, rows in tables.items():
        with whole.file(path) as partial:
            rows.to_csv(partial, index=False, float_format="%.6f")
    with whole.file(paths.METRICS) as partial:
        partial.write_text(json.dumps(_rounded(figures), indent=2) + "\n", encoding="utf-8")


def _stacked(by_class: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([rows.assign(**{"class": name}) for name, rows in by_class.items()])


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value
