"""SIGKILL at any moment, then `dvc repro`: the bytes are those of a run that nobody disturbed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow
import pytest

from tests import pipeline
from tests.helpers import HERE


def killed(folder: Path, command: list[str], word: str, delay: float) -> bool:
    """Whether a command was killed, with all its children, so many seconds after a word; it may have ended."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=pipeline.clean(),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed = ""
    with process.stdout:
        for line in process.stdout:
            printed += line
            if word in line:
                break
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)  # its children too, should it have left some
        process.wait(timeout=30)
    assert process.returncode in (0, -signal.SIGKILL), printed
    print(pipeline.run(folder, "python", "-m", "naevi", "unlock"), end="")  # as `make repro` does
    return process.returncode != 0


def killed_in(stage: str, folder: Path, moments: random.Random) -> None:
    """Kill `dvc repro` while it runs this stage."""
    word, delay = f"Running stage '{stage}'", moments.uniform(0, 3)
    if killed(folder, ["dvc", "repro"], word, delay):
        return
    # It came to its end, so nothing is amiss any more, and this stage can be run alone.
    while not killed(folder, ["dvc", "repro", "--single-item", "--force", stage], word, delay):
        delay /= 2


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What counts: the lock, the models and the figures."""
    models = [HERE.model(item) / name for item in ("0", "1", "all") for name in ("model.safetensors", "model.json")]
    return {str(path): (folder / path).read_bytes() for path in (HERE.lock, HERE.metrics, HERE.per_image, *models)}


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param(["download", "preprocess", "train@0", "train@all", "evaluate", "report"], id="six"),
        pytest.param([*pipeline.STAGES * 11, "track"], id="hundred", marks=pytest.mark.soak),
    ],
)
def test_killed_in_any_stage_the_pipeline_comes_to_the_same_bytes(
    small_repository: Path, tmp_path: Path, stages: list[str]
) -> None:
    folder, moments = tmp_path / "repository", random.Random(7)
    pipeline.make(folder)

    for number, stage in enumerate(stages, start=1):
        killed_in(stage, folder, moments)
        print(f"{number}: killed in {stage}", flush=True)
        if number % len(pipeline.STAGES) == 0 or number == len(stages):
            pipeline.run(folder, "dvc", "repro")
            assert bytes_of(folder) == bytes_of(small_repository), number

    print("kills by stage:", dict(Counter(stages)))
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs(["1"])
    finished = [run.data.tags["fingerprint"] for run in runs if run.info.status == "FINISHED"]
    assert len(finished) == len(set(finished)) == 4  # three models and their result
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}


def test_a_torn_lock_of_dvc_is_removed_and_no_other(small_repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    unlock = ("python", "-m", "naevi", "unlock")
    lock = folder / ".dvc" / "tmp" / "rwlock"
    lock.write_text("{}", encoding="utf-8")
    assert pipeline.run(folder, *unlock) == ""
    lock.write_text('{"read": {"a": [', encoding="utf-8")
    assert "JSON structure is corrupted" in pipeline.run(folder, "dvc", "repro", check=False)

    assert pipeline.run(folder, *unlock) == "naevi: removed .dvc/tmp/rwlock, which a killed process left corrupt.\n"

    assert "Data and pipelines are up to date." in pipeline.run(folder, "dvc", "repro")


def test_a_killed_training_goes_on_behind_its_last_epoch(small_repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    shutil.rmtree(folder / HERE.model("0"))
    (folder / "mlflow.db").unlink()
    # The file after each epoch, and epochs that last long enough to be killed in.
    script = (
        "import sys, time; from naevi.tracking.live import LiveRun; from naevi.training import checkpoint\n"
        "from stages import train; from stages.runner import run_stage\n"
        "checkpoint.SAVE_INTERVAL_S, log = 0, LiveRun.log_epoch\n"
        "def slow(run, *row):\n    log(run, *row)\n"
        "    while not run._todo.empty(): time.sleep(0.1)\n"  # until MLflow has it
        "    print('epoch', flush=True); time.sleep({pause})\n"
        "LiveRun.log_epoch = slow\n"
        "sys.argv = ['train', '0']; run_stage(train.main)\n"
    )

    assert killed(folder, [sys.executable, "-c", script.format(pause=1)], "epoch", 1.5)
    told = pipeline.run(folder, sys.executable, "-c", script.format(pause=0))

    assert "naevi: Resuming training after epoch 1." in told
    assert told.count("epoch\n") == 1  # the second of two
    for name in ("model.safetensors", "model.json", "history.csv"):
        file = HERE.model("0") / name
        assert (folder / file).read_bytes() == (small_repository / file).read_bytes()
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs(["1"], order_by=["attributes.start_time ASC"])
    assert [run.info.status for run in runs] == ["KILLED", "FINISHED"]
    points = client.get_metric_history(runs[1].info.run_id, "train_loss")
    assert [point.step for point in points] == [1, 2]
