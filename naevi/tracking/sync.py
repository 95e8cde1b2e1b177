"""Make MLflow agree with the files: one run for each model, and one run for each result, which is their parent.

The run of a model is found by the fingerprint and the SHA-256 in its model.json. The run of a result is found by the
fingerprint of its parameters, models and scores. Files and parameters come from the record of the result, and are
checked against it.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from naevi.config import Config
from naevi.errors import UserError
from naevi.provenance import read_description
from naevi.record import check_result, read_record, read_scores, result_fingerprint
from naevi.tracking import store
from naevi.tracking.artifacts import MODEL_FOLDER, has_files
from naevi.tracking.logged_models import delete_model
from naevi.tracking.model_keys import WEIGHTS_TAG, ModelKey
from naevi.tracking.recording import Result, record_model, record_result, record_test_scores
from naevi.tracking.runs import NOTE, PARENT, linked_notes
from naevi.tracking.source import BASELINE, RESULT_COMMIT, commit_with
from naevi.tracking.store import close_stale_runs, finished_runs, get_or_none, store_lock
from naevi.tracking.view import write_views
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MAX_ATTEMPTS = 5  # if another process syncs the same result on the same server

logger = logging.getLogger(__name__)


class DvcExperiment(NamedTuple):
    """The DVC experiment that made a result. Both fields are empty outside `dvc exp run`."""

    name: str
    baseline: str  # commit that it started from


def current_experiment() -> DvcExperiment:
    """Return the DVC experiment that this process belongs to, from the environment."""
    return DvcExperiment(os.environ.get("DVC_EXP_NAME", ""), os.environ.get(BASELINE, ""))


def result_files(workspace: Workspace, config: Config) -> list[Path]:
    """Return the files and folders that `sync_result` reads, besides dvc.lock and .dvcignore.

    Results of earlier versions have no details.json.
    """
    return [
        workspace.data_statistics,
        workspace.image_table,
        *(workspace.model(name) for name in config.model_names()),
        workspace.predictor,
        workspace.metrics,
        workspace.details,
        workspace.per_image,
        workspace.curves,
        workspace.report_html,
        workspace.report_md,
        workspace.figures,
    ]


def sync_result(workspace: Workspace, experiment: DvcExperiment, *, present: Config | None) -> None:
    """Give the result in a workspace and each of its models exactly one run in MLflow, with all files.

    Missing runs are logged, and duplicates are deleted. If the experiment has no baseline, git's HEAD is used.
    Parameters come from dvc.lock. `present` has the parameters in params.yaml. These and the code in the workspace must
    be the recorded ones. `present` is None for the result of an earlier commit. Then only the files of `result_files`
    are checked.

    Raises UserError before anything is logged if the workspace differs from its record.
    """
    record = read_record(workspace)
    config = record.config
    check_result(workspace, record, present, result_files(workspace, config))
    models = [read_description(workspace.model(name)) for name in config.model_names()]
    scores = read_scores(workspace.metrics, workspace.details)
    fingerprint = result_fingerprint(config, models, scores, record.lacking)
    result = Result(fingerprint, record, config, models, scores)
    client, experiment_id = store.connect(workspace)
    with store_lock(workspace):
        for _ in range(MAX_ATTEMPTS):
            if _sync_runs(workspace, client, experiment_id, result, experiment):
                write_views(client, experiment_id)
                return
    raise UserError("Other processes kept changing this result in MLflow. Run `dvc repro -s -f track` again.")


def _sync_runs(
    workspace: Workspace, client: "MlflowClient", experiment_id: str, result: Result, experiment: DvcExperiment
) -> bool:
    """Sync all runs of a result. Return False if another process has meanwhile replaced one of them by its own.

    The lock is a file of this clone, so on a server another clone can record the same result at the same time.
    """
    runs = {}
    for model in result.models:
        create_model = partial(
            record_model, workspace, client, experiment_id, model, result.data_set, experiment.baseline
        )
        key = ModelKey(model["fingerprint"], model["sha256"])
        runs[key] = _keep_one_run(client, experiment_id, key, create_model)
    children = list(runs.values())
    create_result = partial(record_result, workspace, client, experiment_id, result, *experiment)
    result_key = ModelKey(result.fingerprint, "")
    parent = runs[result_key] = _keep_one_run(client, experiment_id, result_key, create_result)
    _add_experiment_name(client, parent, experiment.name)
    if commit := commit_with(workspace, workspace.report_md):
        _set_tag(client, parent, RESULT_COMMIT, commit)
    for run_id, model in zip(children, result.models, strict=True):
        if _set_parent(client, run_id, parent) == parent:
            with _unless_deleted(client, run_id):
                record_test_scores(workspace, client, run_id, model["item"], result)
    for run_id, note in linked_notes(client, parent, children).items():
        _set_tag(client, run_id, NOTE, note)
    remaining = {key: [run.info.run_id for run in finished_runs(client, experiment_id, *key)] for key in runs}
    return remaining == {key: [run_id] for key, run_id in runs.items()}


def _keep_one_run(client: "MlflowClient", experiment_id: str, key: ModelKey, create: Callable[[], str]) -> str:
    """Return the id of the one FINISHED run with this key. Create it if it is missing, delete all others.

    A run without its files counts as missing. If two processes create it at the same time, the one that finishes later
    sees both and keeps the older.
    """
    close_stale_runs(client, experiment_id, key.fingerprint)
    for run in finished_runs(client, experiment_id, key.fingerprint):
        _add_weights_tag(client, run)
    found = finished_runs(client, experiment_id, *key)
    broken = [run.info.run_id for run in found if not has_files(client, run)]
    if len(broken) == len(found):
        create()
    found = finished_runs(client, experiment_id, *key)
    kept = next(run for run in found if run.info.run_id not in broken)
    for run in found:
        if run.info.run_id in broken:
            place = run.info.artifact_uri
            logger.warning(
                "Files of MLflow's run %s are missing in %s. It was recorded again.", run.info.run_name, place
            )
        if run is not kept:
            client.delete_run(run.info.run_id)
            delete_model(client, run)
    return str(kept.info.run_id)


def _add_weights_tag(client: "MlflowClient", run: "Run") -> None:
    """Give a model's run of an earlier version the SHA-256 of its weights as a tag, if its model.json can be read."""
    if run.data.tags["kind"] != "model" or WEIGHTS_TAG in run.data.tags:
        return
    with tempfile.TemporaryDirectory(prefix="naevi-") as folder:
        try:
            file = client.download_artifacts(run.info.run_id, f"{MODEL_FOLDER}/model.json", folder)
            sha256 = read_description(Path(file).parent)["sha256"]
        except Exception:  # of MLflow, requests or the file system; `has_files` says what is missing
            return
    _set_tag(client, run.info.run_id, WEIGHTS_TAG, sha256)


