"""Experiments at the same time while somebody looks at MLflow: none is lost, mixed with another, or recorded twice.

Two in one folder DVC refuses or mixes, see docs/reliability.md: here one is in the folder, all others have their own.
"""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from time import sleep

import pytest
import requests

from naevi.experiments.demo import commit
from tests import pipeline
from tests.helpers import HERE

DVC = ("dvc", "--wait-for-lock")  # else it gives up after three seconds
EVERY_RUN = {"experiment_ids": ["0", "1"], "max_results": 1000}


@contextmanager
def visited(address: str) -> Iterator[list[int | requests.RequestException]]:
    """Somebody who looks at all runs, again and again: what the server answered, or why it did not."""
    answers: list[int | requests.RequestException] = []
    left = Event()

    def look() -> None:
        while not left.wait(2):
            try:
                answer = requests.post(f"{address}/api/2.0/mlflow/runs/search", json=EVERY_RUN, timeout=60)
                answers.append(answer.status_code)
            except requests.RequestException as error:
                answers.append(error)

    visitor = Thread(target=look, daemon=True)
    visitor.start()
    try:
        yield answers
    finally:
        left.set()
        visitor.join(timeout=60)


def experiment(*how: str, name: str, setting: str) -> list[str]:
    """The command that runs or queues an experiment."""
    return [*DVC, "exp", "run", *how, "--name", name, "--set-param", setting]


def revision(folder: Path, name: str) -> str:
    """The commit that holds an experiment; it is alone with its name."""
    (found,) = pipeline.run(folder, "git", "for-each-ref", "--format=%(objectname)", f"refs/exps/**/{name}").split()
    return found


def content(folder: Path, name: str, file: Path) -> str:
    """A file that git has of an experiment."""
    return pipeline.run(folder, "git", "show", f"{revision(folder, name)}:{file.as_posix()}")


def wait_for_queue(folder: Path) -> str:
    """The status of the queue when nothing is left in it."""
    while True:
        status = pipeline.run(folder, *DVC, "queue", "status")
        if "Queued" not in status and "Running" not in status:
            return status
        sleep(10)


@pytest.mark.parametrize(
    ("number", "alone"),
    [
        pytest.param(4, [2], id="four"),
        pytest.param(50, [1, 2, 49, 50], id="fifty", marks=pytest.mark.soak),
    ],
)
def test_experiments_at_once_are_each_recorded_once(
    small_repository: Path, tmp_path: Path, number: int, alone: list[int]
) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    (folder / "mlflow.db").unlink()  # the workers must also survive making the store at once
    commit(folder, "Run")
    # Every fourth one trains, the others take the models from DVC's cache.
    settings = {f"queued-{n}": f"{'train' if n % 4 == 1 else 'evaluate'}.seed={n}" for n in range(1, number + 1)}
    beside = {"apart": "evaluate.threshold=0.4", "here": "evaluate.threshold=0.6"}
    for name, setting in settings.items():
        pipeline.run(folder, *experiment("--queue", name=name, setting=setting))

    start = [*DVC, "queue", "start", "--jobs", "4"]
    # The workers inherit its output: to read that would be to wait for them.
    subprocess.run(start, cwd=folder, env=pipeline.clean(), check=True, stdout=subprocess.DEVNULL)
    pipeline.run(folder, *DVC, "repro", "--single-item", "--force", "track")
    with pipeline.mlflow_server(folder, "sqlite:///mlflow.db") as address, visited(address) as answers:
        temporary = subprocess.Popen(
            experiment("--temp", name="apart", setting=beside["apart"]),
            cwd=folder,
            env=pipeline.clean(),
            stdout=subprocess.DEVNULL,
        )
        assert "Running" in pipeline.run(folder, *DVC, "queue", "status")
        pipeline.run(folder, *experiment(name="here", setting=beside["here"]))
        assert temporary.wait() == 0
        status = wait_for_queue(folder)

    assert status.count("Success") == number, status
    assert set(answers) == {200}
    assert len(answers) > 10
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        assert store.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert store.execute("select distinct status from runs").fetchall() == [("FINISHED",)]
    results = {run.data.tags.get("dvc.experiments", ""): run for run in pipeline.runs(folder, "result")}
    assert set(results) == {"", *settings, *beside}  # "" is the workspace's own
    assert len(results) == len(pipeline.runs(folder, "result"))
    trained = sum(setting.startswith("train") for setting in settings.values())
    assert len(pipeline.runs(folder, "model")) == 3 * (1 + trained)
    for name, setting in (settings | beside).items():
        key, _, value = setting.partition("=")
        assert results[name].data.params[key] == value
        assert results[name].data.tags["fingerprint"] in content(folder, name, HERE.report_md)
        changed = pipeline.run(folder, "git", "diff", "--numstat", "HEAD", revision(folder, name), "--", "params.yaml")
        assert changed == "1\t1\tparams.yaml\n"

    again = pipeline.copy(small_repository, tmp_path / "alone")
    commit(again, "Run")
    for n in alone:
        name = f"queued-{n}"
        pipeline.run(again, *experiment("--temp", name=name, setting=settings[name]))
        assert content(again, name, HERE.lock) == content(folder, name, HERE.lock)
