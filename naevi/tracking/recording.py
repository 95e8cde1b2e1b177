"""Log a model or a result from its files."""

import importlib.metadata
import logging
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from naevi.config import Config, flatten
from naevi.digests import folder_files
from naevi.errors import shorten
from naevi.files import read_csv, read_json
from naevi.provenance import data_digest
from naevi.record import Record, parameters_without
from naevi.tracking.artifacts import md5_tag
from naevi.tracking.logged_models import log_model, metric_link
from naevi.tracking.model_keys import WEIGHTS_TAG, children_tags
from naevi.tracking.runs import (
    RESTORED,
    create_model_run,
    dataset_input,
    log_data_sets,
    log_folder,
    log_history,
    log_metrics,
    log_params,
    metrics_of,
    now_ms,
    run_tags,
)
from naevi.tracking.source import COMMIT
from naevi.tracking.store import FINISHED_RESULTS, search_runs
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

ARCHITECTURE = "model.architecture"
MAX_DIFFERENCES = 3  # in the name of a run

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


class Result(NamedTuple):
    """A result whose files were checked against its record."""

    fingerprint: str
    record: Record
    config: Config  # of the record
    models: list[dict[str, Any]]  # each model.json
    scores: dict[str, Any]  # all, see `record.read_scores`

    @property
    def data_set(self) -> str:
        """Return the name of its data set, or data.source for results from before data.path was added."""
        return self.config.data.source if "data.path" in self.record.lacking else self.config.data.data_set()


def record_model(
    workspace: Workspace,
    client: "MlflowClient",
    experiment_id: str,
    origin: dict[str, Any],
    data_set: str,
    baseline: str,
) -> str:
    """Log a model from its files, because DVC restored it or its run was lost. Return the run's id."""
    folder = workspace.model(origin["item"])
    run_id = create_model_run(workspace, client, experiment_id, origin, data_set, baseline)
    client.set_tag(run_id, RESTORED, "true")  # its times are those of this logging
    history = pd.read_csv(folder / "history.csv").to_dict("records")
    log_history(client, run_id, [{str(key): value for key, value in row.items()} for row in history], now_ms())
    log_model(workspace, client, run_id, folder)
    client.set_tag(run_id, WEIGHTS_TAG, origin["sha256"])
    client.set_terminated(run_id, "FINISHED")
    logger.info("Recorded in MLflow: model %s.", origin["item"])
    return run_id


def record_result(
    workspace: Workspace, client: "MlflowClient", experiment_id: str, result: Result, name: str, baseline: str
) -> str:
    """Log a result from its files and return the run's id. `name` is that of its DVC experiment, "" without one.

    The baseline is git's HEAD if it is empty.
    """
    from mlflow.entities import Metric

    config = result.config
    tags = _result_tags(workspace, result, baseline)
    name = result_name(client, experiment_id, result, name)
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)
    log_params(client, run_id, parameters_without(config, result.record.lacking))
    now = now_ms()
    scores = metrics_of(result.scores).items()
    log_metrics(client, run_id, [Metric(key, value, now, 0) for key, value in scores])
    test_ids = read_csv(workspace.per_image).image_id.unique().tolist()
    test_data = data_digest(read_csv(workspace.image_table), test_ids)
    log_data_sets(client, run_id, [dataset_input(workspace, result.data_set, test_data, "test")])
    files = [workspace.report_html, workspace.report_md, workspace.metrics, workspace.per_image]
    if workspace.details.exists():  # results of earlier versions have none
        files.append(workspace.details)
    for file in files:
        client.log_artifact(run_id, str(file))
    log_folder(workspace, client, run_id, workspace.figures, "figures")
    if "all" in config.model_names():
        _log_predictor(workspace, run_id)
    client.set_terminated(run_id, "FINISHED")
    logger.info("Recorded in MLflow: result %s.", name)
    return run_id


