"""Time, memory and disk of each stage for many synthetic images, with one fold, one epoch and a small network.

    python -m benchmarks.scale 10000 --folder /tmp/scale

The folder becomes a repository of its own, in which the pipeline runs. The images have 64x64 px. Memory is the largest
sum of the proportional set sizes (PSS) of a stage's processes, measured twice a second; without PSS it is the RSS.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from naevi.experiments.demo import make_demo
from naevi.experiments.repository import program_environment
from naevi.files import MIB
from naevi.workspace import Workspace, current_workspace

STAGES = ("download", "preprocess", "split", "train@0", "evaluate", "report", "track")
PARAMETERS = [
    "data.source=phantoms",
    "data.phantoms.height=64",
    "data.phantoms.width=64",
    "preprocess.size=64",
    "split.folds=5",
    "model.architecture=segnet",
    "train.epochs=1",
    "train.batch_size=64",
    "evaluate.resamples=1000",
    "cv.models=[0]",
]


class Measured(NamedTuple):
    """What a command took."""

    seconds: float
    peak_mib: float


def main() -> None:
    """Print a row for each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    make_demo(current_workspace(), options.folder, [*PARAMETERS, f"data.phantoms.number={options.number}"])
    print(f"{options.number} images\n\n| stage | s | ms for each image | peak memory, MiB |\n|---|---|---|---|")
    for stage in STAGES:
        found = measure(options.folder, "dvc", "repro", "--single-item", stage)
        print(
            f"| `{stage}` | {found.seconds:.0f} | {1000 * found.seconds / options.number:.2f} | {found.peak_mib:.0f} |",
            flush=True,
        )
    status = measure(options.folder, "dvc", "status")
    folders = [Workspace(options.folder).root / ".dvc" / "cache", options.folder / "data"]
    cache, data = (sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in folders)
    print(f"\n`dvc status`: {status.seconds:.1f} s. Disk: cache {cache / MIB:.0f} MiB, data {data / MIB:.0f} MiB.")


def measure(folder: Path, *command: str) -> Measured:
    """Run a command and return its time and peak memory. Exits if it fails."""
    log = (folder / "scale.log").open("ab")
    start = time.monotonic()
    environment = program_environment(without=("DVC_ROOT", "MLFLOW_TRACKING_URI"))
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _memory(psutil.Process(process.pid)))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed, see {folder / 'scale.log'}")
    return Measured(time.monotonic() - start, peak / MIB)


def _memory(process: psutil.Process) -> int:
    """Return the memory of a process and its children, in bytes."""
    total = 0
    try:
        for each in [process, *process.children(recursive=True)]:
            memory = each.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    except psutil.Error:  # one of them has ended
        return total
    return total


if __name__ == "__main__":
    main()
