"""Check the files that MLflow keeps for a run. They can be lost or damaged while the database is kept."""

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from naevi.digests import path_md5
from naevi.errors import UserError
from naevi.files import read_csv, read_json
from naevi.record import model_problems, score_problems
from naevi.tracking import store
from naevi.tracking.store import get_or_none, shorten_error, tracking_uri
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# The files that a run must have, by its kind.
MODEL_FILES = ["model/model.json", "model/model.safetensors", "model/history.csv"]
SCORE_FILES = ["metrics.json", "per_image.csv"]
RESULT_FILES = [*SCORE_FILES, "report.html", "report.md", "figures"]
DETAILS = "details.json"


def md5_tag(path: str) -> str:
    """Return the tag of a result with the MD5 of a file or folder, which is named as in dvc.lock."""
    return f"dvc.md5.{path.replace('/', '.')}"


def report_md5(tags: Mapping[str, str], name: str) -> str | None:
    """Return the MD5 of a file in reports/. Results of earlier versions may lack it."""
    return tags.get(md5_tag(f"reports/{name}"))


def with_details(files: list[str], tags: Mapping[str, str]) -> list[str]:
    """Return files of a result, and details.json if it has one. Results of earlier versions have none."""
    return files + [DETAILS] * (report_md5(tags, DETAILS) is not None)


def has_files(client: "MlflowClient", run: "Run") -> bool:
    """Return whether all files of a FINISHED run exist. They aren't read, but `run_problems` reads them."""
    tags = run.data.tags
    expected, folder = (MODEL_FILES, "model") if tags["kind"] == "model" else (with_details(RESULT_FILES, tags), None)
    found = {file.path for file in client.list_artifacts(run.info.run_id, folder)}
    return found.issuperset(expected) and all(has_model_files(client, model) for model in logged_models(run))


def has_model_files(client: "MlflowClient", model: str) -> bool:
    """Return whether an MLflow model exists, isn't deleted, and has files."""
    return bool(get_or_none(lambda: client.list_logged_model_artifacts(model)))


def logged_models(run: "Run") -> list[str]:
    """Return the ids of the MLflow models of a run."""
    return [str(output.model_id) for output in run.outputs.model_outputs] if run.outputs else []


def run_problems(workspace: Workspace, run_id: str, md5s: Collection[str] = ()) -> list[str]:
    """Return why the files of the FINISHED run of a model or result can't be used, as parts of a sentence.

    All of them are read and compared with the run's tags, with model.json and with each other. If `md5s` are given, the
    folder of a model must have one of them.
    """
    client, _ = store.connect(workspace)
    run = client.get_run(run_id)
    try:
        with _download(workspace, run_id=run_id) as folder:
            if run.data.tags["kind"] == "model":
                problems = model_problems(folder / "model")
                changed = bool(md5s) and path_md5(Workspace(folder), "model") not in md5s
                return problems or ["a file of the model has changed"] * changed
            problems = _result_problems(folder, run)
        for model in logged_models(run):
            with _download(workspace, artifact_uri=f"models:/{model}") as folder:
                problems += _predictor_problems(folder, run.data.tags)
    except UserError as error:
        return [str(error)]
    return problems


def _result_problems(folder: Path, run: "Run") -> list[str]:
    files = with_details(RESULT_FILES, run.data.tags)
    if missing := [name for name in files if not (folder / name).exists()]:
        return [f"missing in {run.info.artifact_uri}: {', '.join(missing)}"]
    md5s = {name: report_md5(run.data.tags, name) for name in files}
    changed = [name for name, md5 in md5s.items() if md5 is not None and path_md5(Workspace(folder), name) != md5]
    if changed:
        return [f"{name} has changed" for name in changed]
    return score_problems(read_json(folder / "metrics.json"), read_csv(folder / "per_image.csv"))


def _predictor_problems(folder: Path, tags: Mapping[str, str]) -> list[str]:
    models = sorted(file.parent for file in folder.rglob("model.json"))
    if not models:
        return ["model.json is missing"]
    md5 = tags.get(md5_tag("data/predictor"))
    if md5 is not None and path_md5(Workspace(models[0].parent), models[0].name) != md5:
        return ["the model has changed"]
    return model_problems(models[0])


@contextmanager
def _download(workspace: Workspace, **address: str) -> Iterator[Path]:
    """Yield a folder with a copy of the files at an MLflow address. Raises UserError if they can't be read."""
    import mlflow

    uri = tracking_uri(workspace)
    with tempfile.TemporaryDirectory(prefix="naevi-") as temporary:
        try:
            folder = Path(mlflow.artifacts.download_artifacts(**address, dst_path=temporary, tracking_uri=uri))
        except Exception as error:  # of MLflow, sqlalchemy, requests or the file system
            raise UserError(f"the files can't be read ({shorten_error(error)})") from error
        yield folder
