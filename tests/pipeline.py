"""A small repository like the demo's, in which tests run the real pipeline: DVC, MLflow and all."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import mlflow
import requests
from mlflow.entities import Run

from naevi.experiments.demo import make_demo
from naevi.workspace import Workspace
from tests.helpers import ROOT

# The smallest data on which every stage has something to do.
SETTINGS = [
    "data.source=phantoms",
    "data.phantoms.number=20",
    "data.phantoms.height=64",
    "data.phantoms.width=96",
    "preprocess.size=32",
    "split.folds=2",
    "model.architecture=segnet",
    "train.epochs=2",
    "train.batch_size=4",
    "evaluate.resamples=100",
    "runtime.threads=1",
    "cv.models=[0, 1, all]",
]
STAGES = ["download", "preprocess", "split", "train@0", "train@1", "train@all", "evaluate", "report", "track"]


def make(folder: Path, *parameters: str) -> None:
    """The repository, with nothing run yet, and with other parameters than SETTINGS if they are given."""
    make_demo(Workspace(ROOT), folder, [*SETTINGS, *parameters])


def copy(repository: Path, folder: Path) -> Path:
    """A copy of a repository, with its cache and store and all that has run in it."""
    return Path(shutil.copytree(repository, folder, symlinks=True))


def clean() -> dict[str, str]:
    """The environment without what steers DVC, MLflow and naevi; its programs are those beside this Python."""
    steers = ("AWS_", "DVC_", "MAKE", "MFLAGS", "MLFLOW_", "NAEVI_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(steers)}
    return kept | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])}


def run(folder: Path, *command: str, check: bool = True, **environment: str) -> str:
    """What a command prints there, both streams; MLflow's store is the folder's own."""
    done = subprocess.run(
        command, cwd=folder, env=clean() | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0 or not check, done.stdout
    return done.stdout


def store(folder: Path) -> str:
    """A folder's own store as it is now: a copy, because MLflow keeps a file that it once opened, deleted or not."""
    copy = Path(tempfile.mkdtemp(dir=folder.parent)) / "mlflow.db"
    shutil.copyfile(folder / "mlflow.db", copy)
    return f"sqlite:///{copy}"


def runs(folder: Path, kind: str) -> list[Run]:
    """The FINISHED runs of a kind in a folder's own store."""
    client = mlflow.MlflowClient(store(folder))
    experiment = client.get_experiment_by_name("naevi")
    assert experiment is not None
    wanted = f"tags.kind = '{kind}' and attributes.status = 'FINISHED'"
    return list(client.search_runs([experiment.experiment_id], wanted))


def free_port() -> int:
    """A port of this machine's own address that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def served(folder: Path, *command: str, health: str = "/health", **environment: str) -> Iterator[str]:
    """The address, on this machine, of a server that this command starts there; its log is there too."""
    port = str(free_port())
    address, log = f"http://127.0.0.1:{port}", folder / "log"
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            [*command, "--port", port],
            cwd=folder,
            env=clean() | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for _ in range(1200):
            assert server.poll() is None, log.read_text(encoding="utf-8")
            try:
                if requests.get(address + health, timeout=5).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.5)
        else:
            raise AssertionError(log.read_text(encoding="utf-8"))
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # its workers too, none of which has anything to keep
        server.wait(timeout=30)


def mlflow_server(folder: Path, store: str, *options: str) -> AbstractContextManager[str]:
    """The address of an MLflow server as `make ui` starts it: one worker, and no processes for language models."""
    command = ["mlflow", "server", "--workers", "1", "--backend-store-uri", store, *options]
    return served(folder, *command, MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
