"""The MLflow models of runs: their files, and the scores and data sets that they are linked to.

Each run of a model has one, with the files in its folder. That of a result has the model `all`, see `serving`.
"""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from naevi.digests import folder_files
from naevi.tracking.store import get_or_none
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo, Run

ADDRESS = "models:/"  # the beginning of the address of an MLflow model
NAME = "model"  # as in runs:/<id>/model
MODEL_FILES = ["model.json", "model.safetensors", "history.csv"]  # that the model of a run must have
VALIDATION_SCORES = ["val_dice", "val_iou", "val_loss"]
CONTEXT = "mlflow.data.context"  # tag of a data set: the part of it, such as train


def log_model(workspace: Workspace, client: "MlflowClient", run_id: str, folder: Path) -> None:
    """Log the files that dvc.lock records of a model's folder, and link the model to its last validation scores."""
    from mlflow.entities import LoggedModelOutput, Metric

    run = client.get_run(run_id)
    tags = {name: run.data.tags[name] for name in ("item", "fingerprint")}
    model = str(client.create_logged_model(run.info.experiment_id, NAME, run_id, tags, run.data.params).model_id)
    for file in folder_files(workspace, workspace.relative(folder)):
        place = str(PurePosixPath(file).parent)
        client.log_model_artifact(model, str(folder / file), None if place == "." else place)
    client.log_outputs(run_id, [LoggedModelOutput(model, 0)])
    client.finalize_logged_model(model, "READY")
    if link := metric_link(client.get_run(run_id), "val"):
        names = [name for name in VALIDATION_SCORES if name in run.data.metrics]
        last = [client.get_metric_history(run_id, name)[-1] for name in names]
        # The same values at the same times and steps, so the run doesn't get second points.
        metrics = [Metric(point.key, point.value, point.timestamp, point.step, **link) for point in last]
        client.log_batch(run_id, metrics=metrics)


def metric_link(run: "Run", part: str) -> dict[str, str]:
    """Return what links a metric to the model of a run and to a part of its data set, empty without one of them."""
    model, inputs = model_of(run), run.inputs.dataset_inputs if run.inputs else []
    data = {tag.value: item.dataset for item in inputs for tag in item.tags if tag.key == CONTEXT}
    if model is None or part not in data:
        return {}
    return {"model_id": model, "dataset_name": data[part].name, "dataset_digest": data[part].digest}


def model_of(run: "Run") -> str | None:
    """Return the id of the MLflow model of a run, or None if it has none."""
    return next((str(output.model_id) for output in run.outputs.model_outputs), None) if run.outputs else None


def list_model_files(client: "MlflowClient", model: str) -> "list[FileInfo]":
    """Return the files and folders of an MLflow model, none if it was deleted."""
    return get_or_none(lambda: client.list_logged_model_artifacts(model)) or []


def delete_model(client: "MlflowClient", run: "Run") -> None:
    """Delete the MLflow model of a deleted run, unless it is that of a result, which may be registered."""
    model = model_of(run)
    if model is not None and run.data.tags["kind"] == "model":
        client.delete_logged_model(model)
