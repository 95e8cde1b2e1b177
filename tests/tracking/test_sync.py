"""MLflow made to agree with the files of a workspace. tests/test_pipeline.py does it with the real pipeline."""

import hashlib
import json
import logging
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.utils.file_utils import local_file_uri_to_path

from naevi.config import Config
from naevi.digests import path_md5
from naevi.errors import UserError
from naevi.files import read_json, write_csv, write_json, write_text
from naevi.provenance import digest
from naevi.tracking import store, sync
from naevi.tracking.artifacts import list_files, run_problems
from naevi.tracking.live import live_run
from naevi.tracking.logged_models import log_model, model_of
from naevi.tracking.runs import MAX_DIGEST_CHARACTERS
from naevi.tracking.store import tracking_uri
from naevi.tracking.stored_files import damaged_runs
from naevi.tracking.sync import DvcExperiment, current_experiment, sync_result
from naevi.workspace import Workspace
from tests.helpers import write_lock
from tests.tracking.conftest import ORIGIN, all_runs

pytestmark = pytest.mark.slow

Overrides = dict[str, Any]
NO_EXPERIMENT = DvcExperiment("", "")
VALIDATION_DIGEST = "e" * 64


@pytest.fixture
def config(config_with: Callable[[Overrides], Config]) -> Config:
    """Two folds, and no model `all`."""
    return config_with({"cv.models": [0, 1]})


@pytest.fixture
def result(workspace: Workspace, config: Config) -> Workspace:
    """A workspace with all files of a result of two folds."""
    for folder in (workspace.figures, workspace.prepared, workspace.predictor):
        folder.mkdir(parents=True)
    histories = [add_model(workspace, item) for item in ("0", "1")]
    write_csv(workspace.curves, pd.concat(histories))
    write_json(workspace.predictor / "predict.json", {})
    write_json(workspace.data_statistics, {"digest": "da7a"})
    write_json(workspace.metrics, {"images": 2, "dice": {"mean": 0.5}, "iou": {"mean": 0.375}})
    folds = {"0": {"dice": 0.25, "iou": 0.15}, "1": {"dice": 0.75, "iou": 0.6}}
    write_json(workspace.details, {"dice": {"median": 0.5}, "unscored": 0, "fold": folds})
    scores = {"image_id": ["007", "NA"], "class": "lesion", "fold": [0, 1], "dice": [0.25, 0.75], "iou": [0.15, 0.6]}
    write_csv(workspace.per_image, pd.DataFrame(scores))
    write_csv(workspace.image_table, pd.DataFrame({"image_id": ["NA", "007"], "sha256": ["a", "b"]}))
    for file in (workspace.report_html, workspace.report_md, workspace.figures / "dice.png"):
        write_text(file, file.name)
    write_lock(workspace, config)
    return workspace


def add_model(workspace: Workspace, item: str) -> pd.DataFrame:
    """Write the files of a model and return its history with the column `model`."""
    data = ORIGIN["data"] | {"val": {"images": 1, "digest": VALIDATION_DIGEST}}
    origin = {key: value for key, value in ORIGIN.items() if key != "fingerprint"} | {"item": item, "data": data}
    folder = workspace.model(item)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    digests = {"fingerprint": digest(origin), "sha256": hashlib.sha256(b"weights").hexdigest()}
    write_json(folder / "model.json", origin | digests)
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, 0.25], "val_dice": [0.25, 0.875]})
    write_csv(folder / "history.csv", history)
    return history.assign(model=item)


def runs(workspace: Workspace, kind: str) -> list[mlflow.entities.Run]:
    """The runs of a kind, all of which are FINISHED."""
    found = [run for run in all_runs(workspace) if run.data.tags["kind"] == kind]
    assert {run.info.status for run in found} <= {"FINISHED"}
    return found


def files(workspace: Workspace, run: mlflow.entities.Run, folder: str = "") -> set[str]:
    client = mlflow.MlflowClient(tracking_uri(workspace))
    return {file.path for file in client.list_artifacts(run.info.run_id, folder or None)}


def test_the_experiment_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    assert current_experiment() == NO_EXPERIMENT

    monkeypatch.setenv("DVC_EXP_NAME", "strict")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c0ffee")

    assert current_experiment() == ("strict", "c0ffee")


