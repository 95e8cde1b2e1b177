"""MLflow against git, in a repository of its own."""

import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from naevi import demo
from tests import pipeline


@pytest.fixture(scope="module")
def repository(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small one, its result committed, and an experiment of one fold."""
    folder = pipeline.copy(small_repository, tmp_path_factory.mktemp("verification") / "repository")
    demo.commit(folder, "Run it")
    settings = ("--set-param", "cv.models=[0]", "--set-param", "train.epochs=1")
    pipeline.run(folder, "dvc", "exp", "run", "--temp", "--name", "short", *settings)
    return folder


def verify(folder: Path) -> list[str]:
    """The lines that it prints, whether it ends well or not."""
    return pipeline.run(folder, "python", "-m", "naevi", "verify", check=False).splitlines()


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def runs(folder: Path, wanted: str = "") -> list[Any]:
    """Of the store, those that a filter wants, as MLflow shows them."""
    return list(client(folder).search_runs(["1"], wanted))


WHOLE = ["verified: each of 2 results in git stands in MLflow once, with its models."]


def test_what_agrees_is_left_alone(repository: Path) -> None:
    before = {run.info.run_id: run.data.tags for run in runs(repository)}

    assert verify(repository) == WHOLE
    assert {run.info.run_id: run.data.tags for run in runs(repository)} == before
    assert len(before) == 6  # two results, three models and one


def test_lost_runs_are_recorded_again(repository: Path) -> None:
    head = pipeline.run(repository, "git", "rev-parse", "--short=7", "HEAD").strip()
    (model,) = (run for run in runs(repository, "tags.kind = 'model' and params.item = '1'"))
    client(repository).delete_run(model.info.run_id)
    (result,) = runs(repository, "tags.dvc.experiments = 'short'")
    client(repository).delete_run(result.info.run_id)

    assert verify(repository) == [
        f"{head}: without 1 of its models in MLflow; recorded from the files.",
        "short: missing in MLflow; recorded from the files.",
        *WHOLE,
    ]
    (again,) = runs(repository, "tags.dvc.experiments = 'short'")
    assert again.data.metrics == result.data.metrics
    assert again.data.params == result.data.params
    assert verify(repository) == WHOLE


def test_a_run_whose_process_is_gone_is_killed(repository: Path) -> None:
    (known,) = runs(repository, "tags.dvc.experiments = 'short'")
    host, number, _ = known.data.tags["process"].split()
    gone = client(repository).create_run("1", run_name="gone", tags={"process": f"{host} {number} 1.0"})
    client(repository).create_run("1", run_name="elsewhere", tags={"process": f"not-{host} {number} 1.0"})

    assert verify(repository) == [
        "gone: its process is gone; it is KILLED now.",
        "elsewhere: still running, here or on another machine.",
        *WHOLE,
    ]
    assert client(repository).get_run(gone.info.run_id).info.status == "KILLED"
    assert verify(repository)[1:] == WHOLE


def test_doubles_are_removed_and_names_noted(repository: Path) -> None:
    (known,) = runs(repository, "tags.dvc.experiments = 'short'")
    double = client(repository).create_run("1", tags=known.data.tags)
    client(repository).set_terminated(double.info.run_id)
    client(repository).delete_tag(known.info.run_id, "dvc.experiments")

    told = verify(repository)

    assert f"short: stood there twice; run {double.info.run_id} is removed." in told
    assert "short: short named in it now." in told
    assert [run.info.run_id for run in runs(repository, "tags.dvc.experiments = 'short'")] == [known.info.run_id]


def test_results_that_git_does_not_know_are_marked_and_kept(repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(repository, tmp_path / "repository")
    (result,) = runs(folder, "tags.dvc.experiments = 'short'")
    pipeline.run(folder, "dvc", "exp", "remove", "short")

    assert "short: no commit and no experiment has it; it is tagged orphan = true." in verify(folder)
    assert [run.info.run_id for run in runs(folder, "tags.orphan = 'true'")] == [result.info.run_id]

    client(folder).set_tag(result.info.run_id, "dvc.baseline", "0" * 40)  # of another clone
    client(folder).delete_tag(result.info.run_id, "orphan")
    assert not any("orphan" in line for line in verify(folder))


def test_what_cannot_be_recorded_is_named(repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(repository, tmp_path / "repository")
    (result,) = runs(folder, "tags.dvc.experiments = 'short'")
    client(folder).delete_run(result.info.run_id)
    shutil.rmtree(folder / ".dvc" / "cache")

    told = verify(folder)

    assert told[-2].startswith(
        "short: missing in MLflow, and can't be recorded: data/prepared/lesions.csv is in no cache"
    )
    assert told[-1] == "naevi: 1 of 2 results in git have no whole run in MLflow; see above."
