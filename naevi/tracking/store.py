"""MLflow's store: connect to it, find runs in it, and close stale runs.

A run describes a model or a result. Its tags identify which, see `model_keys`. Only FINISHED runs count, and each
result and each model has one of them. MLflow is imported inside functions: the import takes seconds, and the other
stages don't need it.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import psutil
from filelock import FileLock

from naevi.errors import UserError, describe_error
from naevi.tracking.creation import (
    create_store,
    replace_half_made_store,
    sqlite_uri,
    without_literal_folders,
)
from naevi.tracking.model_keys import ModelKey, children_keys, model_key
from naevi.tracking.relocation import follow_move
from naevi.tracking.source import RESULT_COMMIT
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")

logger = logging.getLogger(__name__)

EXPERIMENT = "naevi"
FINISHED = "attributes.status = 'FINISHED'"
RESULTS = "tags.kind = 'result'"
FINISHED_RESULTS = f"{RESULTS} and {FINISHED}"
MAX_ERROR_CHARACTERS = 240
URI_VARIABLE = "MLFLOW_TRACKING_URI"


class StoredResult(NamedTuple):
    """A finished result in the store."""

    name: str
    runs: list[str]  # ids, the oldest first; all but the first are duplicates
    lacking: int  # number of its models that have no finished run
    experiments: list[str]  # names of the DVC experiments with this result
    baseline: str  # commit that it started from
    orphan: bool  # tagged as a result that git doesn't have
    commit: str  # that has it, "" if it isn't known


def tracking_uri(workspace: Workspace) -> str:
    """Return MLFLOW_TRACKING_URI, or the sqlite store of the repository if it isn't set."""
    return os.environ.get(URI_VARIABLE) or sqlite_uri(workspace.mlflow_database)


def store_lock(workspace: Workspace) -> FileLock:
    """Return the lock for creating or changing the store. Processes that create one sqlite file at once ruin it."""
    return FileLock(workspace.mlflow_database.with_name("mlflow.db.lock"))


def connect(workspace: Workspace) -> "tuple[MlflowClient, str]":
    """Return a client and the id of the MLflow experiment. Store and experiment are created if they don't exist.

    Raises UserError if the store can't be opened.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    uri = tracking_uri(workspace)
    _set_global_uri(uri)
    for name in ("mlflow", "alembic"):  # after the import of MLflow, which sets them
        logging.getLogger(name).setLevel(logging.WARNING)
    # The default of a sqlite store is the current folder, which DVC deletes after `--temp`.
    artifacts = workspace.mlflow_artifacts.as_uri() if uri.startswith("sqlite:") else None
    try:
        with store_lock(workspace):
            if os.environ.get(URI_VARIABLE):
                return _open_store(uri, artifacts)
            return _open_default_store(workspace, uri, artifacts)
    except Exception as error:  # of sqlalchemy, requests or MLflow
        raise UserError(
            f"MLflow's store {uri} can't be opened ({shorten_error(error)}). "
            "If it is a server, start it. If it is a file, move it away."
        ) from error


def _open_default_store(workspace: Workspace, uri: str, artifacts: str | None) -> "tuple[MlflowClient, str]":
    """Return a client for the store of the repository and the id of the MLflow experiment."""
    database = workspace.mlflow_database
    create_store(database, workspace.mlflow_artifacts)
    follow_move(workspace, EXPERIMENT)
    with without_literal_folders(database):
        try:
            opened = _open_store(uri, artifacts)
        except Exception:
            if not replace_half_made_store(database):
                raise
            opened = _open_store(uri, artifacts)
        if uri != f"sqlite:///{database}":
            opened[0].search_registered_models(max_results=1)  # opens the registry, which makes such folders too
        return opened


def _open_store(uri: str, artifacts: str | None) -> "tuple[MlflowClient, str]":
    import mlflow

    client = mlflow.MlflowClient(uri)
    return client, _experiment_id(client, artifacts)


def _set_global_uri(uri: str) -> None:
    """Set the store of MLflow's own functions, without the environment variable that MLflow sets along with it.

    With that variable, `tracking_uri` would return this store for every other workspace too.
    """
    import mlflow

    set_by_user = os.environ.get(URI_VARIABLE)
    mlflow.set_tracking_uri(uri)
    if not set_by_user:
        os.environ.pop(URI_VARIABLE, None)


def _experiment_id(client: "MlflowClient", artifacts: str | None) -> str:
    """Return the id of the MLflow experiment. Create it if it doesn't exist, and restore it if it was deleted."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        try:
            return str(client.create_experiment(EXPERIMENT, artifacts))
        except MlflowException:  # on a server, another process may have created it just now
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
        logger.warning("MLflow's experiment %s was deleted. It was restored, with its runs.", EXPERIMENT)
    return str(experiment.experiment_id)


