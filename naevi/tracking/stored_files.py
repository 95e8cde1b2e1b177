"""Find FINISHED runs in MLflow whose files or metrics are wrong.

MLflow's database doesn't show whether files of its runs are lost or damaged.
"""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlparse

from naevi.digests import file_digest
from naevi.errors import UserError
from naevi.files import read_csv
from naevi.progress import progress
from naevi.record import read_scores, score_problems
from naevi.tracking import store
from naevi.tracking.artifacts import (
    DETAILS,
    SCORE_FILES,
    has_files,
    list_files,
    md5_tag,
    report_md5,
    run_problems,
    with_details,
)
from naevi.tracking.logged_models import delete_model
from naevi.tracking.model_keys import ModelKey, children_keys, model_key
from naevi.tracking.runs import metrics_of
from naevi.tracking.store import FINISHED, finished_runs, search_runs, shorten_error, tracking_uri
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class DamagedRun(NamedTuple):
    """A FINISHED run with wrong or missing files or metrics."""

    run: str  # id
    name: str
    key: ModelKey  # with the fingerprint of the model or result
    results: list[str]  # fingerprints of the results that it belongs to, its own if it is a result
    problems: list[str]  # parts of a sentence


def damaged_runs(workspace: Workspace, *, data: bool) -> list[DamagedRun]:
    """Return the FINISHED runs of models and results whose files or metrics are wrong.

    All files are read if they are on this machine. On a server, only the scores of results are read, and the others
    must exist and not be empty. With `data`, all files on a server are read, too.
    """
    client, experiment_id = store.connect(workspace)
    runs = list(search_runs(client, experiment_id, FINISHED))
    results = [run for run in runs if run.data.tags["kind"] == "result"]
    damaged = []
    for run in progress(runs, total=len(runs), label="verify", unit="runs"):
        key = model_key(run)
        parents = [result for result in results if any(key.is_same(child) for child in children_keys(result))]
        read = data or urlparse(run.info.artifact_uri).scheme in ("", "file")
        try:
            problems = _read_problems(workspace, run, parents) if read else _listing_problems(client, run)
            if not problems and run in results:
                problems = _score_problems(workspace, run)
        except UserError as error:
            problems = [str(error).rstrip(".")]
        if problems:
            belongs = sorted({other.data.tags["fingerprint"] for other in (parents or [run]) if other in results})
            damaged.append(DamagedRun(str(run.info.run_id), str(run.info.run_name), key, belongs, problems))
    return damaged


def restore_unreplaced(workspace: Workspace, runs: list[DamagedRun]) -> None:
    """Restore the deleted runs that weren't replaced, and delete the MLflow models of the others."""
    client, experiment_id = store.connect(workspace)
    for run in runs:
        if finished_runs(client, experiment_id, *run.key):
            delete_model(client, client.get_run(run.run))
        else:
            client.restore_run(run.run)


def metric_problems(logged: Mapping[str, float], scores: Mapping[str, float]) -> list[str]:
    """Return which metrics in MLflow differ from the scores, as parts of a sentence."""
    return [
        f"the metric {key} is {logged.get(key, 'missing')} instead of {value}"
        for key, value in scores.items()
        if not math.isclose(logged.get(key, math.nan), value, rel_tol=1e-9, abs_tol=1e-12)
    ]


def _read_problems(workspace: Workspace, run: "Run", parents: "list[Run]") -> list[str]:
    """Return which files of a run are wrong. Those of a model are compared with the MD5s that its results list."""
    tag = md5_tag(f"data/models/{run.data.tags.get('item')}")
    md5s = {parent.data.tags[tag] for parent in parents if tag in parent.data.tags}
    return run_problems(workspace, str(run.info.run_id), md5s)


def _listing_problems(client: "MlflowClient", run: "Run") -> list[str]:
    """Return which files of a run are missing or empty, without reading them."""
    if not has_files(client, run):
        return ["files are missing"]
    files = list_files(client, run)
    if run.data.tags["kind"] == "result":
        files += client.list_artifacts(run.info.run_id, "figures")
    return [f"{file.path} is empty" for file in files if not file.is_dir and not file.file_size]


def _score_problems(workspace: Workspace, run: "Run") -> list[str]:
    """Return how the metrics of a result, its files with scores and its per_image.csv contradict each other."""
    with tempfile.TemporaryDirectory(prefix="naevi-") as folder:
        files = [_download(workspace, run, name, folder) for name in with_details(SCORE_FILES, run.data.tags)]
        for file in files:
            md5 = report_md5(run.data.tags, file.name)
            if md5 is not None and md5 != file_digest(file, "md5"):
                return [f"{file.name} has changed"]
        metrics, per_image = files[:2]
        scores = read_scores(metrics, Path(folder) / DETAILS)
        return metric_problems(run.data.metrics, metrics_of(scores)) or score_problems(scores, read_csv(per_image))


def _download(workspace: Workspace, run: "Run", name: str, folder: str) -> Path:
    """Return a copy of a file of a run. Raises UserError if it can't be read."""
    import mlflow

    address = {"run_id": run.info.run_id, "artifact_path": name, "tracking_uri": tracking_uri(workspace)}
    try:
        return Path(mlflow.artifacts.download_artifacts(**address, dst_path=folder))
    except Exception as error:  # of MLflow, sqlalchemy, requests or the file system
        raise UserError(f"{name} can't be read ({shorten_error(error)})") from error
