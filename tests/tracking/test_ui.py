"""The command that opens MLflow's pages."""

import socket
from pathlib import Path

import pytest
import requests

from naevi.errors import UserError
from naevi.tracking import ui
from naevi.tracking.server import serve
from naevi.tracking.ui import free_port, open_ui
from naevi.workspace import Workspace
from tests import pipeline
from tests.helpers import HERE

pytestmark = pytest.mark.slow


def test_a_port_in_use_is_passed_over_or_named(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other, socket.socket() as second:
        other.bind((ui.HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(ui, "FIRST_PORT", taken)

        assert free_port() > taken
        with pytest.raises(UserError, match=rf"^Port {taken} is in use\. Choose another one with --port\.$"):
            open_ui(workspace, taken, show=False)
        with pytest.raises(UserError, match=rf"^Port {taken} is in use"):
            serve(workspace, "models:/moles@champion", taken)

        second.bind((ui.HOST, 0))
        monkeypatch.setattr(ui, "PORTS", 1)
        with pytest.raises(UserError, match=rf"^No port from {taken} to {taken} is free\. Name a free one with --port"):
            free_port()


def test_with_a_server_nothing_is_started(small_repository: Path, tmp_path: Path) -> None:
    """An invalid params.yaml is a line before."""
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    (folder / HERE.params).write_text("data: 1\n", encoding="utf-8")
    with pipeline.mlflow_server(folder, "sqlite:///mlflow.db", "--artifacts-destination", "artifacts") as address:
        printed = pipeline.run(folder, "naevi", "ui", MLFLOW_TRACKING_URI=address)

    line, results, differences, curves = printed.splitlines()[-4:]
    assert printed.startswith("naevi: params.yaml")
    assert line == "MLFLOW_TRACKING_URI names a server, so none is started."
    assert results.startswith(f"Results: {address}/#/experiments/")
    assert differences.startswith(f"Differences: {address}/#/experiments/")
    assert curves.startswith(f"Learning curves: {address}/#/experiments/")


def test_the_printed_address_answers(small_repository: Path, tmp_path: Path) -> None:
    """In a folder whose name has characters with a meaning in addresses."""
    folder = pipeline.copy(small_repository, tmp_path / "beside" / "what? 100%20")

    with pipeline.served(folder, "naevi", "ui") as address:
        (experiment,) = (
            requests.get(f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=naevi", timeout=60)
            .json()
            .values()
        )

    page = f"{address}/#/experiments/{experiment['experiment_id']}/runs?workflowType=machine_learning&viewStateShareKey"
    assert f"\nResults: {page}=naevi\n" in (folder / "log").read_text(encoding="utf-8")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
