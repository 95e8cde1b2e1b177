"""Make MLflow agree with the files: one run for each model, and one run for each result, which is their parent.

The run of a model is found by the fingerprint in its model.json. The run of a result is found by the fingerprint of its
parameters, models and scores.
"""

import importlib.metadata
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from naevi.config import Config, flatten, read_yaml
from naevi.errors import UserError
from naevi.files import read_csv, read_json
from naevi.provenance import data_digest, read_description, result_fingerprint
from naevi.tracking import store
from naevi.tracking.runs import create_model_run, dataset_input, log_history, log_params, now_ms, run_tags
from naevi.tracking.store import close_stale_runs, finished_runs, store_lock
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Libraries that `serving` imports, directly or through others that don't declare them.
SERVING_REQUIREMENTS = [
    "huggingface_hub",
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "ruamel.yaml",
    "safetensors",
    "scipy",
    "segmentation-models-pytorch",
    "timm",
    "torch",
    "tqdm",
]
MAX_ATTEMPTS = 5  # if another process syncs the same result on the same server


class DvcExperiment(NamedTuple):
    """The DVC experiment that made a result. Both fields are empty outside `dvc exp run`."""

    name: str
    baseline: str  # commit that it started from


class _Result(NamedTuple):
    """The result in a workspace."""

    fingerprint: str
    config: Config
    models: list[dict[str, Any]]  # each model.json
    scores: dict[str, Any]  # metrics.json


def current_experiment() -> DvcExperiment:
    """Return the DVC experiment that this process belongs to, from the environment."""
    return DvcExperiment(os.environ.get("DVC_EXP_NAME", ""), os.environ.get("DVC_EXP_BASELINE_REV", ""))


def sync_result(workspace: Workspace, config: Config, experiment: DvcExperiment) -> None:
    """Give the result in a workspace and each of its models exactly one run in MLflow.

    Missing runs are logged and duplicates are deleted. If the experiment has no baseline, it is git's HEAD.
    """
    client, experiment_id = store.connect(workspace)
    with store_lock(workspace):
        models = [read_description(workspace.model(name)) for name in config.model_names()]
        scores = read_json(workspace.metrics)
        result = _Result(result_fingerprint(config, models, scores), config, models, scores)
        for _ in range(MAX_ATTEMPTS):
            if _sync_runs(workspace, client, experiment_id, result, experiment):
                return
    raise UserError("Other processes kept changing this result in MLflow. Run `dvc repro -s -f track` again.")


def _sync_runs(
    workspace: Workspace, client: "MlflowClient", experiment_id: str, result: _Result, experiment: DvcExperiment
) -> bool:
    """Sync all runs of a result. Return False if another process has meanwhile replaced one of them by its own.

    The lock is a file of this clone, so on a server another clone can record the same result at the same time.
    """
    runs = {}
    for model in result.models:
        create_model = partial(_restore_model_run, workspace, client, experiment_id, model)
        runs[model["fingerprint"]] = _keep_one_run(client, experiment_id, model["fingerprint"], create_model)
    children = list(runs.values())
    create_result = partial(_create_result_run, workspace, client, experiment_id, result, experiment)
    parent = _keep_one_run(client, experiment_id, result.fingerprint, create_result)
    runs[result.fingerprint] = parent
    _add_experiment_name(client, parent, experiment.name)
    for run_id in children:
        _set_parent(client, run_id, parent)
    remaining = {key: [run.info.run_id for run in finished_runs(client, experiment_id, key)] for key in runs}
    return remaining == {key: [run_id] for key, run_id in runs.items()}


def _keep_one_run(client: "MlflowClient", experiment_id: str, fingerprint: str, create: Callable[[], str]) -> str:
    """Return the id of the one FINISHED run with this fingerprint. Create it if it is missing, delete duplicates.

    If two processes create it at the same time, the one that finishes later sees both and keeps the older.
    """
    close_stale_runs(client, experiment_id, fingerprint)
    if not finished_runs(client, experiment_id, fingerprint):
        create()
    first, *duplicates = finished_runs(client, experiment_id, fingerprint)
    for duplicate in duplicates:
        client.delete_run(duplicate.info.run_id)
    return str(first.info.run_id)