def test_a_result_is_logged_with_its_models(result: Workspace, config: Config) -> None:
    sync_result(result, DvcExperiment("strict", "c0ffee"), present=config)

    (parent,) = runs(result, "result")
    children = runs(result, "model")
    assert parent.info.run_name == "strict"
    assert parent.data.tags["dvc.baseline"] == "c0ffee"
    assert parent.data.tags["dvc.experiments"] == "strict"
    assert parent.data.tags["dvc.md5.data.models.0"] == path_md5(result, "data/models/0")
    assert (parent.data.tags["dataset"], parent.data.tags["data"]) == ("phantoms", "da7a")
    assert parent.data.tags["children"].split() == [run.data.tags["fingerprint"] for run in children]
    assert parent.data.metrics == {
        "images": 2,
        "dice.mean": 0.5,
        "iou.mean": 0.375,
        "dice.median": 0.5,
        "unscored": 0,
        "fold.0.dice": 0.25,
        "fold.0.iou": 0.15,
        "fold.1.dice": 0.75,
        "fold.1.iou": 0.6,
    }
    assert parent.data.params["split.folds"] == "2"
    (data,) = parent.inputs.dataset_inputs
    assert (data.dataset.digest, data.dataset.profile) == (digest({"007": "b", "NA": "a"})[:32], '{"images": 2}')
    assert files(result, parent) == {
        "report.html",
        "report.md",
        "metrics.json",
        "details.json",
        "per_image.csv",
        "figures",
    }
    assert files(result, parent, "figures") == {"figures/dice.png"}
    assert [run.data.tags["item"] for run in children] == ["0", "1"]
    for child in children:
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.tags["restored"] == "true"
        assert (child.data.metrics["train_loss"], child.data.metrics["val_dice"]) == (0.25, 0.875)


def test_each_model_is_an_mlflow_model_with_its_scores_and_their_data_sets(result: Workspace, config: Config) -> None:
    sync_result(result, NO_EXPERIMENT, present=config)

    client, experiment = store.connect(result)
    models = {
        run.data.tags["item"]: (run, client.get_logged_model(str(model_of(run)))) for run in runs(result, "model")
    }
    assert len(client.search_logged_models([experiment])) == len(models) == 2
    run, model = models["1"]
    assert (model.name, model.status, model.source_run_id) == ("model", "READY", run.info.run_id)
    assert (model.tags["item"], model.params["model.architecture"]) == ("1", "segnet")
    assert {file.path for file in list_files(client, run)} == {"model.json", "model.safetensors", "history.csv"}
    tested = digest({"NA": "a"})[:MAX_DIGEST_CHARACTERS]  # fold 1 tests the image NA, whose SHA-256 is "a"
    validation = VALIDATION_DIGEST[:MAX_DIGEST_CHARACTERS]
    assert {(m.key, m.value, m.step, m.dataset_name, m.dataset_digest) for m in model.metrics} == {
        ("val_dice", 0.875, 2, "phantoms", validation),
        ("test_dice", 0.75, 0, "phantoms", tested),
        ("test_iou", 0.6, 0, "phantoms", tested),
    }
    contexts = {data.tags[0].value: data.dataset.digest for data in run.inputs.dataset_inputs}
    assert contexts == {"train": "d" * MAX_DIGEST_CHARACTERS, "val": validation, "test": tested}
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "val_dice")] == [
        (1, 0.25),
        (2, 0.875),
    ]
    assert run.data.metrics["test_dice"] == 0.75
    assert mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/model", tracking_uri=tracking_uri(result))


def test_test_scores_of_a_model_are_those_of_its_result(
    result: Workspace, config: Config, config_with: Callable[[Overrides], Config]
) -> None:
    """A model that a second result uses too keeps the scores of the first one, until that is deleted."""
    sync_result(result, NO_EXPERIMENT, present=config)
    client, _ = store.connect(result)
    (first,) = runs(result, "result")
    write_json(result.details, read_json(result.details) | {"fold": {"0": {"dice": 0.125, "iou": 0.0625}}})
    other = config_with({"cv.models": [0, 1], "evaluate.threshold": 0.7})
    write_lock(result, other)

    sync_result(result, NO_EXPERIMENT, present=other)
    assert [run.data.metrics["test_dice"] for run in runs(result, "model")] == [0.25, 0.75]

    client.delete_run(first.info.run_id)
    sync_result(result, NO_EXPERIMENT, present=other)
    model, _ = runs(result, "model")
    assert (model.data.metrics["test_dice"], model.data.metrics["test_iou"]) == (0.125, 0.0625)
    linked = {metric.key: metric.value for metric in client.get_logged_model(str(model_of(model))).metrics}
    assert linked["test_dice"] == 0.125


