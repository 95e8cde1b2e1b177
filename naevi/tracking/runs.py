"""Create MLflow runs and log parameters, histories and data sets."""

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from naevi.config import flatten
from naevi.digests import folder_files
from naevi.tracking.source import source_tags
from naevi.tracking.store import process_identity
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

SYNTHETIC_NOTE = "Synthetic images, not patients. These scores say nothing about real lesions."
RESTORED_NOTE = "Logged from files, because DVC restored them or the run was lost. Times are those of the logging."
MODELS_LINK, RESULT_LINK = "Models: ", "Result: "  # beginnings of a paragraph in a description
NOTE, PARENT, RESTORED = "mlflow.note.content", "mlflow.parentRunId", "restored"
MODEL_PARAMETERS = ("item", "model", "classes", "size", "train", "runtime", "versions")  # keys of model.json
INVALID_IN_NAMES, MAX_NAME_CHARACTERS = re.compile(r"[^\w. -]"), 250  # of metrics
MAX_BATCH_METRICS = 1000  # MLflow's limit for one call
MAX_DIGEST_CHARACTERS = 32  # MLflow's limit is 36


def create_model_run(
    workspace: Workspace,
    client: "MlflowClient",
    experiment_id: str,
    origin: dict[str, Any],
    data_set: str,
    baseline: str,
) -> str:
    """Create a run for the model with this origin, log its parameters and data sets, and return the run's id.

    `data_set` is the name of its data set, `baseline` as in `source_tags`.
    """
    tags = run_tags(workspace, origin["fingerprint"], data_set, origin["dataset"], baseline) | {
        "kind": "model",
        "item": origin["item"],
        "code": origin["code"],
    }
    name = f"{origin['model']['architecture']} {origin['item']}"
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)
    log_params(client, run_id, {key: origin[key] for key in MODEL_PARAMETERS})
    inputs = [dataset_input(workspace, data_set, data, part) for part, data in origin["data"].items() if data["images"]]
    log_data_sets(client, run_id, inputs)
    return run_id


def log_data_sets(client: "MlflowClient", run_id: str, inputs: "list[DatasetInput]") -> None:
    """Link data sets to a run."""
    from mlflow.exceptions import MlflowException

    try:
        client.log_inputs(run_id, inputs)
    except MlflowException:  # another process has linked the same one at the same moment, and now MLflow finds it
        client.log_inputs(run_id, inputs)


def run_tags(workspace: Workspace, fingerprint: str, data_set: str, source: str, baseline: str) -> dict[str, str]:
    """Return the tags that every run has. `data_set` is the name of the data set, `source` its data.source."""
    tags = {"fingerprint": fingerprint, "dataset": data_set, "process": process_identity()}
    note = {NOTE: SYNTHETIC_NOTE} if source == "phantoms" else {}
    return tags | source_tags(workspace, baseline) | note


def linked_notes(client: "MlflowClient", parent: str, children: Sequence[str]) -> dict[str, str]:
    """Return descriptions of a result and of its models by run, with links from one to the other.

    A model that other results use too keeps its link to the first one, which is its parent. Runs that have this
    description are left out, and so are those whose description someone has changed.
    """
    runs = {run_id: client.get_run(run_id) for run_id in (parent, *children)}
    links = {parent: f"{MODELS_LINK}{', '.join(_link(runs[child]) for child in children)}."}
    for child in children:
        links[child] = f"{RESULT_LINK}{_link(client.get_run(runs[child].data.tags.get(PARENT, parent)))}."
    notes = {}
    for run_id, run in runs.items():
        present = run.data.tags.get(NOTE, "")
        parts = [SYNTHETIC_NOTE] * present.startswith(SYNTHETIC_NOTE) + [RESTORED_NOTE] * (RESTORED in run.data.tags)
        if all(part in parts or part.startswith((MODELS_LINK, RESULT_LINK)) for part in present.split("\n\n") if part):
            notes[run_id] = "\n\n".join([*parts, links[run_id]])
    return {run_id: note for run_id, note in notes.items() if note != runs[run_id].data.tags.get(NOTE)}


def _link(run: "Run") -> str:
    """Return a link to the page of a run."""
    return f"[{run.info.run_name}](#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})"


def metrics_of(scores: dict[str, Any]) -> dict[str, float]:
    """Return nested scores as metrics with dotted names. Diagnoses can have characters that MLflow's names can't."""
    values = flatten(scores).items()
    return {INVALID_IN_NAMES.sub("_", key)[:MAX_NAME_CHARACTERS]: float(value) for key, value in values}


def log_metrics(client: "MlflowClient", run_id: str, metrics: "Sequence[Metric]") -> None:
    """Log metrics, any number of them."""
    for start in range(0, len(metrics), MAX_BATCH_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + MAX_BATCH_METRICS])


def log_params(client: "MlflowClient", run_id: str, values: dict[str, Any]) -> None:
    """Log nested values as parameters with dotted names."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in flatten(values).items()])


def log_history(client: "MlflowClient", run_id: str, rows: Sequence[dict[str, float]], timestamp_ms: int) -> None:
    """Log rows of a training history as metrics. The step is the epoch, and NaN is left out."""
    from mlflow.entities import Metric

    points = [
        Metric(key, float(value), timestamp_ms, int(row["epoch"]))
        for row in rows
        for key, value in row.items()
        if key != "epoch" and value == value  # the model `all` has no validation part, so its scores are NaN
    ]
    log_metrics(client, run_id, points)


def log_folder(workspace: Workspace, client: "MlflowClient", run_id: str, folder: Path, name: str) -> None:
    """Log the files of a folder that dvc.lock records, under a name. Those that .dvcignore matches are left out."""
    for file in folder_files(workspace, workspace.relative(folder)):
        client.log_artifact(run_id, str(folder / file), str(PurePosixPath(name, file).parent))


def now_ms() -> int:
    """Return the time in milliseconds since 1970, as MLflow counts it."""
    return int(time.time() * 1000)


def dataset_input(workspace: Workspace, data_set: str, data: dict[str, Any], part: str) -> "DatasetInput":
    """Return a part of a data set as an input of a run. `data` has the keys digest and images, their number."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": workspace.relative(workspace.prepared)})
    profile = json.dumps({"images": data["images"]})
    entity = Dataset(data_set, data["digest"][:MAX_DIGEST_CHARACTERS], "local", source, profile=profile)
    return DatasetInput(entity, [InputTag("mlflow.data.context", part)])
