"""What is recorded in MLflow is the result that dvc.lock describes, whatever has happened to the workspace since.

These tests run the real pipeline's last stage and `make ui` on a result that was changed.
"""

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from naevi.errors import exit_message
from naevi.experiments.demo import commit, set_parameters
from naevi.experiments.promotion import promote
from tests import pipeline
from tests.helpers import HERE

ADDRESSES = [
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
]
REMEDY = "Run `dvc repro`, or undo the change with `git restore` or `dvc checkout`."


@pytest.fixture
def repository(small_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small repository, which is the current folder. Its store has its own folder of artifacts."""
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        (old,) = database.execute("SELECT artifact_location FROM experiments WHERE name = 'naevi'").fetchone()
        for table, column in ADDRESSES:
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            database.execute(change, (old, (folder / "mlartifacts").as_uri()))
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


def track(folder: Path) -> str:
    """Return what the stage track prints."""
    return pipeline.run(folder, "python", "-m", "stages.track", check=False)


def outcome(action: Callable[[], Any]) -> str:
    """Return what an action returns, or the message with which a command would end."""
    try:
        return str(action())
    except Exception as error:
        return exit_message(error) or f"Traceback: {error!r}"


def results(folder: Path) -> list[Any]:
    """Return the FINISHED results in MLflow."""
    return pipeline.runs(folder, "result") if (folder / "mlflow.db").exists() else []


def test_an_edited_parameter_makes_no_result_and_the_pages_of_mlflow_open_nevertheless(repository: Path) -> None:
    before = [run.info.run_id for run in results(repository)]
    set_parameters(repository / HERE.params, ["model.architecture=unet-plain"])

    # --old-file, because these tests bring their own environment instead of .venv
    printed = pipeline.run(repository, "make", "--old-file=setup", "ui", "UI=echo opened", check=False)

    assert [run.info.run_id for run in results(repository)] == before
    difference = "model.architecture is unet-plain, but the result was computed with segnet"
    lines = printed.splitlines()
    assert f"naevi: The workspace differs from the result that dvc.lock records: {difference}. {REMEDY}" in lines
    assert lines[-1] == "opened"
    assert "ERROR" not in printed


def test_an_edited_score_makes_no_second_result(repository: Path) -> None:
    before = [run.info.run_id for run in results(repository)]
    text = HERE.metrics.read_text(encoding="utf-8")
    mean = re.search(r'"dice": \{\s+"mean": 0\.(\d)', text)
    assert mean is not None
    digit = str((int(mean.group(1)) + 1) % 10)
    HERE.metrics.write_text(text[: mean.start(1)] + digit + text[mean.end(1) :], encoding="utf-8")

    printed = track(repository)

    assert [run.info.run_id for run in results(repository)] == before
    assert printed.endswith(f"dvc.lock records: reports/metrics.json has changed. {REMEDY}\n")


def test_a_damaged_model_is_not_recorded(repository: Path) -> None:
    (repository / "mlflow.db").unlink()
    weights = HERE.model("all") / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)

    printed = track(repository)

    assert results(repository) == []
    assert printed.endswith(f"dvc.lock records: data/models/all has changed. {REMEDY}\n")


def test_lost_artifacts_are_a_message(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MLflow still lists the runs. `track` records them again, see test_sync.py."""
    commit(repository, "Run it")
    (lost,) = results(repository)
    shutil.rmtree("mlartifacts")

    assert outcome(lambda: promote(HERE, "default", force=False)) == (
        "naevi: MLflow has no run with the scores and the model of default. Record it with `make verify`, or with "
        "`make ui` if it is in the workspace."
    )

    place = (Path("mlartifacts").resolve() / lost.info.run_id / "artifacts").as_uri()
    assert f"per_image.csv is missing in {place} or can't be read." in caplog.text


def test_a_repository_that_was_moved_keeps_its_results(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(repository, "Run it")
    moved = repository.rename(repository.with_name("moved"))
    monkeypatch.chdir(moved)

    printed = outcome(lambda: promote(HERE, "default", force=False))

    assert printed == "default is the first champion: version 1."
    assert not repository.exists()


def test_a_damaged_artifact_is_not_promoted(repository: Path) -> None:
    commit(repository, "Run it")
    (weights,) = Path("mlartifacts/models").rglob("model.safetensors")
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")

    assert outcome(lambda: promote(HERE, "default", force=False)) == (
        "naevi: The files in MLflow's run of default are not the recorded ones: the model has changed. Record the "
        "result again with `make verify`."
    )


def test_a_champion_whose_files_are_lost_can_be_replaced_by_force(repository: Path) -> None:
    commit(repository, "Run it")
    promote(HERE, "default", force=False)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    version = client.get_model_version_by_alias("naevi", "champion")
    (result,) = results(repository)
    lost = client.create_run(result.info.experiment_id)
    client.create_model_version("naevi", version.source, lost.info.run_id)
    client.set_registered_model_alias("naevi", "champion", "2")

    refused = outcome(lambda: promote(HERE, "default", force=False))
    forced = outcome(lambda: promote(HERE, "default", force=True))

    assert refused.startswith("naevi: the champion (version 2) can't be compared: per_image.csv is missing in file:///")
    assert refused.endswith("To promote default without a comparison, use FORCE=1.")
    assert forced == (
        "default was not compared with the champion (version 2), because the champion's files are lost. It is now the "
        "champion: version 3, although it is not significantly better. To undo this, run `make rollback`."
    )


def test_a_deleted_mlflow_model_is_recorded_again(repository: Path) -> None:
    (result,) = results(repository)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    client.delete_logged_model(result.outputs.model_outputs[0].model_id)

    printed = track(repository)

    (new,) = results(repository)
    assert new.info.run_id != result.info.run_id
    assert "Traceback" not in printed
    assert f"Files of MLflow's run {result.info.run_name} are missing in " in printed


def test_a_model_with_the_same_scores_as_another_is_not_mistaken_for_it(repository: Path) -> None:
    """The run in MLflow has the scores of the default, but another predictor, such as one with other weights."""
    commit(repository, "Run it")
    (result,) = results(repository)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    client.set_tag(result.info.run_id, "dvc.md5.data.predictor", "0" * 32 + ".dir")

    assert outcome(lambda: promote(HERE, "default", force=False)) == (
        "naevi: MLflow has no run with the scores and the model of default. Record it with `make verify`, or with "
        "`make ui` if it is in the workspace."
    )


ZEROS = "0" * 64


@pytest.mark.parametrize(
    ("tags", "dropped", "difference"),
    [
        (
            {"data": ZEROS},
            0,
            "images or masks were changed in between: phantoms (00000000) became phantoms ({digest}).",
        ),
        (
            {"data": ZEROS, "dataset": "moles"},
            0,
            "the champion was measured on the data set moles, default on phantoms.",
        ),
        (
            {},
            1,
            "they were tested on different images: 0 are only in the champion's test and 1 only in that of default.",
        ),
    ],
    ids=["masks", "data-set", "images"],
)
def test_a_champion_with_another_yardstick_is_replaced_by_force_only(
    repository: Path, tags: dict[str, str], dropped: int, difference: str
) -> None:
    """A mask was corrected, or the champion was measured on another data set or on fewer images."""
    commit(repository, "Run it")
    promote(HERE, "default", force=False)
    (result,) = results(repository)
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlflow.db').resolve()}")
    before = client.create_run(result.info.experiment_id, tags=result.data.tags | tags)
    for key in ("data.source", "data.path"):
        client.log_param(before.info.run_id, key, result.data.params[key])
    lines = HERE.per_image.read_text(encoding="utf-8").splitlines(keepends=True)
    client.log_text(before.info.run_id, "".join(lines[: len(lines) - dropped]), "per_image.csv")
    source = client.get_model_version_by_alias("naevi", "champion").source
    client.create_model_version("naevi", source, before.info.run_id)
    client.set_registered_model_alias("naevi", "champion", "2")

    refused = outcome(lambda: promote(HERE, "default", force=False))
    forced = outcome(lambda: promote(HERE, "default", force=True))

    difference = difference.format(digest=result.data.tags["data"][:8])
    assert refused == (
        f"naevi: default can't be compared with the champion (version 2): {difference} To promote it without a "
        "comparison, use FORCE=1."
    )
    assert forced == (
        f"default was not compared with the champion (version 2): {difference} It is now the champion: version 3, "
        "although it is not significantly better. To undo this, run `make rollback`."
    )
    registered = client.get_model_version_by_alias("naevi", "champion")
    assert (registered.tags["forced"], registered.tags["reason"]) == (
        "true",
        f"default was not compared with the champion (version 2): {difference}",
    )
