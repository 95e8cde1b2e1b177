"""Git and DVC run in the folder of the workspace, and corrupt lock files of DVC are removed."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from naevi.errors import UserError
from naevi.experiments.repository import list_experiments, run_command, text_at, unlock
from naevi.workspace import Workspace


def test_a_command_runs_in_its_folder_without_hidden_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_SEEN", "yes")
    monkeypatch.setenv("NAEVI_HIDDEN", "yes")
    program = "import os; print(os.getcwd(), os.environ.get('NAEVI_SEEN'), os.environ.get('NAEVI_HIDDEN'))"

    output = run_command(sys.executable, "-c", program, folder=tmp_path, without=("NAEVI_HIDDEN",))

    assert output == f"{os.path.realpath(tmp_path)} yes None\n"


def test_a_command_that_fails_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^`git log` failed with exit code 128\. See its output above\.$"):
        run_command("git", "log", folder=tmp_path)


def test_files_and_experiments_are_those_of_the_workspace(
    repository: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    workspace = Workspace(repository.folder)

    assert list_experiments(workspace) == {repository.second: {"tried": repository.tried}}
    table = text_at(workspace, repository.tried, "reports/per_image.csv")
    assert table is not None
    assert ",0.3," in table
    assert text_at(workspace, repository.tried, "reports/nothing.csv") is None


def test_without_dvc_there_are_no_experiments(tmp_path: Path) -> None:
    assert list_experiments(Workspace(tmp_path)) == {}


def test_only_corrupt_lock_files_are_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace_lock, experiment_lock = (tmp_path / ".dvc/tmp" / name for name in ("rwlock", "exps/rwlock"))
    experiment_lock.parent.mkdir(parents=True)
    workspace_lock.write_text('{"data/raw": {"re')
    experiment_lock.write_text("{}")

    unlock(Workspace(tmp_path))

    assert not workspace_lock.exists()
    assert experiment_lock.read_text() == "{}"
    assert capsys.readouterr().out == f"naevi: removed {workspace_lock}, which a killed process left corrupt.\n"
