"""A run while its model trains: what is logged, and how it ends."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from PIL import Image

from naevi.files import write_json
from naevi.provenance import digest
from naevi.tracking.live import IMAGE_INTERVAL_EPOCHS, N_VALIDATION_IMAGES, live_run
from naevi.tracking.store import tracking_uri
from naevi.workspace import Workspace
from tests.helpers import ROOT
from tests.tracking.conftest import ORIGIN, ROW, all_runs, statuses

pytestmark = pytest.mark.slow

SCRIPT = (
    "import sys, time; from pathlib import Path; from naevi.tracking import live\n"
    "from naevi.workspace import Workspace; from tests.tracking.conftest import ORIGIN\n"
    "workspace = Workspace(Path(sys.argv[1]))\n"
)


def command(workspace: Workspace, script: str) -> list[str]:
    """A process that runs the script for this workspace."""
    return [sys.executable, "-c", SCRIPT + script, str(workspace.root)]


class Part:
    """A validation part: white images, and masks with a lesion in the first half."""

    def __init__(self, number: int, size: int) -> None:
        torch = pytest.importorskip("torch")
        self.images = torch.full((number, 3, size, size), 255, dtype=torch.uint8)
        self.masks = torch.zeros((number, 1, size, size), dtype=torch.uint8)
        self.masks[:, :, : size // 2] = 1


def test_a_model_is_logged_once(workspace: Workspace) -> None:
    for _ in range(2):
        with live_run(workspace, ORIGIN) as run:
            run.log_epoch(ROW)

    assert statuses(workspace) == ["FINISHED"]


def test_what_is_not_live_is_not_logged(workspace: Workspace) -> None:
    with live_run(workspace, ORIGIN, live=False) as run:
        run.resume([ROW], None)
        run.log_epoch(ROW)
        run.log_model(workspace.root)

    assert statuses(workspace) == []


def test_a_run_has_the_models_parameters_data_and_history(workspace: Workspace) -> None:
    with live_run(workspace, ORIGIN) as run:
        run.resume([ROW, ROW | {"epoch": 2.0, "train_loss": 0.25, "val_dice": float("nan")}], None)
        run.log_epoch(ROW | {"epoch": 3.0, "train_loss": 0.125})

    (found,) = all_runs(workspace)
    assert found.data.params["train.epochs"] == "2"
    assert found.data.params["model.architecture"] == "segnet"
    (data,) = found.inputs.dataset_inputs  # the empty val is left out
    assert (data.dataset.name, data.dataset.digest, data.dataset.source) == (
        "phantoms",
        "d" * 32,
        '{"uri": "data/prepared"}',
    )
    assert {tag.key: tag.value for tag in data.tags}["mlflow.data.context"] == "train"
    client = mlflow.MlflowClient(tracking_uri(workspace))
    points = client.get_metric_history(found.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    system = {"cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage"}
    measured = {name.removeprefix("system/") for name in found.data.metrics if name.startswith("system/")}
    assert system <= measured, "and those of GPUs if there are any"
    assert all(name in system or name.startswith("gpu_") for name in measured)
    assert 0 < found.data.metrics["system/system_memory_usage_percentage"] <= 100
    assert client.get_metric_history(found.info.run_id, "system/cpu_utilization_percentage")[0].step == 3
    assert {name for name in found.data.metrics if not name.startswith("system/")} == {
        "lr",
        "train_loss",
        "images_per_s",
    }


def test_validation_images_are_shown_every_few_epochs(workspace: Workspace) -> None:
    part = Part(8, 32)
    with live_run(workspace, ORIGIN) as run:
        run.resume([], part)
        for epoch in range(1, 2 * IMAGE_INTERVAL_EPOCHS + 2):
            run.log_epoch(ROW | {"epoch": epoch}, part.masks[:, 0].numpy())
    client = mlflow.MlflowClient(tracking_uri(workspace))
    (found,) = all_runs(workspace)

    files = [file.path for file in client.list_artifacts(found.info.run_id, "images") if file.path.endswith(".png")]

    assert [path.split("+")[2] for path in sorted(files)] == ["10", "5"]
    with Image.open(client.download_artifacts(found.info.run_id, files[0])) as picture:
        assert picture.size == (N_VALIDATION_IMAGES * 32, 32)


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_error_sets_the_status_of_the_run(workspace: Workspace, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), live_run(workspace, ORIGIN):
        raise error

    assert statuses(workspace) == [status]


@pytest.mark.slow
def test_sigterm_ends_the_run_as_killed(workspace: Workspace) -> None:
    script = "with live.live_run(workspace, ORIGIN):\n    print('open', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        command(workspace, script),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "open\n"

        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)

    assert statuses(workspace) == ["KILLED"]


@pytest.mark.slow
def test_a_run_whose_process_died_is_closed_by_the_next(workspace: Workspace) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command(workspace, "live._open_run(workspace, ORIGIN)"), env=environment, check=True)
    assert statuses(workspace) == ["RUNNING"]

    with live_run(workspace, ORIGIN):
        pass

    assert statuses(workspace) == ["KILLED", "FINISHED"]


def test_training_goes_on_with_one_warning_if_the_store_fails(
    no_store: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    no_store.mlflow_database.write_text("this is not a database", encoding="utf-8")

    with live_run(no_store, ORIGIN) as run:
        run.log_epoch(ROW)
        run.log_epoch(ROW)

    messages = [record.getMessage() for record in caplog.records if record.name == "naevi.tracking.live"]
    assert len(messages) == 1
    assert messages[0].startswith(f"MLflow logging failed (MLflow's store {tracking_uri(no_store)} can't be opened")
    assert messages[0].endswith("Run `make ui` or `dvc repro -s -f track` to log this model.")
    assert [record.levelno for record in caplog.records if record.name.startswith("naevi")] == [logging.WARNING]


def test_artifacts_are_kept_in_the_main_repository(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "experiment"  # as DVC makes one with --temp
    temporary.mkdir()
    monkeypatch.chdir(temporary)
    inputs = {key: value for key, value in ORIGIN.items() if key != "fingerprint"}
    (temporary / "model").mkdir()
    write_json(temporary / "model/model.json", inputs | {"fingerprint": digest(inputs), "sha256": "5" * 64})

    with live_run(Workspace(Path(), workspace.root), ORIGIN) as run:
        run.log_model(Path("model"))

    (description,) = workspace.mlflow_artifacts.rglob("model.json")
    assert description.is_relative_to(workspace.mlflow_artifacts / "models")
    assert [file.name for file in temporary.rglob("*.*")] == ["model.json"]
    (found,) = all_runs(workspace)
    assert (found.info.status, found.data.tags["sha256"]) == ("FINISHED", "5" * 64)