def test_syncing_twice_changes_nothing_and_adds_the_names_of_experiments(result: Workspace, config: Config) -> None:
    sync_result(result, NO_EXPERIMENT, present=config)
    before = [(run.info.run_id, run.data.tags) for run in all_runs(result)]

    sync_result(result, NO_EXPERIMENT, present=config)

    assert [(run.info.run_id, run.data.tags) for run in all_runs(result)] == before
    for name in ("one", "two", "one"):
        sync_result(result, DvcExperiment(name, "c0ffee"), present=config)
    (parent,) = runs(result, "result")
    assert parent.data.tags["dvc.experiments"] == "one two"
    assert len(all_runs(result)) == 3


def test_runs_of_training_are_kept_and_duplicates_deleted(result: Workspace, config: Config) -> None:
    origin = read_json(result.model("0") / "model.json")
    with live_run(result, origin) as live:
        live.log_model(result.model("0"))
    (trained,) = all_runs(result)
    sync_result(result, NO_EXPERIMENT, present=config)
    client, experiment = store.connect(result)
    (parent,) = runs(result, "result")
    for tags in (parent.data.tags, trained.data.tags):  # these lack the files, too
        double = client.create_run(experiment, tags={key: tags[key] for key in ("kind", "fingerprint", "process")})
        client.set_terminated(double.info.run_id)

    sync_result(result, NO_EXPERIMENT, present=config)

    assert [run.info.run_id for run in runs(result, "result")] == [parent.info.run_id]
    first, second = runs(result, "model")
    assert first.info.run_id == trained.info.run_id
    assert "restored" not in first.data.tags
    assert {run.data.tags["mlflow.parentRunId"] for run in (first, second)} == {parent.info.run_id}


def retrain(result: Workspace, config: Config) -> None:
    """Give the model 0 other weights from the same inputs, and the result other scores."""
    folder = result.model("0")
    (folder / "model.safetensors").write_bytes(b"other")
    description = read_json(folder / "model.json")
    write_json(folder / "model.json", description | {"sha256": hashlib.sha256(b"other").hexdigest()})
    write_json(result.metrics, read_json(result.metrics) | {"failed": 1})
    write_lock(result, config)


@pytest.mark.parametrize("earlier_version", [False, True])
def test_other_weights_from_the_same_inputs_are_another_model(
    result: Workspace, config: Config, earlier_version: bool
) -> None:
    """Runs of earlier versions lack the tag with the SHA-256 of the weights."""
    sync_result(result, NO_EXPERIMENT, present=config)
    first = {run.info.run_id: run.data.tags["sha256"] for run in runs(result, "model")}
    client, _ = store.connect(result)
    for run_id in first if earlier_version else []:
        client.delete_tag(run_id, "sha256")
    retrain(result, config)

    sync_result(result, NO_EXPERIMENT, present=config)

    models = {run.info.run_id: run.data.tags["sha256"] for run in runs(result, "model")}
    assert len(models) == 3
    assert models.items() >= first.items()
    (new,) = set(models) - set(first)
    assert models[new] == hashlib.sha256(b"other").hexdigest()
    assert damaged_runs(result, data=False) == []
    assert [stored.lacking for stored in store.stored_results(result).values()] == [0, 0]
    client.delete_run(new)
    assert [stored.lacking for stored in store.stored_results(result).values()] == [0, 1]


def test_files_that_dvc_ignores_are_not_logged(result: Workspace, config: Config) -> None:
    (result.root / ".dvcignore").write_text(".DS_Store\n*~\n")
    for folder in (result.figures, result.model("0"), result.predictor):
        (folder / ".DS_Store").touch()
        (folder / "notes~").touch()

    sync_result(result, NO_EXPERIMENT, present=config)

    assert [path.name for path in result.mlflow_artifacts.rglob("*") if path.name in (".DS_Store", "notes~")] == []
    assert damaged_runs(result, data=False) == []


