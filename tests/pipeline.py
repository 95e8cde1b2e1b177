"""A small repository like the demo's, in which tests run the real pipeline: DVC, MLflow and all."""

import os
import subprocess
import sys
from pathlib import Path

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
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "NAEVI_"))}
    return kept | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])}


def run(folder: Path, *command: str, check: bool = True, **environment: str) -> str:
    """What a command prints there, both streams; MLflow's store is the folder's own."""
    done = subprocess.run(
        command, cwd=folder, env=clean() | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0 or not check, done.stdout
    return done.stdout
