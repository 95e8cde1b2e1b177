"""examples/search.py: a search with Optuna through DVC's queue. It goes on after an interruption."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dvc.api
import pytest

from naevi.experiments.demo import commit
from tests import pipeline
from tests.helpers import ROOT

pytest.importorskip("optuna", reason="optuna is not installed; `make test-services` installs it")

pytestmark = pytest.mark.slow

COMMAND = ["python", str(ROOT / "examples/search.py"), "--folds", "[0,1]", "--jobs", "2", "--trials", "2"]


def interrupt(folder: Path) -> None:
    """Start a search, and kill it while its two trials run."""
    process = subprocess.Popen([sys.executable, *COMMAND[1:]], cwd=folder, env=pipeline.clean())
    while "Running" not in pipeline.run(folder, "dvc", "queue", "status"):
        assert process.poll() is None
        time.sleep(0.5)
    process.kill()
    process.wait(timeout=30)


def test_a_search_goes_on_after_an_interruption(
    small_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    commit(folder, "Run it")
    interrupt(folder)
    while re.search("Queued|Running", pipeline.run(folder, "dvc", "queue", "status")):
        time.sleep(0.5)

    printed = pipeline.run(folder, *COMMAND)

    monkeypatch.chdir(folder)
    rows = {row["Experiment"]: row for row in dvc.api.exp_show()}
    assert {name for name in rows if name} == {"search-0", "search-1", "search-2", "search-3"}

    def tried(name: str) -> tuple[Any, ...]:
        return tuple(rows[name][key] for key in ("train.lr", "train.augment.rotation", "val.dice", "dice.mean"))

    assert {tried("search-0"), tried("search-1")} == {tried("search-2"), tried("search-3")}
    assert len({rows[f"search-{number}"]["train.lr"] for number in range(4)}) == 2
    best = max(rows[f"search-{number}"]["val.dice"] for number in (2, 3))
    assert re.search(rf"^The best trial is search-[23], with val\.dice {best:.4f}\.$", printed, re.MULTILINE)
    assert "search-2: val.dice" in printed
    again = pipeline.run(folder, *COMMAND)
    assert again.splitlines()[-1] == printed.splitlines()[-1], "two trials are done, so nothing is queued"
    assert "Queued" not in again


def test_a_trial_that_fails_ends_the_search_with_a_message(small_repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    commit(folder, "Run it")

    printed = pipeline.run(folder, *COMMAND[:2], "--folds", "[7]", "--trials", "1", check=False)

    assert printed.splitlines()[-1] == "search-0 failed. See `dvc queue logs search-0`."
