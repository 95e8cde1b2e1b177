"""A workspace with an empty MLflow store, and a model to log."""

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import pytest

from naevi.tracking import live, store
from naevi.tracking.store import EXPERIMENT, tracking_uri
from naevi.workspace import Workspace

ORIGIN: dict[str, Any] = {
    "fingerprint": "f" * 64,
    "item": "0",
    "model": {"architecture": "segnet", "encoder": "own", "weights": "none"},
    "classes": {"skin": 0, "lesion": 255},
    "size": 32,
    "train": {"epochs": 2},
    "runtime": {"device": "cpu"},
    "dataset": "phantoms",
    "data": {"train": {"images": 8, "digest": "d" * 64}, "val": {"images": 0, "digest": "e" * 64}},
    "code": "c" * 64,
    "versions": {"torch": "0"},
}
ROW = {"epoch": 1.0, "lr": 0.1, "train_loss": 0.5}


@pytest.fixture
def no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, which is not the current folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(live, "FLUSH_TIMEOUT_S", 600)  # on a busy machine a new store takes longer than a minute
    (tmp_path / "workspace").mkdir()
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store. MLflow takes seconds to create one, so tests copy this one."""
    workspace = Workspace(tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store.connect(workspace)
    return workspace.mlflow_database


@pytest.fixture
def workspace(no_store: Workspace, empty_store: Path) -> Workspace:
    """A workspace with an empty store, which is not the current folder."""
    return add_store(no_store, empty_store)


def add_store(workspace: Workspace, empty_store: Path) -> Workspace:
    """Copy the empty store into a workspace."""
    shutil.copyfile(empty_store, workspace.mlflow_database)
    with contextlib.closing(sqlite3.connect(workspace.mlflow_database)) as database, database:
        change = "update experiments set artifact_location = ? where name = ?"
        database.execute(change, (workspace.mlflow_artifacts.as_uri(), EXPERIMENT))
    return workspace


def all_runs(workspace: Workspace) -> list[mlflow.entities.Run]:
    """Return all runs in the store, the oldest first."""
    client = mlflow.MlflowClient(tracking_uri(workspace))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def statuses(workspace: Workspace) -> list[str]:
    """Return the status of each run, the oldest first."""
    return [run.info.status for run in all_runs(workspace)]
