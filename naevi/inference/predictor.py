"""The predictor: one folder with all that prediction needs, so that it works outside the pipeline too.

predict.json holds the settings. model.safetensors and model.json are those of the model `all`. They are missing if
cv.models lacks `all`.
"""

import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from naevi.config import Config, EvaluateConfig, PredictConfig, RuntimeConfig, load_config
from naevi.errors import UserError, describe_error
from naevi.files import atomic_folder, read_json, write_json
from naevi.models.storage import DESCRIPTION, WEIGHTS
from naevi.workspace import Workspace

SETTINGS = "predict.json"


class PredictorSettings(PredictConfig, RuntimeConfig):
    """The content of predict.json: params.yaml's prediction settings and runtime."""


def write_predictor(workspace: Workspace, config: Config) -> None:
    """Write data/predictor from the model `all`; without `all` in cv.models only predict.json."""
    with atomic_folder(workspace.predictor) as folder:
        write_predict_settings(folder, config.evaluate, config.runtime)
        if "all" in config.model_names():
            for name in (WEIGHTS, DESCRIPTION):
                shutil.copyfile(workspace.model("all") / name, folder / name)


def write_predict_settings(folder: Path, evaluate: EvaluateConfig, runtime: RuntimeConfig) -> None:
    """Write predict.json. A predictor that was made on a GPU also works without one."""
    values = _settings(evaluate, runtime)
    if runtime.device == "cuda":
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
        return PredictorSettings.model_validate(_settings(config.evaluate, config.runtime))
    raise UserError(
        f"{folder} is not a predictor: it has no {SETTINGS}. Name a folder such as data/predictor, which `dvc repro` "
        "writes."
    )


def _settings(evaluate: EvaluateConfig, runtime: RuntimeConfig) -> dict[str, Any]:
    return evaluate.model_dump(include=set(PredictConfig.model_fields)) | runtime.model_dump()


def _parse_settings(file: Path) -> PredictorSettings:
    try:
        return PredictorSettings.model_validate(read_json(file))
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        raise UserError(f"{file} can't be read ({describe_error(error)[:200]}). Restore it with `dvc pull`.") from error
