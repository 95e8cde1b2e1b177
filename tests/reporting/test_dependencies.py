"""Versions are from the workspace's lock file, then from that of the code, then from what is installed."""

from importlib.metadata import version
from pathlib import Path

import pytest

from naevi.reporting import dependencies
from naevi.reporting.dependencies import Dependencies, find_lock_file, read_dependencies
from naevi.reporting.report import render_html
from naevi.reporting.result import ReportData
from naevi.workspace import Workspace
from tests.helpers import ROOT
from tests.reporting.report_data import PLOTS


def test_the_lock_file_of_the_workspace_comes_first(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    assert find_lock_file(Workspace(tmp_path)) == ROOT / "requirements.lock"

    lock.touch()

    assert find_lock_file(Workspace(tmp_path)) == lock


def test_there_is_no_lock_file_if_the_code_is_from_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "CODE_REPOSITORY", tmp_path)

    assert find_lock_file(Workspace(tmp_path)) is None


def test_locked_versions_have_no_hashes_and_comments(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "# Written by make lock.\n"
        "numpy==2.4.6 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
        'colorama==0.4.6 ; sys_platform == "win32" \\\n    --hash=sha256:22\n'
        "torch==2.14.1\n"
    )

    assert read_dependencies(lock) == Dependencies(
        "requirements.lock", ["numpy==2.4.6", "colorama==0.4.6", "torch==2.14.1"]
    )


def test_every_package_of_the_committed_lock_file_is_listed() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    names = [line.split("==")[0] for line in lines if line[:1].isalnum()]

    assert [package.split("==")[0] for package in read_dependencies(ROOT / "requirements.lock").packages] == names
    assert "torch" in names


def test_without_a_lock_file_the_installed_versions_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        dependencies, "requires", lambda name: ["torch<2.15,>=2.10", "numpy>=2.1", 'ruff; extra == "dev"']
    )

    found = read_dependencies(None)

    assert found.packages == [f"numpy=={version('numpy')}", f"torch=={version('torch')}"]
    assert found.source == "installed, direct dependencies only"


def test_without_any_versions_the_section_is_left_out(result: ReportData) -> None:
    svgs = dict.fromkeys(PLOTS, "<svg></svg>")
    assert "All 2 packages (requirements.lock)" in render_html(result, [], svgs)

    bare = ReportData(**vars(result) | {"dependencies": Dependencies("installed", [])})

    assert "packages (" not in render_html(bare, [], svgs)
