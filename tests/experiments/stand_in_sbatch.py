"""A stand-in for SLURM's sbatch that starts the job at once: its tasks at the same time, after the jobs it depends on.

Environment: JOBS is a folder for the exit codes of jobs.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run a job, print its number, and note its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parsable", action="store_true")
    for name in ("job-name", "output", "dependency", "array", "cpus-per-task"):
        parser.add_argument(f"--{name}")
    parser.add_argument("script")
    options = parser.parse_args()
    jobs = Path(os.environ["JOBS"])
    number = len(list(jobs.iterdir())) + 1
    first, last = map(int, (options.array or "0-0").split("-"))
    kind, _, needed = (options.dependency or "afterok:").partition(":")
    assert kind == "afterok"
    if needed and (jobs / needed).read_text() != "0":
        (jobs / str(number)).write_text("never run")
    else:
        tasks = [start(options, number, task) for task in range(first, last + 1)]
        (jobs / str(number)).write_text(str(max(task.wait() for task in tasks)))
    print(number)


def start(options: argparse.Namespace, number: int, task: int) -> subprocess.Popen[bytes]:
    """Start a task of a job in the current folder, as SLURM does: from a copy of the script."""
    log = options.output.replace("%j", str(number)).replace("%A", str(number)).replace("%a", str(task))
    copy = Path(os.environ["JOBS"]).with_name(f"script-{number}-{task}")
    copy.write_bytes(Path(options.script).read_bytes())
    with open(log, "wb") as output:
        return subprocess.Popen(
            ["sh", copy],
            env=os.environ | {"SLURM_ARRAY_TASK_ID": str(task)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


if __name__ == "__main__":
    main()
    sys.exit(0)
