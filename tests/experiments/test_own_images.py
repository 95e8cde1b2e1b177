"""Images of a user that DVC tracks, as docs/own-images.md says: they are in experiments, in remotes and in clones."""

import shutil
from pathlib import Path

import pytest

from naevi.experiments.demo import commit
from tests import pipeline
from tests.helpers import HERE

pytestmark = pytest.mark.slow

PHOTOGRAPHS = Path("data/photographs")
SETTINGS = ["-S", "data.source=folder", "-S", f"data.path={PHOTOGRAPHS}", "-S", "data.name=clinic"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_own_images_are_in_experiments_remotes_and_clones(small_repository: Path, tmp_path: Path) -> None:
    """DVC finds data/photographs.dvc only if .gitignore doesn't ignore data/ itself."""
    folder, clone = pipeline.copy(small_repository, tmp_path / "repository"), tmp_path / "clone"
    for name in ("images", "masks"):
        shutil.copytree(folder / HERE.raw / name, folder / PHOTOGRAPHS / name)
    given = contents(folder / PHOTOGRAPHS)
    pipeline.run(folder, "dvc", "add", "--quiet", str(PHOTOGRAPHS))
    commit(folder, "Add photographs")
    assert pipeline.run(folder, "git", "ls-files", "data/photographs*") == "data/photographs.dvc\n"

    for options in (["--temp"], []):
        pipeline.run(folder, "dvc", "exp", "run", *options, *SETTINGS, "preprocess")
        assert contents(folder / PHOTOGRAPHS) == given

    pipeline.run(folder, "dvc", "remote", "add", "--default", "team", str(tmp_path / "remote"))
    commit(folder, "Use them, and add a remote")
    pipeline.run(folder, "dvc", "push")
    pipeline.run(tmp_path, "git", "clone", "--quiet", str(folder), str(clone))
    pipeline.run(clone, "dvc", "pull")
    assert contents(clone / PHOTOGRAPHS) == given
    assert "up to date" in pipeline.run(clone, "dvc", "status", f"{PHOTOGRAPHS}.dvc")