def _restore_model_run(workspace: Workspace, client: "MlflowClient", experiment_id: str, origin: dict[str, Any]) -> str:
    """Log a model from its files, because DVC restored it or its run was lost. Return the run's id."""
    folder = workspace.model(origin["item"])
    run_id = create_model_run(workspace, client, experiment_id, origin)
    client.set_tag(run_id, "restored", "true")  # its times are those of the restoration
    history = pd.read_csv(folder / "history.csv").to_dict("records")
    log_history(client, run_id, [{str(key): value for key, value in row.items()} for row in history], now_ms())
    client.log_artifacts(run_id, str(folder), "model")
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _create_result_run(
    workspace: Workspace, client: "MlflowClient", experiment_id: str, result: _Result, experiment: DvcExperiment
) -> str:
    """Log a result from its files and return the run's id."""
    from mlflow.entities import Metric

    config = result.config
    tags = run_tags(result.fingerprint, config.data.source) | {
        "kind": "result",
        "children": " ".join(model["fingerprint"] for model in result.models),
        "dvc.baseline": experiment.baseline or _head_commit(workspace),
        **{f"dvc.md5.{path.replace('/', '.')}": md5 for path, md5 in _output_digests(workspace).items()},
    }
    name = experiment.name or f"{config.model.architecture} {result.fingerprint[:8]}"
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)
    log_params(client, run_id, config.model_dump())
    now = now_ms()
    scores = flatten(result.scores).items()
    client.log_batch(run_id, metrics=[Metric(key, float(value), now, 0) for key, value in scores])
    test_ids = read_csv(workspace.per_image).image_id.unique().tolist()
    test_data = data_digest(read_csv(workspace.image_table), test_ids)
    client.log_inputs(run_id, [dataset_input(workspace, config.data.source, test_data, "test")])
    for file in (workspace.report_html, workspace.report_md, workspace.metrics, workspace.per_image):
        client.log_artifact(run_id, str(file))
    client.log_artifacts(run_id, str(workspace.figures), "figures")
    if "all" in config.model_names():
        _log_predictor(workspace, run_id)
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _log_predictor(workspace: Workspace, run_id: str) -> None:
    """Log the predictor as an MLflow model that maps image files to masks, see `serving`. Nothing is pickled."""
    import mlflow

    from naevi.tracking import serving  # lazy, because it imports torch
    from naevi.tracking.serving import EXAMPLE, SIGNATURE

    package = Path(serving.__file__).parents[1]
    with mlflow.start_run(run_id=run_id), tempfile.TemporaryDirectory() as temporary:
        code = shutil.copytree(package, Path(temporary) / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        mlflow.pyfunc.log_model(
            name="model",
            python_model=serving.__file__,
            artifacts={"model": str(workspace.predictor)},
            code_paths=[str(code)],
            signature=SIGNATURE,
            input_example=EXAMPLE,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in SERVING_REQUIREMENTS],
        )


def _add_experiment_name(client: "MlflowClient", run_id: str, name: str) -> None:
    """Add the name of a DVC experiment, if it has one, to the names of the experiments with this result."""
    names = client.get_run(run_id).data.tags.get("dvc.experiments", "").split()
    if name and name not in names:
        _set_tag(client, run_id, "dvc.experiments", " ".join([*names, name]))


def _set_parent(client: "MlflowClient", run_id: str, parent: str) -> None:
    """Make `parent` the parent of a run, unless it has one that exists."""
    current = client.get_run(run_id).data.tags.get("mlflow.parentRunId")
    if current is None or not _run_exists(client, current):
        _set_tag(client, run_id, "mlflow.parentRunId", parent)


def _set_tag(client: "MlflowClient", run_id: str, key: str, value: str) -> None:
    """Set a tag of a run, unless another process has deleted the run."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_tag(run_id, key, value)
    except MlflowException:
        if _run_exists(client, run_id):
            raise


def _run_exists(client: "MlflowClient", run_id: str) -> bool:
    """Return whether a run exists and is not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _output_digests(workspace: Workspace) -> dict[str, str]:
    """Return the MD5 that dvc.lock has for each output in DVC's cache, by path."""
    lock = read_yaml(workspace.lock) if workspace.lock.exists() else {"stages": {}}
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}


def _head_commit(workspace: Workspace) -> str:
    """Return git's HEAD, or "none" without one."""
    command = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=False)
    return head.stdout.strip() or "none"
