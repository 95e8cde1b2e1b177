"""SIGKILL a command with all its children, and what counts afterwards."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import psutil

from tests import pipeline
from tests.helpers import HERE

TRACK = ["python", "-m", "stages.track"]


def start(folder: Path, command: list[str]) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=pipeline.clean(),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill(folder: Path, process: subprocess.Popen[str], printed: str = "") -> bool:
    """Kill a command with its children and remove DVC's corrupt lock files. Return whether it was still running."""
    os.killpg(process.pid, signal.SIGKILL)  # its children too, should it have left some
    process.wait(timeout=30)
    if process.stdout is not None:
        process.stdout.close()
    assert process.returncode in (0, -signal.SIGKILL), printed
    print(pipeline.run(folder, "python", "-m", "naevi", "unlock"), end="")  # as `make repro` does
    return process.returncode != 0


def killed(folder: Path, command: list[str], word: str, delay: float) -> bool:
    """Whether a command was killed, with all its children, so many seconds after a word; it may have ended."""
    process = start(folder, command)
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if word in line:
            break
    time.sleep(delay)
    return kill(folder, process, printed)


def killed_in(stage: str, folder: Path, moments: random.Random) -> None:
    """Kill `dvc repro` while it runs this stage."""
    word, delay = f"Running stage '{stage}'", moments.uniform(0, 3)
    if killed(folder, ["dvc", "repro"], word, delay):
        return
    # It came to its end, so nothing is amiss any more, and this stage can be run alone.
    while not killed(folder, ["dvc", "repro", "--single-item", "--force", stage], word, delay):
        delay /= 2


def killed_when(folder: Path, command: list[str], condition: Callable[[], bool], delay: float) -> None:
    """Kill a command so many seconds after a condition is met."""
    process = start(folder, command)
    for _ in range(6000):
        if condition():
            break
        assert process.poll() is None, "the command ended before the condition was met"
        time.sleep(0.01)
    time.sleep(delay)
    assert kill(folder, process), "the command ended before it was killed"


def kill_tree(process: psutil.Process) -> None:
    """Kill a process and its children, the parents first, so that none can react."""
    for each in [process, *process.children(recursive=True)]:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


def end_processes(folder: Path) -> None:
    """Kill every process that works in a folder."""
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(folder):
            kill_tree(process)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What counts: the lock, the models and the figures."""
    models = [HERE.model(item) / name for item in ("0", "1", "all") for name in ("model.safetensors", "model.json")]
    return {str(path): (folder / path).read_bytes() for path in (HERE.lock, HERE.metrics, HERE.per_image, *models)}


def run_problems(folder: Path, results: int = 1) -> list[str]:
    """What is wrong with the runs in MLflow's store: each model and each result must have one FINISHED run."""
    runs = mlflow.MlflowClient(pipeline.store(folder)).search_runs(["1"], max_results=1000)
    finished = [run.data.tags["fingerprint"] for run in runs if run.info.status == "FINISHED"]
    kinds = [run.data.tags["kind"] for run in runs if run.info.status == "FINISHED"]
    problems = []
    if len(finished) != len(set(finished)):
        problems.append("a run is recorded twice")
    if (kinds.count("model"), kinds.count("result")) != (3, results):
        problems.append(f"MLflow has {kinds.count('model')} models and {kinds.count('result')} results")
    if not {run.info.status for run in runs} <= {"FINISHED", "KILLED"}:
        problems.append("a run is left RUNNING")
    return problems
