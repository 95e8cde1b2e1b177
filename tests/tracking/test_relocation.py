"""The default store after its repository was moved or copied."""

import contextlib
import sqlite3

import pytest

from naevi.tracking import store
from naevi.tracking.registry import finished_results, register_champion
from naevi.workspace import Workspace
from tests.tracking.test_registry import add_result

pytestmark = pytest.mark.slow


def test_a_store_that_was_moved_reads_and_writes_at_its_new_place(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    run = add_result(workspace, 0.25)
    client, experiment = store.connect(workspace)
    model = client.create_logged_model(experiment, source_run_id=run)
    (result,) = finished_results(workspace)
    register_champion(workspace, "moles", result._replace(model=model.model_id), {})
    before = workspace.mlflow_artifacts.as_uri()
    moved = Workspace(workspace.root.rename(workspace.root.with_name("moved here")))

    assert [result.run for result in finished_results(moved)] == [run]

    here = moved.mlflow_artifacts.as_uri()
    assert caplog.messages == [
        f"MLflow's files are now expected in {here} instead of {before}, because the repository was moved."
    ]
    client, _ = store.connect(moved)
    assert client.get_logged_model(model.model_id).artifact_location.startswith(f"{here}/models/")
    assert client.get_model_version_download_uri("moles", "1").startswith(f"{here}/models/")
    other = add_result(moved, 0.5)
    assert (moved.mlflow_artifacts / other / "artifacts/per_image.csv").exists()
    assert not workspace.root.exists()


def test_a_folder_of_artifacts_that_the_user_chose_stays(workspace: Workspace) -> None:
    """Such as one on a larger disk."""
    chosen = "file:///large/disk/naevi"
    with contextlib.closing(sqlite3.connect(workspace.mlflow_database)) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'naevi'", (chosen,))

    client, experiment = store.connect(workspace)

    assert client.get_experiment(experiment).artifact_location == chosen
