"""Reproduce the pipeline with several trainings at the same time, each with its share of the processors and GPUs.

Each training is a DVC process of its own, which puts the model into DVC's cache and its entry into the run cache. Then
dvc.lock gets the content from before, and a plain `dvc repro` takes the models from the cache. So dvc.lock is the one
that `dvc repro` alone would have written, whatever the order in which trainings end.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

from naevi.config import Config, load_config
from naevi.errors import UserError, first_ten
from naevi.experiments.repository import program_environment, run_command, unlock
from naevi.files import atomic_file, read_yaml
from naevi.parallel.processes import cores
from naevi.workspace import Workspace

STAGE = "train@"  # the start of the names that DVC gives to the trainings of its matrix
SAVED_LOCK = ".dvc/tmp/lock-before-trainings"
# The environment variables that `models.device` and torch read.
SHARERS, GPUS = "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES"

logger = logging.getLogger(__name__)


def repro(workspace: Workspace, jobs: int) -> None:
    """Do what `dvc repro` does, with up to `jobs` trainings at the same time.

    Raises UserError if a command of DVC fails. The models that are trained by then stay in DVC's cache.
    """
    config = load_config(workspace)
    unlock(workspace)
    restore_lock(workspace)
    if jobs > 1:
        run_command("dvc", "repro", "split", folder=workspace.root, show=True)
        if stages := _stages_to_train(workspace, config):
            _train(workspace, config, stages, jobs)
    run_command("dvc", "repro", folder=workspace.root, show=True)


def _stages_to_train(workspace: Workspace, config: Config) -> list[str]:
    """Return the trainings that `dvc repro` would run, in the order of cv.models."""
    names = [f"{STAGE}{name}" for name in config.model_names()]
    status = run_command("dvc", "status", "--json", *names, folder=workspace.root)
    changed = json.loads(status)
    return [name for name in names if name in changed]


def _train(workspace: Workspace, config: Config, stages: Sequence[str], jobs: int) -> None:
    """Train models that go to DVC's cache; dvc.lock doesn't change."""
    number, _ = plan(config, jobs)
    logger.info("%s", describe_plan(config, len(stages), jobs))
    environments = SimpleQueue[dict[str, str]]()
    for slot in range(number):
        environments.put(environment_of(config, slot, number))
    running: dict[str, subprocess.Popen[str]] = {}
    failed: list[str] = []

    def train(stage: str) -> None:
        environment = environments.get()
        if not failed and not interrupted.is_set():
            with _start(workspace, stage, environment) as running[stage]:
                _print_lines(stage, running[stage])
            ended = running.pop(stage).returncode
            print(f"{stage}: {'failed' if ended else 'done'}", flush=True)
            if ended:
                failed.append(stage)
        environments.put(environment)

    interrupted = Event()
    with _kept_lock(workspace), ThreadPoolExecutor(number) as pool:
        try:
            list(pool.map(train, stages))
        except BaseException:  # Ctrl-C
            interrupted.set()
            for process in list(running.values()):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
            raise
    if failed:
        raise UserError(
            f"{first_ten(failed)} failed, see the lines above. DVC's cache has the models that were trained. Run the "
            "same command to train the others."
        )


def plan(config: Config, jobs: int) -> tuple[int, int]:
    """Return how many models are trained at the same time, and the threads of each. Neither depends on what is left."""
    threads = config.runtime.threads
    number = min(jobs, len(config.model_names()), max(1, cores() // (1 if threads == "auto" else threads)))
    return number, cores() // number if threads == "auto" else threads


def describe_plan(config: Config, stages: int, jobs: int) -> str:
    """Return a sentence about what is trained at the same time, and one about the bytes of the models if needed."""
    number, threads = plan(config, jobs)
    fewer = number < min(jobs, len(config.model_names()))
    limit = f" ({jobs} would need more than the {cores()} processors)" if fewer else ""
    text = f"{stages} model(s) to train, {number} at a time{limit}, each with {threads} thread(s)."
    if config.runtime.threads != "auto":
        return text
    return (
        f"{text} The number of threads changes the last digits of a model. With runtime.threads=1, every number of "
        "jobs gives the same bytes."
    )


def environment_of(config: Config, slot: int, number: int) -> dict[str, str]:
    """Return the environment of the trainings in a slot: its share of the processors, and one of the GPUs in turn."""
    environment = program_environment() | {SHARERS: str(number)}
    if config.runtime.device in ("auto", "cuda"):
        import torch  # takes seconds

        visible = environment.get(GPUS)
        gpus = visible.split(",") if visible else range(torch.cuda.device_count())
        if gpus:
            environment[GPUS] = str(gpus[slot % len(gpus)])
    return environment


def _start(workspace: Workspace, stage: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a training in a process group of its own, so that Ctrl-C reaches it from here only, once."""
    command = (
        sys.executable,
        "-m",
        "naevi.experiments.attached_dvc",
        "--wait-for-lock",
        "repro",
        "--single-item",
        stage,
    )
    return subprocess.Popen(
        command,
        cwd=workspace.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def _print_lines(stage: str, process: subprocess.Popen[str]) -> None:
    print(f"{stage}: started", flush=True)
    for line in process.stdout or ():
        if line.strip():
            print(f"{stage}: {line.rstrip()}", flush=True)


@contextmanager
def _kept_lock(workspace: Workspace) -> Iterator[None]:
    """Give dvc.lock the content from before at the end. After a kill, the next `repro` does it."""
    saved = workspace.root / SAVED_LOCK
    with atomic_file(saved) as partial:
        shutil.copyfile(workspace.lock, partial)
    try:
        yield
    finally:
        restore_lock(workspace)


def restore_lock(workspace: Workspace) -> None:
    """Give dvc.lock its content from before the trainings, if it differs from that only in entries of trainings."""
    saved = workspace.root / SAVED_LOCK
    if not saved.exists():
        return
    if _other_entries(saved) == _other_entries(workspace.lock):
        with atomic_file(workspace.lock) as partial:
            shutil.copyfile(saved, partial)
    saved.unlink()


def _other_entries(lock: Path) -> dict[str, Any]:
    stages = read_yaml(lock)["stages"] if lock.exists() else {}
    return {name: entry for name, entry in stages.items() if not name.startswith(STAGE)}