def record_test_scores(workspace: Workspace, client: "MlflowClient", run_id: str, item: str, result: Result) -> None:
    """Log the scores of a fold's model on the images that it is tested on, and the digest of these images.

    The model `all` is tested on none.
    """
    from mlflow.entities import Metric

    scores = result.scores.get("fold", {}).get(item, {})
    tested = {f"test_{name}": scores[name] for name in ("dice", "iou") if scores.get(name) is not None}
    if tested.items() <= client.get_run(run_id).data.metrics.items():
        return
    per_image = read_csv(workspace.per_image)
    ids = per_image[per_image.fold.astype(str) == item].image_id.unique().tolist()
    data = data_digest(read_csv(workspace.image_table), ids)
    log_data_sets(client, run_id, [dataset_input(workspace, result.data_set, data, "test")])
    link, now = metric_link(client.get_run(run_id), "test"), now_ms()
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0, **link) for key, value in tested.items()])


def result_name(client: "MlflowClient", experiment_id: str, result: Result, experiment: str) -> str:
    """Return a name for the run of a result: its experiment or network, and how it differs from the first result.

    That is the first one in MLflow with the same data set. Names of parameters are short if they are unique. An example
    is "unet, epochs 96".
    """
    found = search_runs(client, experiment_id, FINISHED_RESULTS)
    first = next((run for run in found if run.data.tags["dataset"] == result.data_set), None)
    values = {key: str(value) for key, value in flatten(result.config.model_dump()).items()}
    known = first.data.params if first else {}
    names = [key for key in values if values[key] != known.get(key, values[key]) and key != ARCHITECTURE]
    ends = Counter(key.rpartition(".")[2] for key in values)
    labels = [end if ends[end := key.rpartition(".")[2]] == 1 else key for key in names]
    differences = [f"{label} {shorten(values[key])}" for label, key in zip(labels, names, strict=True)]
    more = [f"{len(names) - MAX_DIFFERENCES} more"] * (len(names) > MAX_DIFFERENCES)
    network = f"{result.config.model.architecture}{'' if differences else f' {result.fingerprint[:8]}'}"
    return ", ".join([experiment or network, *differences[:MAX_DIFFERENCES], *more])


def _result_tags(workspace: Workspace, result: Result, baseline: str) -> dict[str, str]:
    """Return the tags of a result: its data set, its models, and the MD5 of its code and files."""
    digest = read_json(workspace.data_statistics).get("digest")
    md5s = result.record.code | result.record.outs
    tags = run_tags(workspace, result.fingerprint, result.data_set, result.config.data.source, baseline)
    return (
        tags
        | {"kind": "result", "dvc.baseline": tags.get(COMMIT, "none")}
        | children_tags(result.models)
        | ({"data": digest} if digest else {})  # results of earlier versions have none
        | {md5_tag(path): md5 for path, md5 in md5s.items()}
    )


def _log_predictor(workspace: Workspace, run_id: str) -> None:
    """Log the predictor as an MLflow model that maps image files to masks, see `serving`. Nothing is pickled."""
    import mlflow

    from naevi.tracking import serving  # lazy, because it imports torch
    from naevi.tracking.serving import EXAMPLE, SIGNATURE

    package = Path(serving.__file__).parents[1]
    with mlflow.start_run(run_id=run_id), tempfile.TemporaryDirectory() as temporary:
        code = shutil.copytree(package, Path(temporary) / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        predictor = Path(temporary) / workspace.predictor.name
        predictor.mkdir()
        for name in folder_files(workspace, workspace.relative(workspace.predictor)):
            shutil.copyfile(workspace.predictor / name, predictor / name)
        mlflow.pyfunc.log_model(
            name="model",
            python_model=serving.__file__,
            artifacts={"model": str(predictor)},
            code_paths=[str(code)],
            signature=SIGNATURE,
            input_example=EXAMPLE,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in SERVING_REQUIREMENTS],
        )
