"""Fixtures: the repository that an earlier version left, and the same after its user has upgraded."""

import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from naevi.config import load_config
from naevi.errors import UserError
from naevi.workspace import Workspace
from tests.helpers import ROOT
from tests.old_records.make_archive import ARCHIVE, MADE_IN

# Where MLflow's store has absolute paths.
PATH_COLUMNS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the repository as the earlier version left it. It is the current folder."""
    folder = unpack(tmp_path / "repository")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def repository(unpacked: Path) -> Path:
    """Return the same with today's dvc.yaml, and a params.yaml with the lines that the error message lists."""
    workspace = Workspace(unpacked)
    shutil.copyfile(ROOT / workspace.relative(workspace.pipeline), workspace.pipeline)
    paste(workspace.params, message_lines(workspace))
    return unpacked


def unpack(folder: Path) -> Path:
    """Unpack the archive into a new folder and return it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="tar")  # keeps DVC's cache read-only
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        for table, column in PATH_COLUMNS.items():
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(MADE_IN), str(folder)))
    return folder


def message_lines(workspace: Workspace) -> str:
    """Return the lines in the message about a params.yaml of an earlier version."""
    with pytest.raises(UserError, match=r"^params\.yaml lacks \d+ parameter") as raised:
        load_config(workspace)
    return str(raised.value).partition("\n")[2]


def paste(params: Path, lines: str) -> None:
    """Add lines to the sections of a params.yaml that have their names."""
    yaml = YAML()
    document = yaml.load(params)
    _add(document, yaml.load(lines))
    yaml.dump(document, params)


def _add(target: Any, values: Any) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and key in target:
            _add(target[key], value)
        else:
            assert key not in target
            target[key] = value
