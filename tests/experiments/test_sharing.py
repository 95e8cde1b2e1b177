"""Results and models go from one clone to another through a git remote and a DVC remote, as docs/team.md says."""

from pathlib import Path

import pytest

from naevi.experiments.demo import commit
from tests import pipeline
from tests.helpers import HERE

pytestmark = pytest.mark.slow

EXPERIMENT = "strict"


def predictions(folder: Path, *options: str) -> dict[str, bytes]:
    """What `naevi predict` writes for the phantoms, by name."""
    pipeline.run(folder, "naevi", "predict", "../images", "--out", "found", *options)
    return {file.name: file.read_bytes() for file in (folder / "found/masks").iterdir()}


@pytest.fixture(scope="module")
def shared(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `mine`, a clone whose experiment was pushed, its remotes `git` and `dvc`, and `images`."""
    folder = tmp_path_factory.mktemp("shared")
    mine = pipeline.copy(small_repository, folder / "mine")
    (mine / HERE.raw / "images").rename(folder / "images")
    pipeline.run(mine, "dvc", "checkout", "--force")
    pipeline.run(folder, "git", "init", "--quiet", "--bare", "--initial-branch", "main", "git")
    pipeline.run(mine, "git", "branch", "--move", "main")
    pipeline.run(mine, "git", "remote", "add", "origin", str(folder / "git"))
    pipeline.run(mine, "dvc", "remote", "add", "--default", "team", str(folder / "dvc"))
    commit(mine, "Add a remote")
    pipeline.run(mine, "git", "push", "--quiet", "--set-upstream", "origin", "main")
    pipeline.run(mine, "dvc", "push", "--run-cache")
    pipeline.run(mine, "dvc", "exp", "run", "--name", EXPERIMENT, "--set-param", "evaluate.threshold=0.6")
    pipeline.run(mine, "dvc", "exp", "push", "origin", EXPERIMENT)
    return folder


def test_a_colleague_applies_an_experiment_and_nothing_runs(shared: Path) -> None:
    clone = shared / "clone"
    pipeline.run(shared, "git", "clone", "--quiet", "git", "clone")

    pipeline.run(clone, "dvc", "exp", "pull", "origin", EXPERIMENT)
    pipeline.run(clone, "dvc", "exp", "apply", EXPERIMENT)
    pipeline.run(clone, "dvc", "pull")
    printed = pipeline.run(clone, "dvc", "repro")

    assert "Running stage" not in printed
    assert (clone / HERE.lock).read_bytes() == (shared / "mine" / HERE.lock).read_bytes()
    pipeline.run(clone, "python", "-m", "stages.track")
    assert len(pipeline.runs(clone, "result")) == 1
    assert len(pipeline.runs(clone, "model")) == 3


def test_a_colleague_trains_nothing_that_someone_else_has_trained(shared: Path) -> None:
    """With the run cache, a result that nobody committed comes from the remote."""
    clone = shared / "second"
    pipeline.run(shared, "git", "clone", "--quiet", "git", "second")

    pipeline.run(clone, "dvc", "pull", "--run-cache")
    (clone / HERE.lock).unlink()
    printed = pipeline.run(clone, "dvc", "repro")

    ran = {line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")}
    assert not {stage for stage in ran if stage.startswith("train@")}


def test_a_model_is_used_in_another_repository(shared: Path) -> None:
    """`dvc get` copies it. `dvc import` also records where it is from, so that `dvc update` finds a newer one."""
    expected = predictions(shared / "mine")
    other = shared / "other"
    other.mkdir()
    pipeline.run(other, "git", "init", "--quiet")
    pipeline.run(other, "dvc", "init", "--quiet")

    pipeline.run(other, "dvc", "get", str(shared / "mine"), "data/predictor", "--out", "model")
    pipeline.run(other, "dvc", "import", str(shared / "git"), "data/predictor", "--out", "imported")

    assert predictions(other, "--model", "model") == expected
    assert (other / "imported.dvc").exists()
    weights = Path("model.safetensors")
    assert (other / "imported" / weights).read_bytes() == (shared / "mine/data/predictor" / weights).read_bytes()
