"""The demo has a repository of its own, and the committed results don't change."""

import shutil
import subprocess
from pathlib import Path

from naevi.config import load_config
from naevi.experiments.demo import DEMO_PARAMETERS, make_demo, set_parameters
from naevi.files import read_yaml
from naevi.workspace import Workspace
from tests.helpers import ROOT

CLONE = Workspace(ROOT)


def git_status() -> str:
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    return status.stdout


def test_the_demo_repository_is_the_code_with_synthetic_images(tmp_path: Path) -> None:
    before = git_status()

    make_demo(CLONE, tmp_path / "demo", DEMO_PARAMETERS)

    assert git_status() == before
    demo = Workspace(tmp_path / "demo")
    assert load_config(demo).data.source == "phantoms"
    assert (demo.root / load_config(demo).data.path).exists()  # a dependency of download
    assert demo.pipeline.read_bytes() == CLONE.pipeline.read_bytes()
    for left_out in (demo.lock, demo.split, demo.metrics, demo.report_md):
        assert not left_out.exists()
    assert any(demo.results.iterdir())


def test_a_demo_made_again_keeps_what_was_computed(tmp_path: Path) -> None:
    make_demo(CLONE, tmp_path / "demo", DEMO_PARAMETERS)
    (tmp_path / "demo" / "mlflow.db").write_text("kept")

    make_demo(CLONE, tmp_path / "demo", DEMO_PARAMETERS)

    assert (tmp_path / "demo" / "mlflow.db").read_text() == "kept"


def test_the_demo_works_beside_own_images(tmp_path: Path) -> None:
    """Own images are not in git, so a demo doesn't have them."""
    file = Path(shutil.copy(CLONE.params, tmp_path))
    set_parameters(file, ["data.source=folder", "data.path=data/photographs"])

    set_parameters(file, DEMO_PARAMETERS)

    assert load_config(Workspace(tmp_path)).data.path == "data/ph2.csv"


def test_setting_parameters_keeps_comments_and_types(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("train:\n  lr: 0.1  # the highest\n  name: a\n", encoding="utf-8")

    set_parameters(file, ["train.lr=1e-4", "train.name=[0, all]"])

    assert read_yaml(file) == {"train": {"lr": 0.0001, "name": [0, "all"]}}
    assert "# the highest" in file.read_text(encoding="utf-8")
