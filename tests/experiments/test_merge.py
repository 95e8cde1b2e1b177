"""The recipe of docs/team.md for a merge of two branches that both changed dvc.lock."""

from pathlib import Path

import pytest

from naevi.experiments.demo import commit, set_parameters
from tests import pipeline
from tests.experiments.helpers import IDENTITY, git
from tests.helpers import HERE

pytestmark = pytest.mark.slow


def test_two_branches_with_results_are_merged(small_repository: Path, tmp_path: Path) -> None:
    """One branch changes the threshold, the other the number of resamples. The result has both changes."""
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    commit(folder, "Run it")
    branch = git(folder, "branch", "--show-current")
    git(folder, "switch", "--quiet", "--create", "other")
    change(folder, "evaluate.threshold=0.4")
    git(folder, "switch", "--quiet", branch)
    pipeline.run(folder, "dvc", "checkout")
    change(folder, "evaluate.resamples=150")

    printed = pipeline.run(folder, "git", *IDENTITY, "merge", "other", check=False)
    assert "CONFLICT (content): Merge conflict in dvc.lock" in printed
    git(folder, "checkout", "--ours", "dvc.lock", "reports", "data/split.csv")
    assert git(folder, "diff", "--name-only", "--diff-filter=U", "--", "params.yaml") == ""
    ran = pipeline.run(folder, "dvc", "repro")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Merge")

    assert "Running stage 'evaluate'" in ran
    assert "Running stage 'train" not in ran
    values = (folder / HERE.params).read_text(encoding="utf-8")
    assert "threshold: 0.4" in values
    assert "resamples: 150" in values
    assert git(folder, "status", "--porcelain") == ""
    assert "didn't change, skipping" in pipeline.run(folder, "dvc", "repro")


def change(folder: Path, assignment: str) -> None:
    """Run the pipeline with another parameter and commit the result."""
    set_parameters(folder / HERE.params, [assignment])
    pipeline.run(folder, "dvc", "repro")
    commit(folder, assignment)
