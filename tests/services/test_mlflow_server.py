"""A team's MLflow: a server on PostgreSQL that also serves the artifacts, and several processes that write to it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests import pipeline
from tests.helpers import HERE

pytest.importorskip("psycopg2", reason="psycopg2 is not installed; `make test-services` installs it")
pytestmark = pytest.mark.slow
# Debian has PostgreSQL's programs outside PATH.
PROGRAMS = os.pathsep.join([os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
TRACK = ("dvc", "repro", "--single-item", "--force", "track")


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the address, for SQLAlchemy, of a database in a temporary cluster."""
    if not shutil.which("initdb", path=PROGRAMS):
        pytest.skip("PostgreSQL is not installed (no initdb); `apt-get install postgresql` installs it")
    with tempfile.TemporaryDirectory() as folder:
        owner: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL doesn't run as root
            owner = {"user": "nobody", "extra_groups": []}
            shutil.chown(folder, "nobody")

        def run(program: str, *arguments: str) -> None:
            with (Path(folder) / "log").open("a", encoding="utf-8") as log:
                call = [str(shutil.which(program, path=PROGRAMS)), *arguments]
                done = subprocess.run(call, cwd=folder, stdout=log, stderr=log, check=False, **owner)
            assert done.returncode == 0, (Path(folder) / "log").read_text(encoding="utf-8")

        port = pipeline.free_port()
        run("initdb", "--pgdata=data", "--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256")
        run("pg_ctl", "start", "--pgdata=data", f"--options=-h 127.0.0.1 -p {port} -k {folder}")
        try:
            commands = ("create role mlflow login password 'secret'", "create database mlflow owner mlflow")
            for command in commands:
                run("psql", f"--host={folder}", f"--port={port}", "--username=postgres", f"--command={command}")
            yield f"postgresql+psycopg2://mlflow:secret@127.0.0.1:{port}/mlflow"
        finally:
            run("pg_ctl", "stop", "--pgdata=data", "--mode=fast")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the server's artifacts."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Iterator[str]:
    """The server's address."""
    with postgresql() as database:
        folder = tmp_path_factory.mktemp("server")
        with pipeline.mlflow_server(folder, database, "--artifacts-destination", str(artifacts)) as address:
            yield address


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory, address: str) -> list[Path]:
    """Two repositories with different seeds. Their first runs wrote to the server at the same time."""
    folders = [tmp_path_factory.mktemp("writers") / name for name in ("one", "two")]
    for folder in folders:
        pipeline.make(folder)
    at_once(address, {folder: ("dvc", "exp", "run", "-S", f"train.seed={seed}") for seed, folder in enumerate(folders)})
    return folders


def at_once(address: str, commands: dict[Path, tuple[str, ...]]) -> None:
    """Run commands in their folders, all at the same time, with the server as MLflow's store."""
    with ThreadPoolExecutor() as pool:
        submit = partial(pool.submit, pipeline.run, MLFLOW_TRACKING_URI=address)
        for future in [submit(folder, *command) for folder, command in commands.items()]:
            future.result()


def runs(address: str, kind: str) -> list[Run]:
    """Return all runs of a kind that are not deleted, whatever their status."""
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("naevi")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))


def check(address: str) -> None:
    """Assert that the server has two results, each once, each with its three models."""
    parents, children = runs(address, "result"), runs(address, "model")
    assert sorted(run.data.params["train.seed"] for run in parents) == ["0", "1"]
    for parent in parents:
        own = [run for run in children if run.data.tags["mlflow.parentRunId"] == parent.info.run_id]
        assert sorted(run.data.tags["fingerprint"] for run in own) == sorted(parent.data.tags["children"].split())
        assert {run.data.params["train.seed"] for run in own} == {parent.data.params["train.seed"]}
    assert len(children) == 6


def test_two_results_that_are_written_at_once_are_there_once_each(repositories: list[Path], address: str) -> None:
    check(address)
    assert not any((folder / "mlflow.db").exists() for folder in repositories)


def test_artifacts_pass_through_the_server(
    repositories: list[Path], address: str, artifacts: Path, tmp_path: Path
) -> None:
    for run in (*runs(address, "result"), *runs(address, "model")):
        assert str(run.info.artifact_uri).startswith("mlflow-artifacts:/")
    (run,) = [run for run in runs(address, "result") if run.data.params["train.seed"] == "1"]

    file = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="metrics.json", dst_path=str(tmp_path), tracking_uri=address
    )

    expected = (repositories[1] / HERE.metrics).read_bytes()
    assert Path(file).read_bytes() == expected
    assert expected in [file.read_bytes() for file in artifacts.rglob("metrics.json")]


def test_a_champion_is_promoted_and_used_through_the_server(
    repositories: list[Path], address: str, tmp_path: Path
) -> None:
    one, two = repositories
    printed = pipeline.run(one, "python", "-m", "naevi", "promote", "workspace", MLFLOW_TRACKING_URI=address)
    assert printed.startswith("workspace is the first champion: version 1 of the registered model phantoms. Its mean")

    image = sorted((one / HERE.raw / "images").iterdir())[0]
    for folder, model in ((one, "data/predictor"), (two, "models:/phantoms@champion")):
        command = ("python", "-m", "naevi", "predict", str(image), "--model", model)
        pipeline.run(folder, *command, "--out", str(tmp_path / folder.name), MLFLOW_TRACKING_URI=address)

    masks = [(tmp_path / folder.name / "masks" / image.name).read_bytes() for folder in repositories]
    assert masks[0] == masks[1]


def test_a_result_that_two_record_at_once_is_there_once(repositories: list[Path], address: str, tmp_path: Path) -> None:
    pipeline.copy(repositories[1], tmp_path / "same")
    client = MlflowClient(address)
    for run in (*runs(address, "result"), *runs(address, "model")):
        if run.data.params["train.seed"] == "1":
            client.delete_run(run.info.run_id)

    at_once(address, dict.fromkeys([repositories[1], tmp_path / "same"], TRACK))

    check(address)
