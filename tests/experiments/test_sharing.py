"""Results and models go from one clone to another through a git remote and a DVC remote, as docs/team.md says."""

import os
import stat
from pathlib import Path

import pytest

from naevi.experiments.demo import commit
from naevi.files import read_yaml
from tests import pipeline
from tests.helpers import HERE, ROOT

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
    assert ran == {"split", "evaluate", "report", "track"}


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


def test_a_tagged_model_is_found_by_its_name(shared: Path) -> None:
    mine, other = shared / "mine", shared / "tagged"
    other.mkdir()
    name = ("-c", "user.name=naevi", "-c", "user.email=naevi@localhost")
    pipeline.run(mine, "git", *name, "tag", "--annotate", "predictor@v1.0.0", "--message", "First model")
    pipeline.run(mine, "git", "push", "--quiet", "origin", "predictor@v1.0.0")

    pipeline.run(other, "dvc", "artifacts", "get", str(shared / "git"), "predictor")

    weights = Path("model.safetensors")
    assert (other / "predictor" / weights).read_bytes() == (mine / HERE.predictor / weights).read_bytes()


def test_a_whole_result_is_used_in_another_repository(shared: Path) -> None:
    """Tables and texts are in git, masks in the DVC remote. `dvc get` and `dvc import` take both."""
    mine, other = shared / "mine", shared / "paper"
    other.mkdir()
    pipeline.run(other, "git", "init", "--quiet")
    pipeline.run(other, "dvc", "init", "--quiet")

    pipeline.run(other, "dvc", "get", str(shared / "git"), "reports")
    pipeline.run(other, "dvc", "import", str(shared / "git"), "data/predictions")

    committed = pipeline.run(mine, "git", "show", f"main:{HERE.per_image}")
    assert (other / HERE.per_image).read_text(encoding="utf-8") == committed
    assert (other / HERE.report_html).exists()
    files = [path.name for path in sorted((mine / HERE.predictions).rglob("*")) if path.is_file()]
    assert files == [path.name for path in sorted((other / "predictions").rglob("*")) if path.is_file()]


def test_a_pull_request_gets_its_comparison_and_report_as_a_comment(shared: Path) -> None:
    """The commands of examples/pull-request.yml, except those that install. `gh` is a program that prints its input."""
    clone, programs = shared / "request", shared / "programs"
    programs.mkdir()
    (programs / "gh").write_text('#!/bin/sh\necho "gh $*"; cat comment.md\n', encoding="utf-8")
    (programs / "gh").chmod(stat.S_IRWXU)
    pipeline.run(shared, "git", "clone", "--quiet", "git", "request")
    pipeline.run(clone, "dvc", "exp", "pull", "origin", EXPERIMENT)
    pipeline.run(clone, "dvc", "exp", "apply", EXPERIMENT)
    commit(clone, "Raise the threshold")
    steps = read_yaml(ROOT / "examples/pull-request.yml")["jobs"]["comment"]["steps"]
    commands = {step["name"]: step["run"] for step in steps if "run" in step}
    path = os.pathsep.join([str(programs), pipeline.clean()["PATH"]])

    def run_step(name: str) -> str:
        return pipeline.run(clone, "bash", "-e", "-c", commands[name], PATH=path, BASE="main", NUMBER="12")

    printed = [run_step(name) for name in commands if name != "Install"]

    assert "Data and pipelines are up to date." in printed[0]
    assert printed[-1].startswith("gh pr comment 12 --body-file comment.md --edit-last --create-if-none\n")
    assert "origin/main" in printed[-1]
    assert "evaluate.threshold" in printed[-1]
    assert (clone / HERE.report_md).read_text(encoding="utf-8") in printed[-1]

    (clone / HERE.params).write_text(
        (clone / HERE.params).read_text(encoding="utf-8").replace("threshold: 0.6", "threshold: 0.7"), encoding="utf-8"
    )
    with pytest.raises(AssertionError, match="evaluate"):
        run_step("Check that the committed result is that of this code and these parameters")