def test_only_generated_images_are_called_synthetic(
    result: Workspace, config: Config, config_with: Callable[[Overrides], Config]
) -> None:
    """A folder named phantoms has images of patients."""
    sync_result(result, NO_EXPERIMENT, present=config)
    note = "Synthetic images, not patients. These scores say nothing about real lesions."
    assert all(run.data.tags["mlflow.note.content"].startswith(f"{note}\n\n") for run in all_runs(result))

    own = config_with({"cv.models": [0, 1], "data.source": "folder", "data.path": "data/phantoms"})
    write_lock(result, own)
    sync_result(result, NO_EXPERIMENT, present=own)

    new = [run for run in runs(result, "result") if run.data.params["data.source"] == "folder"]
    assert [(run.data.tags["dataset"], note in run.data.tags["mlflow.note.content"]) for run in new] == [
        ("phantoms", False)
    ]


def test_models_whose_result_was_deleted_get_the_next_as_parent(result: Workspace, config: Config) -> None:
    sync_result(result, NO_EXPERIMENT, present=config)
    (deleted,) = runs(result, "result")
    store.delete_run(result, deleted.info.run_id)

    sync_result(result, NO_EXPERIMENT, present=config)

    (parent,) = runs(result, "result")
    assert parent.info.run_id != deleted.info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in runs(result, "model")} == {parent.info.run_id}


def test_without_an_experiment_the_baseline_is_the_head_of_the_workspace(result: Workspace, config: Config) -> None:
    sync_result(result, NO_EXPERIMENT, present=config)
    (parent,) = runs(result, "result")
    assert parent.data.tags["dvc.baseline"] == "none"
    assert parent.info.run_name == f"unet-plain {parent.data.tags['fingerprint'][:8]}"
    store.delete_run(result, parent.info.run_id)
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init",), (*who, "commit", "--allow-empty", "--message", "Start")):
        subprocess.run(["git", "-C", str(result.root), *command], check=True, capture_output=True)

    sync_result(result, NO_EXPERIMENT, present=config)

    head = subprocess.run(["git", "-C", str(result.root), "rev-parse", "HEAD"], check=True, capture_output=True)
    (parent,) = runs(result, "result")
    assert parent.data.tags["dvc.baseline"] == head.stdout.decode().strip()


def test_runs_name_their_commit_and_the_commit_of_their_result(result: Workspace, config: Config) -> None:
    def git(*command: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", *who, *command], cwd=result.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--initial-branch", "trunk")
    (result.root / "params.yaml").write_text("a: 1\n", encoding="utf-8")
    git("add", "params.yaml")
    git("commit", "--message", "Start")
    start = git("rev-parse", "HEAD")
    (result.root / "params.yaml").write_text("a: 2\n", encoding="utf-8")

    sync_result(result, NO_EXPERIMENT, present=config)

    for run in all_runs(result):
        assert run.data.tags["mlflow.source.git.commit"] == start
        assert run.data.tags["mlflow.source.git.branch"] == "trunk"
        assert run.data.tags["dirty"] == "true"
        assert "result.commit" not in run.data.tags

    git("add", "params.yaml", "reports")
    git("commit", "--message", "Result")
    sync_result(result, NO_EXPERIMENT, present=config)

    (parent,) = runs(result, "result")
    assert parent.data.tags["result.commit"] == git("rev-parse", "HEAD")
    assert parent.data.tags["mlflow.source.git.commit"] == start


def test_a_result_and_its_models_link_to_each_other(result: Workspace, config: Config) -> None:
    sync_result(result, NO_EXPERIMENT, present=config)

    (parent,) = runs(result, "result")
    children = runs(result, "model")
    links = [f"[{run.info.run_name}](#/experiments/1/runs/{run.info.run_id})" for run in (parent, *children)]
    assert parent.data.tags["mlflow.note.content"].endswith(f"\n\nModels: {', '.join(links[1:])}.")
    for child in children:
        _, restored, link = child.data.tags["mlflow.note.content"].split("\n\n")
        assert restored.startswith("Logged from files, because DVC restored them or the run was lost.")
        assert link == f"Result: {links[0]}."


