"""The store: where it is, two of them in one process, processes that create it at once, stale runs."""

import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from naevi.errors import UserError
from naevi.tracking import store
from naevi.tracking.live import live_run
from naevi.tracking.store import close_stale_runs, process_identity, search_runs, stored_results, tracking_uri
from naevi.workspace import Workspace
from tests import pipeline
from tests.helpers import ROOT
from tests.tracking.conftest import ORIGIN, add_store, all_runs, statuses

RESULT = {"fingerprint": "r", "kind": "result", "children": "a b", "dvc.baseline": "c0ffee"}


def test_the_store_is_the_repositorys_unless_one_is_named(
    no_store: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert tracking_uri(no_store) == f"sqlite:///{no_store.root / 'mlflow.db'}"
    assert tracking_uri(Workspace(no_store.root, tmp_path)) == f"sqlite:///{tmp_path / 'mlflow.db'}"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")

    assert tracking_uri(no_store) == "http://127.0.0.1:1"


def test_two_workspaces_in_one_process_have_a_store_each(
    workspace: Workspace, empty_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = add_store(Workspace(tmp_path / "other"), empty_store)

    for each in (workspace, other):
        with live_run(each, ORIGIN):
            pass

    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert statuses(workspace) == statuses(other) == ["FINISHED"]
    for each in (workspace, other):
        (run,) = all_runs(each)
        assert str(run.info.artifact_uri).startswith(each.mlflow_artifacts.as_uri())


def test_a_file_that_is_not_a_store_is_a_user_error(no_store: Workspace) -> None:
    no_store.mlflow_database.write_text("this is not a database", encoding="utf-8")

    with pytest.raises(UserError, match=re.escape(f"sqlite:///{no_store.mlflow_database} can't be opened")):
        store.connect(no_store)


@pytest.mark.slow
def test_processes_that_create_the_store_at_once_all_succeed(no_store: Workspace) -> None:
    script = (
        "import sys; from pathlib import Path; from naevi.tracking import store\n"
        "from naevi.workspace import Workspace\n"
        "client, experiment = store.connect(Workspace(Path(sys.argv[1]))); client.create_run(experiment)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, str(no_store.root)]
    processes = [subprocess.Popen(command, env=environment) for _ in range(4)]

    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0, 0]
    assert len(statuses(no_store)) == 4


def test_only_runs_whose_process_has_ended_are_stale(workspace: Workspace) -> None:
    client, experiment = store.connect(workspace)
    host, number, _ = process_identity().split(" ")
    processes = {
        "this process": process_identity(),
        "its number, used before": f"{host} {number} 1.0",
        "no such process": f"{host} {2**31 - 1} 1.0",
        "another host": f"not-{socket.gethostname()} {number} 1.0",
    }
    for name, process in processes.items():
        client.create_run(experiment, tags={"kind": "model", "process": process, "fingerprint": name}, run_name=name)
    client.create_run(experiment, tags={"kind": "model", "fingerprint": "early"}, run_name="no tag")

    assert close_stale_runs(client, experiment, "its number, used before") == (["its number, used before"], [])
    closed, alive = close_stale_runs(client, experiment)

    assert sorted(closed) == ["no such process", "no tag"]
    assert sorted(alive) == ["another host", "this process"]
    found = {str(run.info.run_name) for run in search_runs(client, experiment, "attributes.status = 'KILLED'")}
    assert found == {"its number, used before", "no such process", "no tag"}


def test_runs_of_someone_else_are_left_alone(workspace: Workspace) -> None:
    """Anyone can log runs into the experiment, such as from a notebook."""
    client, experiment = store.connect(workspace)
    running, finished = (client.create_run(experiment).info.run_id for _ in range(2))
    client.set_terminated(finished)

    assert close_stale_runs(client, experiment) == ([], [])
    assert stored_results(workspace) == {}
    assert client.get_run(running).info.status == "RUNNING"


def test_a_stored_result_has_its_duplicates_and_counts_its_missing_models(workspace: Workspace) -> None:
    client, experiment = store.connect(workspace)
    child = client.create_run(experiment, tags={"fingerprint": "a", "kind": "model"})
    named = RESULT | {"dvc.experiments": "fast slow"}
    results = [client.create_run(experiment, tags=tags, run_name="unet r") for tags in (named, RESULT)]
    for run in (child, *results):
        client.set_terminated(run.info.run_id)
    client.create_run(experiment, tags={"fingerprint": "b", "kind": "model"})  # RUNNING doesn't count

    stored = stored_results(workspace)

    assert list(stored) == ["r"]
    assert stored["r"] == ("unet r", [run.info.run_id for run in results], 1, ["fast", "slow"], "c0ffee", False, "")
    store.set_tag(workspace, results[0].info.run_id, "orphan", "true")
    store.delete_run(workspace, results[1].info.run_id)
    assert stored_results(workspace)["r"] == stored["r"]._replace(runs=[results[0].info.run_id], orphan=True)


@pytest.mark.slow
def test_tests_use_no_store_of_the_user(small_repository: Path) -> None:
    script = (
        "from naevi.tracking.store import tracking_uri; from naevi.workspace import current_workspace\n"
        "print(tracking_uri(current_workspace()))"
    )

    assert pipeline.run(small_repository, "python", "-c", script).startswith(f"sqlite:///{small_repository}")


@pytest.mark.parametrize("name", ["what? yes", "a%20b", "100%", "a%25b#c", "a'b\"&+;=@"])
def test_a_folder_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the address of a store, % and ? have a meaning. Nothing may be written beside the folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "beside" / name
    folder.mkdir(parents=True)
    (folder / "a.txt").touch()
    workspace = Workspace(folder)

    client, experiment = store.connect(workspace)
    run = client.create_run(experiment)
    client.log_artifact(run.info.run_id, str(folder / "a.txt"))

    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["a.txt"]
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert {path.name for path in folder.iterdir()} == {"a.txt", "mlartifacts", "mlflow.db", "mlflow.db.lock"}


def opening_problem(workspace: Workspace) -> str:
    """Return why the store can't be opened, or an empty string."""
    try:
        store.connect(workspace)
    except UserError as error:
        return str(error)
    return ""


def test_a_store_that_was_left_half_made_is_replaced(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    """MLflow has created its tables but not noted their version, as after a kill. Without runs, nothing is lost."""
    with contextlib.closing(sqlite3.connect(workspace.mlflow_database)) as database, database:
        database.execute("DELETE FROM alembic_version")

    assert opening_problem(workspace) == ""

    client, experiment = store.connect(workspace)
    client.create_run(experiment)
    assert len(all_runs(workspace)) == 1
    broken = workspace.mlflow_database.with_name("mlflow.db.broken")
    assert broken.exists()
    assert f"{workspace.mlflow_database} was left half-made, without any run. It was created again." in caplog.text


def test_a_broken_store_with_runs_is_kept(workspace: Workspace) -> None:
    with contextlib.closing(sqlite3.connect(workspace.mlflow_database)) as database, database:
        database.execute("DELETE FROM alembic_version")
        database.execute("INSERT INTO runs (run_uuid) VALUES ('r')")

    with pytest.raises(UserError, match=r"mlflow\.db can't be opened"):
        store.connect(workspace)
    assert not workspace.mlflow_database.with_name("mlflow.db.broken").exists()


def test_what_a_killed_creation_left_is_replaced(no_store: Workspace) -> None:
    partial = no_store.mlflow_database.with_name("mlflow.db.partial")
    partial.write_bytes(b"half")
    partial.with_name("mlflow.db.partial-journal").write_bytes(b"half")

    assert opening_problem(no_store) == ""

    assert sorted(path.name for path in no_store.root.glob("mlflow.db*")) == ["mlflow.db", "mlflow.db.lock"]


def test_a_deleted_experiment_is_restored_with_its_runs(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    """As someone does in MLflow's pages."""
    client, experiment = store.connect(workspace)
    run = client.create_run(experiment)
    client.delete_experiment(experiment)

    assert store.connect(workspace)[1] == experiment

    assert [each.info.run_id for each in all_runs(workspace)] == [run.info.run_id]
    assert caplog.messages == ["MLflow's experiment naevi was deleted. It was restored, with its runs."]
