"""Registered models in MLflow, one for each data set. The alias `champion` marks the version in use."""

import atexit
import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from naevi.config import parse_record
from naevi.errors import UserError, describe_error
from naevi.files import read_csv, read_yaml
from naevi.tracking import store
from naevi.tracking.artifacts import md5_tag
from naevi.tracking.logged_models import ADDRESS, list_model_files, model_of
from naevi.tracking.store import FINISHED_RESULTS, get_or_none, search_runs, tracking_uri
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
MAX_ERROR_CHARACTERS = 200

logger = logging.getLogger(__name__)


class FinishedResult(NamedTuple):
    """A finished result in the store."""

    run: str  # id
    model: str | None  # id of its MLflow model, None without the model `all`
    per_image: pd.DataFrame  # its per_image.csv
    predictor: str  # MD5 of data/predictor in its record, "" for results of earlier versions


class Champion(NamedTuple):
    """The version of a registered model that is in use."""

    model: str  # name of the registered model
    version: str
    before: str | None  # version of the champion before this one
    run: str  # id of the result's run
    source: str  # its data.source, empty if the run is lost
    data_set: str  # the name of its data set, empty if it was recorded before data sets had names
    digest: str  # of its data set, empty for the same reason
    raw: str  # MD5 of data/raw in its record, empty if its run is lost


def finished_results(workspace: Workspace) -> list[FinishedResult]:
    """Return the finished results, the oldest first. Those without a per_image.csv are left out with a warning."""
    client, experiment_id = store.connect(workspace)
    results = []
    for run in search_runs(client, experiment_id, FINISHED_RESULTS):
        run_id = str(run.info.run_id)
        try:
            per_image = read_per_image(workspace, run_id)
        except UserError as error:
            logger.warning("MLflow's run %s is left out: %s", run.info.run_name, error)
        else:
            predictor = run.data.tags.get(md5_tag("data/predictor"), "")
            results.append(FinishedResult(run_id, model_of(run), per_image, predictor))
    return results


def find_champion(workspace: Workspace, model: str) -> Champion | None:
    """Return the champion of a registered model, or None if there is none yet."""
    client, _ = store.connect(workspace)
    registered = get_or_none(lambda: client.get_registered_model(model))
    if registered is None or CHAMPION not in registered.aliases:
        return None
    version = client.get_model_version_by_alias(model, CHAMPION)
    run_id = str(version.run_id)
    run = _find_run(client, run_id)
    tags, params = (run.data.tags, run.data.params) if run else ({}, {})
    digest = tags.get("data", "")
    data_set = tags["dataset"] if digest else ""
    return Champion(
        model=model,
        version=str(version.version),
        before=version.tags.get("before"),
        run=run_id,
        source=params.get("data.source", ""),
        data_set=data_set,
        digest=digest,
        raw=tags.get(md5_tag("data/raw"), ""),
    )


def _find_run(client: "MlflowClient", run_id: str) -> "Run | None":
    """Return a run, even if it was deleted, or None if the store doesn't have it anymore."""
    return get_or_none(lambda: client.get_run(run_id))


def register_champion(workspace: Workspace, model: str, result: FinishedResult, tags: dict[str, str]) -> str:
    """Make the MLflow model of a result a version of a registered model, and its champion. Return the version."""
    client, _ = store.connect(workspace)
    if get_or_none(lambda: client.get_registered_model(model)) is None:
        client.create_registered_model(model)
    version = _create_version(client, model, result.run, str(result.model), tags)
    client.set_registered_model_alias(model, CHAMPION, version)
    return version


def _create_version(client: "MlflowClient", name: str, run_id: str, model: str, tags: dict[str, str]) -> str:
    """Make the MLflow model of a run a version of the registered model `name`. Return the version."""
    return str(client.create_model_version(name, f"{ADDRESS}{model}", run_id, tags, model_id=model).version)


