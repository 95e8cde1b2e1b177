"""Measure how long a stage takes to start: all imports, this repository's imports, and the time to the first batch.

    python -m benchmarks.startup

Each figure is the median of three processes. The last one needs prepared data (`dvc repro split`). It trains nothing
and logs to a temporary store.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

from naevi.files import read_yaml
from naevi.workspace import current_workspace

AS_MODULE = "import sys; sys.argv[0] = '-m'; "  # as with `python -m`, see stages/__init__.py
# Ends a fold when its first batch would be augmented.
FOLD = f"""
{AS_MODULE}import os
from naevi.training import step
from stages import train
from stages.runner import run_stage
step.augment = lambda *_, **__: os._exit(0)
sys.argv = ["train", "0"]
run_stage(train.main)
"""


def main() -> None:
    """Print the tables."""
    print("| stage | imports, s | our own, s |\n|---|---|---|")
    for stage in read_yaml(current_workspace().pipeline)["stages"]:
        whole, own = (statistics.median(column) for column in zip(*(imports(stage) for _ in range(3)), strict=True))
        print(f"| {stage} | {whole:.2f} | {own:.2f} |")
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/mlflow.db"
        first_batch(store)  # creates the store
        seconds = statistics.median(first_batch(store) for _ in range(3))
    print(f"\nA fold's process is at its first batch after {seconds:.1f} s.")


def imports(stage: str) -> tuple[float, float]:
    """Return the seconds of all imports of a stage, and of those in this repository."""
    command = [sys.executable, "-X", "importtime", "-c", f"{AS_MODULE}import stages.{stage}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    rows = [line.removeprefix("import time:").split("|") for line in lines[1:]]
    times = [(int(alone), name.strip()) for alone, _, name in rows if alone.strip().isdigit()]
    own = sum(alone for alone, name in times if name.split(".")[0] in ("naevi", "stages"))
    return sum(alone for alone, _ in times) / 1e6, own / 1e6


def first_batch(store: str) -> float:
    """Return the seconds from the start of a fold's process to its first batch."""
    began = time.perf_counter()
    environment = os.environ | {"MLFLOW_TRACKING_URI": store}
    subprocess.run([sys.executable, "-c", FOLD], capture_output=True, check=True, env=environment)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
