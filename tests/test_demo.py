"""The demo lives in a folder of its own; what is committed stays as it is."""

import subprocess
from pathlib import Path

import pytest

from naevi import config, demo, paths
from naevi.config import load_config
from tests.conftest import ROOT


def test_the_demo_repository_is_the_code_set_for_phantoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    before = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout

    demo.make(tmp_path / "demo")

    after = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert after == before
    monkeypatch.chdir(tmp_path / "demo")
    assert load_config().data.source == "phantoms"
    assert (paths.PIPELINE).read_bytes() == (ROOT / paths.PIPELINE).read_bytes()
    for left_out in (paths.LOCK, paths.SPLIT, paths.METRICS, paths.REPORT_MD):
        assert not left_out.exists()


def test_a_demo_made_again_keeps_what_was_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    demo.make(tmp_path / "demo")
    (tmp_path / "demo" / "mlflow.db").write_text("kept")

    demo.make(tmp_path / "demo")

    assert (tmp_path / "demo" / "mlflow.db").read_text() == "kept"


def test_overriding_keeps_comments_and_types(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("train:\n  lr: 0.1  # the highest\n  name: a\n", encoding="utf-8")

    config.override(file, ["train.lr=1e-4", "train.name=[0, all]"])

    assert config.read_yaml(file) == {"train": {"lr": 0.0001, "name": [0, "all"]}}
    assert "# the highest" in file.read_text(encoding="utf-8")