def _has_files(client: "MlflowClient", version: "ModelVersion") -> bool:
    """Return whether the files of a version exist. Those of earlier releases aren't checked: they name no model."""
    source = str(version.source)
    return not source.startswith(ADDRESS) or bool(list_model_files(client, source.removeprefix(ADDRESS)))


def set_champion(workspace: Workspace, model: str, version: str) -> None:
    """Make a version of a registered model its champion. Raises UserError if it or its files were deleted."""
    client, _ = store.connect(workspace)
    found = get_or_none(lambda: client.get_model_version(model, version))
    if found is None:
        raise UserError(
            f"Version {version} of the registered model {model} was deleted. Promote a result instead: `make promote "
            "NAME=…`."
        )
    if not _has_files(client, found):
        raise UserError(
            f"The files of version {version} of the registered model {model} are lost. Record them again with `make "
            "verify`."
        )
    client.set_registered_model_alias(model, CHAMPION, version)


def restore_versions(workspace: Workspace) -> list[str]:
    """Register the models again that have lost their files, if their results were recorded again since.

    A new version takes the place of the old one: as the champion, and as the champion before another. Return a message
    for each.
    """
    client, experiment_id = store.connect(workspace)
    runs = search_runs(client, experiment_id, FINISHED_RESULTS)
    results = {run.data.tags["fingerprint"]: run for run in runs}
    versions = sorted(client.search_model_versions(), key=lambda version: (version.name, int(version.version)))
    replaced = {(version.name, version.tags.get("replaces")) for version in versions}
    messages = []
    for version in versions:
        name, old = version.name, str(version.version)
        run = _find_run(client, version.run_id) if version.run_id else None
        result = results.get(run.data.tags.get("fingerprint", "")) if run else None  # None for models of others, too
        model = model_of(result) if result else None
        if result is None or model is None or (name, old) in replaced or _has_files(client, version):
            continue
        tags = client.get_model_version(name, old).tags | {"replaces": old}
        new = _create_version(client, name, str(result.info.run_id), model, tags)
        for later in versions:
            if (later.name, later.tags.get("before")) == (name, old):
                client.set_model_version_tag(name, later.version, "before", new)
        if str(client.get_registered_model(name).aliases.get(CHAMPION)) == old:
            client.set_registered_model_alias(name, CHAMPION, new)
        messages.append(f"Version {old} of the registered model {name} has lost its files. It is version {new} now.")
    return messages


def has_lost_champion(workspace: Workspace, model: str) -> bool:
    """Return whether a registered model has no champion, because that version was deleted in MLflow's pages."""
    client, _ = store.connect(workspace)
    registered = get_or_none(lambda: client.get_registered_model(model))
    return registered is not None and CHAMPION not in registered.aliases


def read_per_image(workspace: Workspace, run_id: str) -> pd.DataFrame:
    """Return the per_image.csv of a result's run. Raises UserError with the place where MLflow expects it."""
    client, _ = store.connect(workspace)
    import mlflow

    name, uri = workspace.per_image.name, tracking_uri(workspace)
    try:
        return read_csv(Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name, tracking_uri=uri)))
    except Exception as error:  # of MLflow, sqlalchemy, requests, pandas or the file system
        run = _find_run(client, run_id)
        place = run.info.artifact_uri if run else f"MLflow's store {uri}, like its run {run_id},"
        raise UserError(
            f"{name} is missing in {place} or can't be read. Bring the files back, or record the result again with "
            "`make verify`."
        ) from error


def download_model(workspace: Workspace, address: str) -> Path:
    """Return a local folder with the model at an MLflow address, such as models:/ph2@champion or runs:/<id>/model.

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
    config = parse_record(read_yaml(params))
    temporary = Path(tempfile.mkdtemp(prefix="naevi-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    copy = Path(shutil.copytree(model, temporary / "model"))
    write_predict_settings(copy, config.evaluate, config.runtime)
    return copy