def test_a_description_that_someone_wrote_is_kept(result: Workspace, config: Config) -> None:
    sync_result(result, NO_EXPERIMENT, present=config)
    (parent,) = runs(result, "result")
    before = {run.info.run_id: run.data.tags["mlflow.note.content"] for run in all_runs(result)}
    mine = before[parent.info.run_id] + "\n\nFor the paper."
    store.set_tag(result, parent.info.run_id, "mlflow.note.content", mine)

    sync_result(result, NO_EXPERIMENT, present=config)

    after = {run.info.run_id: run.data.tags["mlflow.note.content"] for run in all_runs(result)}
    assert after == before | {parent.info.run_id: mine}


def test_the_name_of_a_run_says_how_it_differs_from_the_first_result(
    result: Workspace, config: Config, config_with: Callable[[Overrides], Config]
) -> None:
    sync_result(result, NO_EXPERIMENT, present=config)
    names = [runs(result, "result")[0].info.run_name]
    many = {"train.lr": 0.5, "train.seed": 9, "train.epochs": 7, "evaluate.seed": 4}
    for experiment, changed in (
        (NO_EXPERIMENT, {"evaluate.threshold": 0.25}),
        (DvcExperiment("strict", "c0ffee"), {"evaluate.threshold": 0.75}),
        (NO_EXPERIMENT, many),
    ):
        other = config_with({"cv.models": [0, 1]} | changed)
        write_lock(result, other)
        sync_result(result, experiment, present=other)
        (new,) = {run.info.run_name for run in runs(result, "result")} - set(names)
        names.append(new)

    assert names[1:3] == ["unet-plain, threshold 0.25", "strict, threshold 0.75"]
    assert names[3] == "unet-plain, epochs 7, lr 0.5, train.seed 9, 1 more"


