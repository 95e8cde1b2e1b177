"""Registered models in MLflow. The alias `champion` marks the one in use."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from naevi.config import parse_config, read_yaml
from naevi.errors import UserError, describe_error
from naevi.files import read_csv
from naevi.tracking import store
from naevi.tracking.store import EXPERIMENT, FINISHED, search_runs, tracking_uri
from naevi.workspace import Workspace

CHAMPION = "champion"
MAX_ERROR_CHARACTERS = 200


class FinishedResult(NamedTuple):
    """A finished result in the store."""

    run: str  # id
    model: str | None  # id of its MLflow model, None without the model `all`
    per_image: pd.DataFrame  # its per_image.csv


class Champion(NamedTuple):
    """The registered model in use."""

    version: str
    before: str | None  # version of the champion before this one
    run: str  # id of the result's run
    per_image: pd.DataFrame  # the result's per_image.csv


def finished_results(workspace: Workspace) -> list[FinishedResult]:
    """Return the finished results, the oldest first."""
    client, experiment_id = store.connect(workspace)
    results = []
    for run in search_runs(client, experiment_id, f"{FINISHED} and tags.kind = 'result'"):
        models = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
        run_id = str(run.info.run_id)
        results.append(FinishedResult(run_id, models[0] if models else None, _read_per_image(workspace, run_id)))
    return results


def find_champion(workspace: Workspace) -> Champion | None:
    """Return the champion, or None if there is none yet."""
    client, _ = store.connect(workspace)
    registered = client.search_registered_models(f"name = '{EXPERIMENT}'")
    if not registered or CHAMPION not in registered[0].aliases:
        return None
    version = client.get_model_version_by_alias(EXPERIMENT, CHAMPION)
    run_id = str(version.run_id)
    return Champion(str(version.version), version.tags.get("before"), run_id, _read_per_image(workspace, run_id))


def register_champion(workspace: Workspace, result: FinishedResult, tags: dict[str, str]) -> str:
    """Register the model of a result with these tags, make it champion and return its version."""
    client, _ = store.connect(workspace)
    if not client.search_registered_models(f"name = '{EXPERIMENT}'"):
        client.create_registered_model(EXPERIMENT)
    source = f"models:/{result.model}"
    registered = client.create_model_version(EXPERIMENT, source, result.run, tags, model_id=result.model)
    version = str(registered.version)
    set_champion(workspace, version)
    return version


def set_champion(workspace: Workspace, version: str) -> None:
    """Make a registered version champion."""
    store.connect(workspace)[0].set_registered_model_alias(EXPERIMENT, CHAMPION, version)


def _read_per_image(workspace: Workspace, run_id: str) -> pd.DataFrame:
    import mlflow

    file = mlflow.artifacts.download_artifacts(
        run_id=run_id, artifact_path=workspace.per_image.name, tracking_uri=tracking_uri(workspace)
    )
    return read_csv(Path(file))


def download_model(workspace: Workspace, address: str) -> Path:
    """Return a local folder with the model at an MLflow address, such as models:/naevi@champion or runs:/<id>/model.

    It contains model.json and model.safetensors. If MLflow has settings of prediction for the model, it also contains
    predict.json.

    Raises UserError if the store has nothing at this address, or something that is not a model of this pipeline.
    """
    store.connect(workspace)
    import mlflow

    uri = tracking_uri(workspace)
    try:
        download = Path(mlflow.artifacts.download_artifacts(address, tracking_uri=uri))
    except Exception as error:  # of MLflow, sqlalchemy or requests
        reason = describe_error(error)[:MAX_ERROR_CHARACTERS]
        raise UserError(f"MLflow's store {uri} has no {address} ({reason}). Check the address.") from error
    folders = sorted(file.parent for file in download.rglob("model.json"))
    if not folders:
        raise UserError(
            f"{address} doesn't contain a model.json. Give the address of a model, such as runs:/<id>/model."
        )
    return _with_settings(folders[0], download)


def _with_settings(model: Path, download: Path) -> Path:
    """Return the model's folder, or a copy with predict.json if the download has a params.yaml instead.

    MLflow models of earlier versions have that. A copy, because MLflow gives us its own files if they are local.
    """
    from naevi.inference.predictor import SETTINGS, write_predict_settings  # lazy, because it imports torch

    params = next(iter(sorted(download.rglob("params.yaml"))), None)
    if (model / SETTINGS).exists() or params is None:
        return model
    config = parse_config(read_yaml(params))
    temporary = Path(tempfile.mkdtemp(prefix="naevi-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    copy = Path(shutil.copytree(model, temporary / "model"))
    write_predict_settings(copy, config.evaluate, config.runtime)
    return copy
