"""The scripts in examples/slurm give the bytes of `dvc repro`."""

import os
import sys
from pathlib import Path

import pytest

from tests import pipeline
from tests.faults.kills import bytes_of, run_problems
from tests.helpers import ROOT

STAND_IN = ROOT / "tests" / "experiments" / "stand_in_sbatch.py"


@pytest.mark.slow
def test_tasks_in_clones_of_their_own_give_the_bytes_of_dvc_repro(small_repository: Path, tmp_path: Path) -> None:
    """The trainings run at the same time."""
    folder, programs, jobs = (tmp_path / name for name in ("repository", "programs", "jobs"))
    pipeline.make(folder)
    programs.mkdir()
    jobs.mkdir()
    sbatch = programs / "sbatch"
    sbatch.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n', encoding="utf-8")
    sbatch.chmod(0o755)
    path = os.pathsep.join([str(programs), pipeline.clean()["PATH"]])
    (folder / "naevi" / "new.py").write_text("# not committed\n", encoding="utf-8")  # changes nothing
    told = pipeline.run(folder, "sh", "examples/slurm/submit.sh", "--cpus-per-task=1", PATH=path, JOBS=str(jobs))

    logs = {log.name: log.read_text(encoding="utf-8") for log in (folder / ".cache" / "slurm").iterdir()}
    assert told == "Submitted: data (1), 3 trainings (2), result (3). Logs: .cache/slurm/\n"
    assert [(jobs / number).read_text() for number in "123"] == ["0"] * 3, logs
    assert sorted(logs) == ["data-1.log", "result-3.log", "train-2-0.log", "train-2-1.log", "train-2-2.log"]
    assert logs["result-3.log"].count("is cached - skipping run, checking out outputs") == 3
    assert bytes_of(folder) == bytes_of(small_repository)
    assert run_problems(folder) == []
