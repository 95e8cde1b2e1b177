"""SIGKILL at any moment, then `dvc repro`: the bytes are those of a run that nobody disturbed."""

import random
import shutil
import sys
from pathlib import Path

import mlflow

from tests import pipeline
from tests.faults.kills import bytes_of, killed, killed_in, run_problems
from tests.helpers import HERE


def test_killed_in_any_stage_the_pipeline_comes_to_the_same_bytes(small_repository: Path, tmp_path: Path) -> None:
    """The soak kills it a hundred times."""
    folder, moments = tmp_path / "repository", random.Random(7)
    pipeline.make(folder)

    for stage in ("download", "preprocess", "train@0", "train@all", "evaluate", "report"):
        killed_in(stage, folder, moments)

    pipeline.run(folder, "dvc", "repro")
    assert bytes_of(folder) == bytes_of(small_repository)
    assert run_problems(folder) == []


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