def shorten_error(error: Exception) -> str:
    """Return the message of an error. Of a long one keep the start, which names the place, and the end, the cause."""
    text, half = describe_error(error), MAX_ERROR_CHARACTERS // 2
    return text if len(text) <= MAX_ERROR_CHARACTERS else f"{text[:half]} … {text[-half:]}"


def get_or_none(call: Callable[[], T]) -> T | None:
    """Return what a call of MLflow's client returns, or None if the store doesn't have it."""
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def search_runs(client: "MlflowClient", experiment_id: str, condition: str) -> "Iterator[Run]":
    """Yield all runs that meet a condition in MLflow's filter syntax, the oldest first.

    Runs of someone else in the same experiment, which lack our tags, are left out.
    """
    token = None
    while token != "":
        page = client.search_runs([experiment_id], condition, order_by=["attributes.start_time ASC"], page_token=token)
        yield from (run for run in page if {"kind", "fingerprint"} <= run.data.tags.keys())
        token = page.token or ""


def finished_runs(client: "MlflowClient", experiment_id: str, fingerprint: str, sha256: str = "") -> "list[Run]":
    """Return the FINISHED runs with a fingerprint, the oldest first. `sha256` is that of a model's weights."""
    found = search_runs(client, experiment_id, f"tags.fingerprint = '{fingerprint}' and {FINISHED}")
    return [run for run in found if model_key(run).is_same(ModelKey(fingerprint, sha256))]


def stored_results(workspace: Workspace) -> dict[str, StoredResult]:
    """Return the finished results by fingerprint, the oldest first."""
    client, experiment_id = connect(workspace)
    runs: dict[str, list[Run]] = {}
    for run in search_runs(client, experiment_id, FINISHED):
        runs.setdefault(run.data.tags["fingerprint"], []).append(run)
    results = {}

    def is_stored(child: ModelKey) -> bool:
        return any(child.is_same(model_key(run)) for run in runs.get(child.fingerprint, []))

    for fingerprint, duplicates in runs.items():
        tags = duplicates[0].data.tags
        if tags["kind"] == "result":
            results[fingerprint] = StoredResult(
                name=str(duplicates[0].info.run_name),
                runs=[str(run.info.run_id) for run in duplicates],
                lacking=sum(not is_stored(child) for child in children_keys(duplicates[0])),
                experiments=tags.get("dvc.experiments", "").split(),
                baseline=tags["dvc.baseline"],
                orphan=tags.get("orphan") == "true",
                commit=tags.get(RESULT_COMMIT, ""),
            )
    return results


def close_stale_runs(
    client: "MlflowClient", experiment_id: str, fingerprint: str | None = None
) -> tuple[list[str], list[str]]:
    """Set RUNNING runs to KILLED if their process on this host has ended.

    Return the names of the runs that were closed and of those that are left, because their process may be alive.
    Only runs with this fingerprint are checked if one is given.
    """
    closed, alive = [], []
    condition = "attributes.status = 'RUNNING'"
    if fingerprint:
        condition += f" and tags.fingerprint = '{fingerprint}'"
    for run in list(search_runs(client, experiment_id, condition)):  # read all pages before any run changes
        if _has_ended(run.data.tags.get("process")):
            client.set_terminated(run.info.run_id, "KILLED")
            closed.append(str(run.info.run_name))
        else:
            alive.append(str(run.info.run_name))
    return closed, alive


def delete_run(workspace: Workspace, run: str) -> None:
    """Delete a run. `mlflow runs restore` brings it back."""
    connect(workspace)[0].delete_run(run)


def set_tag(workspace: Workspace, run: str, key: str, value: str) -> None:
    """Set a tag of a run."""
    connect(workspace)[0].set_tag(run, key, value)


def process_identity() -> str:
    """Return host, number and start time of this process, which identify it among all processes."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time()}"


def _has_ended(process: str | None) -> bool:
    """Return whether a process has ended. One of another host counts as alive, since we can't check it from here."""
    if process is None:  # a run of the time before runs had this tag
        return True
    host, number, start = process.split(" ")
    if host != socket.gethostname():
        return False
    try:
        return str(psutil.Process(int(number)).create_time()) != start
    except psutil.NoSuchProcess:
        return True
