"""Kills and Ctrl-C while several models are trained: the bytes are those of `dvc repro`, and no process is left."""

import os
import random
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests import pipeline
from tests.faults.kills import bytes_of, run_problems
from tests.helpers import wait_until

REPRO = ["naevi", "repro", "--jobs", "2"]


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        REPRO, cwd=folder, env=pipeline.clean(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )


def working_in(folder: Path, *words: str) -> list[psutil.Process]:
    """The processes that work in a folder, with these words in their command."""
    found = [process for process in psutil.process_iter(["cwd", "cmdline"]) if process.info["cwd"] == str(folder)]
    return [process for process in found if set(words) <= set(process.info["cmdline"] or [])]


def has_ended(folder: Path) -> bool:
    return not working_in(folder)


@pytest.mark.slow
def test_killed_and_interrupted_trainings_come_to_the_bytes_of_dvc_repro(
    small_repository: Path, tmp_path: Path
) -> None:
    """No process outlives a killed command, and Ctrl-C ends all. The soak kills it ten times."""
    folder = tmp_path / "repository"
    pipeline.make(folder)

    killed = start(folder)
    wait_until(lambda: len(working_in(folder, "stages.train")) == 2)
    killed.kill()
    killed.wait()
    wait_until(partial(has_ended, folder))
    interrupted = start(folder)
    wait_until(lambda: len(working_in(folder, "stages.train")) == 2)
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(timeout=60) == 130
    assert not working_in(folder)
    told = pipeline.run(folder, *REPRO)

    assert "3 model(s) to train, 2 at a time, each with 1 thread(s).\n" in told
    assert "train@0: started\n" in told
    assert "train@all: done\n" in told
    assert bytes_of(folder) == bytes_of(small_repository)
    assert run_problems(folder) == []
    assert "to train" not in pipeline.run(folder, *REPRO)


@pytest.mark.soak
def test_ten_kills_at_random_moments(small_repository: Path, tmp_path: Path) -> None:
    moments = random.Random(7)
    for number in range(10):
        folder = tmp_path / str(number)
        pipeline.make(folder)
        process = start(folder)
        wait_until(partial(working_in, folder, "stages.train"))
        time.sleep(moments.uniform(0, 12))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(partial(has_ended, folder))
        pipeline.run(folder, *REPRO)

        assert bytes_of(folder) == bytes_of(small_repository), f"after kill {number}"
        assert run_problems(folder) == []
