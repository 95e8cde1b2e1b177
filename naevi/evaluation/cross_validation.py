"""Predict every image with the model that never saw it, and score it."""

import logging
import shutil

import pandas as pd

from naevi.config import Config
from naevi.dataset import image_ids
from naevi.evaluation.scoring import ImageScores, Part, concatenate_scores, per_image_table, score_images
from naevi.files import atomic_folder
from naevi.images.folders import pack_images
from naevi.inference.segmenter import open_segmenter
from naevi.models.device import resolve_compute_settings
from naevi.models.storage import HISTORY
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
    folds = config.folds()
    with atomic_folder(workspace.predictions) as predictions:
        parts = []
        for fold in folds:
            segmenter = open_segmenter(workspace.model(str(fold)), config.evaluate, compute)
            parts += [
                Part(segmenter, image_ids(split, str(fold), "test"), keep=predictions),
                Part(segmenter, image_ids(split, str(fold), "val"), keep=None),
            ]
        scores = score_images(workspace, parts)
        pack_images(predictions)
    test, validation = (_concatenate_folds(folds, of_part) for of_part in (scores[::2], scores[1::2]))
    return test._replace(rows=per_image_table(test.rows, image_table)), per_image_table(validation.rows, image_table)


def _concatenate_folds(folds: list[int], scores: list[ImageScores]) -> ImageScores:
    """Return the scores of all folds together, with a column `fold`."""
    return concatenate_scores(
        [of_fold._replace(rows=of_fold.rows.assign(fold=fold)) for fold, of_fold in zip(folds, scores, strict=True)]
    )


def learning_curves(workspace: Workspace, config: Config) -> pd.DataFrame:
    """Return the history of every model, one row for each epoch, with a column `model`."""
    histories = [read_history(workspace.model(name) / HISTORY).assign(model=name) for name in config.model_names()]
    return pd.concat(histories, ignore_index=True)