def test_another_clone_that_records_the_same_result_leaves_one_run_of_each(
    result: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server another clone can begin earlier, finish later, and delete our runs."""
    client, experiment = store.connect(result)
    set_parent, replaced = sync._set_parent, []

    def replace_our_runs(*arguments: Any) -> str:
        for run in all_runs(result) if not replaced else []:
            kept = ("kind", "fingerprint", "process", "dataset", "item", "children", "dvc.baseline")
            tags = {key: value for key, value in run.data.tags.items() if key in kept}
            earlier = client.create_run(experiment, start_time=run.info.start_time - 1, tags=tags)
            if run.data.tags["kind"] == "model":
                log_model(result, client, earlier.info.run_id, result.model(run.data.tags["item"]))
            else:
                client.log_artifacts(earlier.info.run_id, local_file_uri_to_path(run.info.artifact_uri))
            client.set_terminated(earlier.info.run_id)
            client.delete_run(run.info.run_id)
            replaced.append(earlier.info.run_id)
        return set_parent(*arguments)

    monkeypatch.setattr(sync, "_set_parent", replace_our_runs)

    sync_result(result, DvcExperiment("strict", "c0ffee"), present=config)

    (parent,) = runs(result, "result")
    children = runs(result, "model")
    assert len(children) == 2
    assert {run.info.run_id for run in (parent, *children)} == set(replaced)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.data.tags["dvc.experiments"] == "strict"


def test_runs_that_never_stop_changing_are_a_user_error(
    result: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = store.connect(result)
    monkeypatch.setattr(sync, "_set_parent", lambda _client, run_id, _parent: client.delete_run(run_id))

    with pytest.raises(UserError, match="Other processes kept changing this result"):
        sync_result(result, NO_EXPERIMENT, present=config)


def test_a_run_whose_files_are_lost_is_recorded_again(
    result: Workspace, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    sync_result(result, NO_EXPERIMENT, present=config)
    (lost,) = runs(result, "result")
    kept = {run.info.run_id for run in runs(result, "model")}
    shutil.rmtree(result.mlflow_artifacts / lost.info.run_id)

    sync_result(result, NO_EXPERIMENT, present=config)

    (parent,) = runs(result, "result")
    assert parent.info.run_id != lost.info.run_id
    assert "metrics.json" in files(result, parent)
    assert {run.info.run_id for run in runs(result, "model")} == kept
    (warning,) = [entry.message for entry in caplog.records if entry.levelno == logging.WARNING]
    assert warning == (
        f"Files of MLflow's run {lost.info.run_name} are missing in {lost.info.artifact_uri}. It was recorded again."
    )


def test_the_models_of_own_images_get_the_name_of_their_data_set(
    result: Workspace, config_with: Callable[[Overrides], Config]
) -> None:
    """While a model trains, only the source of its images is known, such as folder."""
    source = {"data.source": "folder", "data.path": "images/moles.zip"}
    config = config_with({"cv.models": [0, 1], "data.name": "clinic A"} | source)
    write_lock(result, config)
    with live_run(result, read_json(result.model("0") / "model.json")) as live:
        live.log_model(result.model("0"))

    sync_result(result, NO_EXPERIMENT, present=config)

    (parent,) = runs(result, "result")
    assert {run.data.tags["dataset"] for run in (parent, *runs(result, "model"))} == {"clinic A"}
    elsewhere = config_with({"cv.models": [0, 1], "data.name": "auto"} | source)
    write_lock(result, elsewhere)

    sync_result(result, NO_EXPERIMENT, present=elsewhere)

    assert [run.info.run_id for run in runs(result, "result")] == [parent.info.run_id]


def test_an_earlier_result_keeps_its_parameters(result: Workspace, config: Config) -> None:
    """Its record lacks the parameters that were added later. The parameters and code in the workspace don't matter."""
    lock = json.loads(result.lock.read_text(encoding="utf-8"))
    for stage in lock["stages"].values():
        for key in ("path", "name", "columns", "reading"):
            stage["params"]["params.yaml"].get("data", {}).pop(key, None)
    result.lock.write_text(json.dumps(lock), encoding="utf-8")
    write_json(result.data_statistics, {})
    (entry,) = (out for out in lock["stages"]["report"]["outs"] if out["path"] == "reports/data.json")
    entry["md5"] = path_md5(result, "reports/data.json")
    result.lock.write_text(json.dumps(lock), encoding="utf-8")

    sync_result(result, NO_EXPERIMENT, present=None)

    (parent,) = runs(result, "result")
    assert {"data.path", "data.name", "data.columns.image", "data.reading.white"}.isdisjoint(parent.data.params)
    assert parent.data.params["data.phantoms.seed"] == "7"
    assert "data" not in parent.data.tags


def test_a_workspace_that_differs_from_its_record_is_not_logged(result: Workspace, config: Config) -> None:
    weights = result.model("1") / "model.safetensors"
    weights.write_bytes(b"weighty")

    with pytest.raises(UserError) as error:
        sync_result(result, NO_EXPERIMENT, present=config)

    assert str(error.value) == (
        "The workspace differs from the result that dvc.lock records: data/models/1 has changed. Run `dvc repro`, or "
        "undo the change with `git restore` or `dvc checkout`."
    )
    assert all_runs(result) == []


def test_damaged_files_of_runs_are_found(result: Workspace, config: Config) -> None:
    sync_result(result, NO_EXPERIMENT, present=config)
    (parent,) = runs(result, "result")
    model = runs(result, "model")[0]
    child = model.info.run_id
    assert run_problems(result, parent.info.run_id) == run_problems(result, child) == []

    folder = result.mlflow_artifacts / "models" / str(model_of(model)) / "artifacts"
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert run_problems(result, child) == ["model/model.safetensors is not the file that model.json describes"]

    folder = result.mlflow_artifacts / parent.info.run_id / "artifacts"
    (folder / "per_image.csv").write_text("", encoding="utf-8")
    assert run_problems(result, parent.info.run_id) == ["per_image.csv has changed"]

    shutil.rmtree(folder)
    assert run_problems(result, parent.info.run_id) == [
        f"missing in {folder.as_uri()}: metrics.json, per_image.csv, report.html, report.md, figures, details.json"
    ]


def test_diagnoses_of_any_text_become_names_that_mlflow_allows(result: Workspace, config: Config) -> None:
    by_diagnosis = {"Nevus, NOS": {"dice": 0.5}, "Bowen's disease / x": {"dice": 0.25}, "a" * 300: {"dice": 0.125}}
    write_json(result.details, read_json(result.details) | {"by_diagnosis": by_diagnosis})
    write_lock(result, config)

    sync_result(result, NO_EXPERIMENT, present=config)

    (parent,) = runs(result, "result")
    assert parent.data.metrics["by_diagnosis.Nevus_ NOS.dice"] == 0.5
    assert parent.data.metrics["by_diagnosis.Bowen_s disease _ x.dice"] == 0.25
    assert parent.data.metrics[f"by_diagnosis.{'a' * 237}"] == 0.125
