"""A small repository like the demo's, in which tests run the real pipeline: DVC, MLflow and all."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from naevi import demo

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
    "runtime.threads=2",
    "cv.models=[0, 1, all]",
]
STAGES = ["download", "preprocess", "split", "train@0", "train@1", "train@all", "evaluate", "report", "track"]


def make(folder: Path) -> None:
    """The repository, with nothing run yet."""
    demo.make(folder, SETTINGS)


def clean() -> dict[str, str]:
    """The environment without what steers DVC, MLflow and naevi; its programs are those beside this Python."""
    steers = ("AWS_", "DVC_", "MLFLOW_", "NAEVI_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(steers)}
    return kept | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])}


def run(folder: Path, *command: str, check: bool = True, **environment: str) -> str:
    """What a command prints there, both streams; MLflow's store is the folder's own."""
    done = subprocess.run(
        command, cwd=folder, env=clean() | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0 or not check, done.stdout
    return done.stdout


def free_port() -> int:
    """A port of this machine's own address that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def server(folder: Path, *command: str, answers: str, **environment: str) -> Iterator[None]:
    """A server that runs there from when `answers`, an address of it, does until the block ends."""
    with (folder / "server.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=clean() | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            for _ in range(240):
                assert process.poll() is None, Path(log.name).read_text(encoding="utf-8")
                if _answers(answers):
                    break
                time.sleep(0.5)
            else:
                raise AssertionError(Path(log.name).read_text(encoding="utf-8"))
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too, none of which has anything to keep
            process.wait()


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.ConnectionError:
        return False