def _add_experiment_name(client: "MlflowClient", run_id: str, name: str) -> None:
    """Add the name of a DVC experiment, if it has one, to the names of the experiments with this result."""
    names = client.get_run(run_id).data.tags.get("dvc.experiments", "").split()
    if name and name not in names:
        _set_tag(client, run_id, "dvc.experiments", " ".join([*names, name]))


def _set_parent(client: "MlflowClient", run_id: str, parent: str) -> str:
    """Make `parent` the parent of a run, unless it has one that exists. Return its parent.

    The run gets the data set of its parent. While a model trains, only the source of its images (such as folder) is
    known.
    """
    current = client.get_run(run_id).data.tags.get(PARENT)
    if current is not None and _run_exists(client, current):
        return str(current)
    _set_tag(client, run_id, PARENT, parent)
    _set_tag(client, run_id, "dataset", client.get_run(parent).data.tags["dataset"])
    return parent


def _set_tag(client: "MlflowClient", run_id: str, key: str, value: str) -> None:
    with _unless_deleted(client, run_id):
        client.set_tag(run_id, key, value)


@contextmanager
def _unless_deleted(client: "MlflowClient", run_id: str) -> Iterator[None]:
    """Ignore an error of MLflow if another process has deleted this run meanwhile."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException:
        if _run_exists(client, run_id):
            raise


def _run_exists(client: "MlflowClient", run_id: str) -> bool:
    """Return whether a run exists and is not deleted."""
    run = get_or_none(lambda: client.get_run(run_id))
    return run is not None and run.info.lifecycle_stage == "active"
