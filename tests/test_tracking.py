"""MLflow alone: stores made at once, runs that end badly, servers that aren't there. The rest is in test_pipeline."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from PIL import Image

from naevi import store, tracking
from tests import pipeline
from tests.conftest import ROOT
from tests.test_training import phantoms

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
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, as stages see it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tracking, "PATIENCE", 600)  # on a busy machine a new store takes longer than a minute
    return tmp_path


def statuses() -> list[str]:
    client = mlflow.MlflowClient(store.uri())
    experiment = client.get_experiment_by_name(store.EXPERIMENT)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return [run.info.status for run in found]


def test_the_store_is_the_repositorys_unless_one_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.uri() == f"sqlite:///{root / 'mlflow.db'}"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")

    assert store.uri() == "http://127.0.0.1:1"


def test_a_model_is_recorded_once(root: Path) -> None:
    for _ in range(2):
        with tracking.child(ORIGIN) as run:
            run.log_epoch(ROW)

    assert statuses() == ["FINISHED"]


def test_validation_lesions_are_pictured_every_few_epochs(root: Path) -> None:
    lesions = phantoms(0, 8, 32)
    with tracking.child(ORIGIN) as run:
        run.catch_up([], lesions)
        for epoch in range(1, 2 * tracking.EPOCHS_A_PICTURE + 2):
            run.log_epoch(ROW | {"epoch": epoch}, lesions.masks[:, 0].numpy())
    client = mlflow.MlflowClient(store.uri())
    experiment = client.get_experiment_by_name(store.EXPERIMENT)
    assert experiment is not None
    run_id = client.search_runs([experiment.experiment_id])[0].info.run_id

    found = [file.path for file in client.list_artifacts(run_id, "images") if file.path.endswith(".png")]

    assert [path.split("+")[2] for path in sorted(found)] == ["10", "5"]
    with Image.open(client.download_artifacts(run_id, found[0])) as picture:
        assert picture.size == (tracking.WATCHED * 32, 32)


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_ends_badly_says_so(root: Path, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), tracking.child(ORIGIN):
        raise error

    assert statuses() == [status]


def test_sigterm_ends_the_run_as_killed(root: Path) -> None:
    script = (
        "import time; from tests.test_tracking import ORIGIN; from naevi import tracking\n"
        "with tracking.child(ORIGIN):\n    print('open', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "open\n"

        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)

    assert statuses() == ["KILLED"]


def test_a_run_whose_process_died_is_closed_by_the_next(root: Path) -> None:
    script = "from tests.test_tracking import ORIGIN, tracking; tracking._begin(ORIGIN)"  # and never ends
    subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)

    with tracking.child(ORIGIN):
        pass

    assert statuses() == ["KILLED", "FINISHED"]


def test_training_goes_on_where_the_store_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "mlflow.db").write_text("this is no database", encoding="utf-8")

    with tracking.child(ORIGIN) as run:
        run.log_epoch(ROW)
        run.log_epoch(ROW)

    printed = capsys.readouterr().out
    assert printed.count("naevi: MLflow doesn't log this model") == 1
    assert "dvc repro -s -f track" in printed


def test_processes_that_make_the_store_at_once_all_succeed(root: Path) -> None:
    script = "from naevi import store; client, experiment = store.connect(); client.create_run(experiment)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(4)]

    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0, 0]
    assert len(statuses()) == 4


def test_artifacts_lie_in_the_repository_not_where_the_stage_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "elsewhere").mkdir()
    monkeypatch.chdir(root / "elsewhere")
    (root / "elsewhere" / "model.json").write_text("{}")

    with tracking.child(ORIGIN) as run:
        run.log_model(root / "elsewhere")

    assert len(list((root / "mlartifacts").rglob("model.json"))) == 1


def test_tests_use_no_store_of_the_user(small_repository: Path) -> None:
    assert pipeline.run(small_repository, "python", "-c", "from naevi import store; print(store.uri())").startswith(
        f"sqlite:///{small_repository}"
    )
