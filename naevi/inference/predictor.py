"""The predictor: one folder with all that prediction needs, so that it works outside the pipeline too.

predict.json holds the settings. model.safetensors and model.json are those of the model `all`. They are missing if
cv.models lacks `all`.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from naevi.config import Config, EvaluateConfig, PredictConfig, ReadingConfig, RuntimeConfig, Section, load_config
from naevi.errors import UserError, describe_error
from naevi.files import atomic_folder, read_json, write_json
from naevi.images.files import READING_FILE
from naevi.models.storage import DESCRIPTION, WEIGHTS
from naevi.workspace import Workspace

SETTINGS = "predict.json"
INVALID = (OSError, TypeError, ValueError, ValidationError, RecursionError)  # what reading a JSON file can raise
# How images are read if that isn't recorded: in older predictors, and if all training images have 8 bits.
PLAIN_READING: dict[str, Any] = {"white": 2**16 - 1, "image_alpha": "white"}


class TrainingReading(Section):
    """How training images were read: the content of data/raw/reading.json."""

    white: Annotated[float, Field(gt=0, lt=2**32)]  # of images with more than 8 bits per channel
    image_alpha: Literal["white", "black", "ignore"]


class PredictorSettings(PredictConfig, RuntimeConfig, TrainingReading):
    """The content of predict.json: params.yaml's prediction settings and runtime, and how training images were read."""

    def reading(self) -> ReadingConfig:
        """Return how new images are read: like the training images. Several pages are refused."""
        return reading_like(self.white, self.image_alpha)


def reading_like(white: float, image_alpha: Literal["white", "black", "ignore"]) -> ReadingConfig:
    """Return how new images are read for a model whose training images were read like this."""
    return ReadingConfig(orientation="apply", white=white, image_alpha=image_alpha, mask_alpha="auto", pages="refuse")


PLAIN = reading_like(**PLAIN_READING)


def write_predictor(workspace: Workspace, config: Config) -> None:
    """Write data/predictor from the model `all`; without `all` in cv.models only predict.json."""
    with atomic_folder(workspace.predictor) as folder:
        write_predict_settings(folder, config.evaluate, config.runtime, _read_reading(workspace))
        if "all" in config.model_names():
            for name in (WEIGHTS, DESCRIPTION):
                shutil.copyfile(workspace.model("all") / name, folder / name)


def write_predict_settings(
    folder: Path, evaluate: EvaluateConfig, runtime: RuntimeConfig, reading: Mapping[str, Any] = PLAIN_READING
) -> None:
    """Write predict.json. A predictor that was made on a GPU also works without one."""
    values = _settings(evaluate, runtime) | dict(reading)
    if runtime.device in ("cuda", "mps"):
        values["device"] = "auto"
    write_json(folder / SETTINGS, values)


def read_predict_settings(folder: Path, workspace: Workspace | None = None) -> PredictorSettings:
    """Return the settings of a predictor; for a folder without predict.json those of a workspace's params.yaml.

    Raises UserError if there are none, or if the folder holds no model.
    """
    if (folder / SETTINGS).exists():
        if not (folder / DESCRIPTION).exists():
            raise UserError(
                f"{folder} holds no model, because cv.models lacks all. Add all to cv.models and run `dvc repro`."
            )
        return _parse_settings(folder / SETTINGS)
    if workspace is not None and workspace.params.exists() and (folder / DESCRIPTION).exists():
        config = load_config(workspace)
        values = _settings(config.evaluate, config.runtime) | _read_reading(workspace)
        return PredictorSettings.model_validate(values)
    raise UserError(
        f"{folder} is not a predictor: it has no {SETTINGS}. Name a folder such as data/predictor, which `dvc repro` "
        "writes."
    )


def _settings(evaluate: EvaluateConfig, runtime: RuntimeConfig) -> dict[str, Any]:
    return evaluate.model_dump(include=set(PredictConfig.model_fields)) | runtime.model_dump()


def _read_reading(workspace: Workspace) -> dict[str, Any]:
    """Return how the images in data/raw were read."""
    file = workspace.raw / READING_FILE
    if not file.exists():
        return PLAIN_READING
    try:
        values: dict[str, Any] = read_json(file)
        TrainingReading.model_validate(values)
    except INVALID as error:
        raise UserError(
            f"{file} is invalid ({describe_error(error)[:200]}). Restore it with `dvc checkout`."
        ) from error
    return values


def _parse_settings(file: Path) -> PredictorSettings:
    try:
        return PredictorSettings.model_validate(PLAIN_READING | read_json(file))
    except INVALID as error:
        raise UserError(f"{file} can't be read ({describe_error(error)[:200]}). Restore it with `dvc pull`.") from error
