"""Check the files that MLflow keeps for a run. They can be lost or damaged while the database is kept."""

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from naevi.digests import path_md5
from naevi.errors import UserError
from naevi.files import read_csv, read_json
from naevi.record import model_problems, score_problems
from naevi.tracking import store
from naevi.tracking.logged_models import ADDRESS, MODEL_FILES, NAME, list_model_files, model_of
from naevi.tracking.store import shorten_error, tracking_uri
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo, Run

MODEL_FOLDER = "model"  # of the runs of models of earlier versions, which have no MLflow model
SCORE_FILES = ["metrics.json", "per_image.csv"]
RESULT_FILES = [*SCORE_FILES, "report.html", "report.md", "figures"]  # that a result must have
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
    is_model = run.data.tags["kind"] == "model"
    expected = MODEL_FILES if is_model else with_details(RESULT_FILES, run.data.tags)
    found = {PurePosixPath(file.path).name for file in list_files(client, run)}
    model = None if is_model else model_of(run)  # that of a model is listed already
    return found.issuperset(expected) and (model is None or bool(list_model_files(client, model)))


def list_files(client: "MlflowClient", run: "Run") -> "list[FileInfo]":
    """Return the files of a model, or the files and folders of a result. A deleted MLflow model has none."""
    if run.data.tags["kind"] == "result":
        return list(client.list_artifacts(run.info.run_id))
    model = model_of(run)
    return list_model_files(client, model) if model else list(client.list_artifacts(run.info.run_id, MODEL_FOLDER))


def run_problems(workspace: Workspace, run_id: str, md5s: Collection[str] = ()) -> list[str]:
    """Return why the files of the FINISHED run of a model or result can't be used, as parts of a sentence.

    All of them are read and compared with the run's tags, with model.json and with each other. If `md5s` are given, the
    folder of a model must have one of them.
    """
    client, _ = store.connect(workspace)
    run = client.get_run(run_id)
    model = model_of(run)
    try:
        if run.data.tags["kind"] == "model":
            address = f"{ADDRESS}{model}" if model else f"{run.info.artifact_uri}/{MODEL_FOLDER}"
            with _download(workspace, artifact_uri=address) as folder:
                changed = bool(md5s) and path_md5(Workspace(folder.parent), folder.name) not in md5s
                return model_problems(folder) or ["a file of the model has changed"] * changed
        with _download(workspace, run_id=run_id) as folder:
            problems = _result_problems(folder, run)
        if model is not None:
            with _download(workspace, artifact_uri=f"{ADDRESS}{model}") as folder:
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
        destination = Path(temporary) / NAME  # which messages name
        destination.mkdir()
        try:
            folder = Path(mlflow.artifacts.download_artifacts(**address, dst_path=str(destination), tracking_uri=uri))
        except Exception as error:  # of MLflow, sqlalchemy, requests or the file system
            raise UserError(f"the files can't be read ({shorten_error(error)})") from error
        yield folder
