"""Predict every image with the model that never saw it, and score it."""

import logging
import shutil

import pandas as pd

from naevi.config import Config
from naevi.dataset import image_ids
from naevi.evaluation.scoring import ImageScores, concatenate_scores, per_image_table, score_images
from naevi.files import atomic_folder
from naevi.inference.segmenter import open_segmenter
from naevi.models.device import resolve_compute_settings
from naevi.models.storage import HISTORY
from naevi.progress import progress
from naevi.tables import read_history
from naevi.workspace import Workspace

logger = logging.getLogger(__name__)


def remove_other_models(workspace: Workspace, config: Config) -> None:
    """Remove the models that were trained for another value of `cv.models`, with a warning. DVC's cache keeps them.

    The stages depend on the whole folder of models. With models that `cv.models` doesn't name, its hash in dvc.lock
    would not be that of the same result in another clone, and the stages would run there again.
    """
    named = set(config.model_names())
    trained = [path.name for path in workspace.models.glob("*") if path.name == "all" or path.name.isdigit()]
    others = sorted(name for name in trained if name not in named)
    for name in others:
        shutil.rmtree(workspace.model(name))
    if others:
        folder = workspace.relative(workspace.models)
        logger.warning(
            "Removed from %s: %s. cv.models doesn't name them. DVC's cache keeps them.", folder, ", ".join(others)
        )


def cross_validate(
    workspace: Workspace, config: Config, split: pd.DataFrame, image_table: pd.DataFrame
) -> tuple[ImageScores, pd.DataFrame]:
    """Write the predictions for the test images; return their scores and the rows of the validation images.

    The rows have the columns of per_image.csv. Validation images have no surface distances.
    """
    compute = resolve_compute_settings(config.runtime)
    scores: dict[str, list[ImageScores]] = {"test": [], "val": []}
    folds = config.folds()
    with atomic_folder(workspace.predictions) as predictions:
        for fold in progress(folds, total=len(folds), label="evaluate", unit="folds"):
            segmenter = open_segmenter(workspace.model(str(fold)), config.evaluate, compute)
            for part, scores_of_part in scores.items():
                ids = image_ids(split, str(fold), part)
                keep = predictions if part == "test" else None
                rows, pixels = score_images(segmenter, workspace, ids, keep=keep)
                scores_of_part.append(ImageScores(rows.assign(fold=fold), pixels))
    test, validation = map(concatenate_scores, scores.values())
    return test._replace(rows=per_image_table(test.rows, image_table)), per_image_table(validation.rows, image_table)


def learning_curves(workspace: Workspace, config: Config) -> pd.DataFrame:
    """Return the history of every model, one row for each epoch, with a column `model`."""
    histories = [read_history(workspace.model(name) / HISTORY).assign(model=name) for name in config.model_names()]
    return pd.concat(histories, ignore_index=True)
