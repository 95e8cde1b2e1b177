"""Fixtures: a comparison of two tables, and a repository with results of every kind."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from naevi.config import EvaluateConfig
from naevi.experiments.named_results import NamedResult
from naevi.experiments.statistics import Comparison, compare_data_sets, compare_scores, pair_results
from naevi.workspace import Workspace
from tests import pipeline
from tests.experiments.helpers import git, per_image, write_result, write_scores
from tests.helpers import HERE, ROOT


@pytest.fixture(scope="session")
def settings(config_with: Callable) -> EvaluateConfig:
    return config_with({}).evaluate


@pytest.fixture
def compare(settings: EvaluateConfig) -> Callable[..., Comparison]:
    """Return a function that compares two tables as compare_results does."""

    def compare(
        a: pd.DataFrame, b: pd.DataFrame, n_comparisons: int = 1, names: tuple[str, str] = ("A", "B")
    ) -> Comparison:
        left, right = NamedResult(names[0], a), NamedResult(names[1], b)
        pairs = pair_results(left, right)
        differences, by_dataset = compare_scores(pairs, settings), compare_data_sets(pairs, settings)
        return Comparison(left, right, pairs, differences, n_comparisons, settings.resamples, by_dataset)

    return compare


@pytest.fixture(scope="session")
def first_repository(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two commits, an experiment on the second, two published results, and a workspace unlike any of them."""
    folder = tmp_path_factory.mktemp("first")
    workspace = Workspace(folder)
    for path in (HERE.params, HERE.pipeline):
        shutil.copy(ROOT / path, folder)
    git(folder, "init", "--quiet")
    pipeline.run(folder, "dvc", "init", "--quiet")
    (folder / ".gitignore").write_text("/.cache/\n")

    def commit(dice: float) -> str:
        write_result(workspace, per_image([dice, 0.9]))
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", f"Dice {dice}")
        return git(folder, "rev-parse", "HEAD")

    first, second = commit(0.1), commit(0.2)
    tried = commit(0.3)
    git(folder, "update-ref", f"refs/exps/{second[:2]}/{second[2:]}/tried", tried)
    git(folder, "reset", "--quiet", "--hard", second)
    for name, dice in (("kept", 0.3), ("other", 0.4)):  # the first has the scores of the experiment
        write_scores(workspace.results / name, per_image([dice, 0.9]))
        (workspace.results / name / "overrides.txt").touch()
    write_result(workspace, per_image([0.5, 0.9]))
    return SimpleNamespace(folder=folder, first=first, second=second, tried=tried)


@pytest.fixture
def repository(first_repository: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a copy of first_repository, which is the current folder."""
    folder = Path(shutil.copytree(first_repository.folder, tmp_path / "repository"))
    monkeypatch.chdir(folder)
    return SimpleNamespace(**vars(first_repository) | {"folder": folder})
