"""MLflow, all of it: a mirror of what the files say, live while a model trains, and repaired from the files by `track`.

A child run is a fitted model, found by the fingerprint in its model.json. A parent run is a result, found by the
fingerprint of params.yaml, models and figures. Only FINISHED runs count, and there is one for each fingerprint.

MLflow is imported where it is used: it takes seconds, and other stages never need it.
"""

import importlib.metadata
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock

from naevi import paths, provenance, summary, tables
from naevi.config import Config, flat, read_yaml
from naevi.images import Pixels
from naevi.refusal import Refusal, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from naevi.checkpoint import Row  # torch comes with both
    from naevi.dataset import Lesions

EXPERIMENT = "naevi"  # also the name of the registered model
CHAMPION = "champion"
WATCHED, EPOCHS_A_PICTURE = 6, 5  # validation lesions in a picture, and how often one is made
# What `serving` imports, or what that does without saying so.
SERVED_WITH = [
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
# How long the end of a training waits for MLflow, in seconds; and what makes a call of a training that nothing answers
# fail in a minute and a half, where MLflow itself tries for twenty. `track` has that patience; what the user's
# environment says holds for both.
PATIENCE = 60
IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}
FINISHED = "attributes.status = 'FINISHED'"
PHANTOMS_NOTE = "Phantoms, not patients: these figures say nothing about real lesions."

Action = Callable[["MlflowClient", str], object]


def uri() -> str:
    """MLFLOW_TRACKING_URI, else the repository's own sqlite store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.root() / 'mlflow.db'}"


def _lock() -> FileLock:
    """Held while the store is made or reconciled: workers that make one sqlite file at once ruin it."""
    return FileLock(paths.root() / "mlflow.db.lock")


def _open() -> "tuple[MlflowClient, str]":
    """A client and the experiment's id; makes the store and the experiment where there is none.

    Raises Refusal where the store can't be opened.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri())
    # An own sqlite store would else put artifacts under the current folder, which DVC deletes after `--temp`.
    artifacts = (paths.root() / "mlartifacts").as_uri() if uri().startswith("sqlite:") else None
    try:
        with _lock():
            client = mlflow.MlflowClient(uri())
            return client, _experiment(client, artifacts)
    except Exception as error:  # sqlalchemy's, requests' or MLflow's own
        way = "start its server, or move the file away"
        raise Refusal(f"MLflow's store {uri()} can't be opened ({_why(error)}); {way}.") from error


def _why(error: Exception) -> str:
    """What an error says: the beginning, which names the place, and the end, which names the cause."""
    text = reason(error)
    return text if len(text) <= 240 else f"{text[:120]} … {text[-120:]}"


def _experiment(client: "MlflowClient", artifacts: str | None) -> str:
    """The experiment's id; it is made where there is none."""
    from mlflow.exceptions import MlflowException

    if not (found := client.get_experiment_by_name(EXPERIMENT)):
        try:
            return str(client.create_experiment(EXPERIMENT, artifacts))
        except MlflowException:  # on a server another may just have made it
            if not (found := client.get_experiment_by_name(EXPERIMENT)):
                raise
    return str(found.experiment_id)


def _every(client: "MlflowClient", experiment: str, wanted: str) -> "Iterator[Run]":
    """All runs that a filter of MLflow's wants, the oldest first."""
    token = None
    while token != "":
        page = client.search_runs([experiment], wanted, order_by=["attributes.start_time ASC"], page_token=token)
        yield from page
        token = page.token or ""


def _runs(client: "MlflowClient", experiment: str, fingerprint: str, status: str) -> "list[Run]":
    """Runs with this fingerprint and status, the oldest first."""
    wanted = f"tags.fingerprint = '{fingerprint}' and attributes.status = '{status}'"
    return list(_every(client, experiment, wanted))


def _close_stale(client: "MlflowClient", experiment: str, fingerprint: str) -> None:
    """End as KILLED what its process left RUNNING when it died without a word; another may train the same just now."""
    for run in _runs(client, experiment, fingerprint, "RUNNING"):
        if _has_ended(run.data.tags.get("process")):
            client.set_terminated(run.info.run_id, "KILLED")


# Children: models


class Child:
    """The run of one model while it trains, logged by a thread of its own: no epoch waits for MLflow.

    Only the end does, PATIENCE seconds at most. Where MLflow fails or takes longer, it says so once and lets it be.
    """

    def __init__(self, origin: dict[str, Any], live: bool) -> None:
        """Open the run, unless the store has a FINISHED one of this fingerprint already."""
        self._images = origin["data"]["train"]["images"]
        self._epoch_began = time.monotonic()
        self._watched: Lesions | None = None
        self._given_up = not live
        self._todo: SimpleQueue[Action | None] = SimpleQueue()
        self._ended = Event()
        if live:  # a daemon, which the process doesn't wait for when it ends
            Thread(target=self._work, args=[origin], daemon=True).start()

    def catch_up(self, history: "list[Row]", validation: "Lesions | None") -> None:
        """Log what an earlier run, which was killed, came to; the validation images are those that become pictures."""
        self._watched = validation
        self._todo.put(partial(_log_history, rows=history, at=_now()))

    def log_epoch(self, row: "Row", predictions: Pixels | None = None) -> None:
        """Log a row of the history, and images per second, which no file has; now and then a picture.

        `predictions` are those of the validation images, uint8 (N, H, W) of classes.
        """
        now = time.monotonic()
        live = {"images_per_s": self._images / (now - self._epoch_began)}
        self._epoch_began = now
        self._todo.put(partial(_log_history, rows=[row | live], at=_now()))
        if self._watched and predictions is not None and row["epoch"] % EPOCHS_A_PICTURE == 0:
            sheet, step = _sheet(self._watched, predictions), int(row["epoch"])
            self._todo.put(lambda client, run_id: client.log_image(run_id, sheet, key="validation", step=step))

    def log_model(self, folder: Path) -> None:
        """Log the files of the fitted model, and end the run as FINISHED.

        Behind this the checkpoint is removed, so this is where to wait: Ctrl-C here costs no training.
        """
        self._todo.put(lambda client, run_id: client.log_artifacts(run_id, str(folder), "model"))
        self.end("FINISHED")

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED, unless it has ended, and wait until all that is logged."""
        if self._given_up:
            return
        self._todo.put(lambda client, run_id: client.set_terminated(run_id, status))
        self._todo.put(None)
        began = time.monotonic()
        try:
            self._ended.wait(PATIENCE)
        finally:  # Ctrl-C ends the waiting
            if not self._ended.is_set():
                self._give_up(f"after {time.monotonic() - began:.0f} s it isn't done")

    def _work(self, origin: dict[str, Any]) -> None:
        for name, value in IMPATIENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # else it tells of each try
        try:
            run = _begin(origin)
            while action := self._todo.get():
                if run:
                    action(*run)
        except Exception as error:  # whatever MLflow raises must not cost a trained model
            self._give_up(_why(error))
        finally:
            self._ended.set()

    def _give_up(self, why: str) -> None:
        if not self._given_up:
            self._given_up = True
            repair = "`make ui` or `dvc repro -s -f track` repairs that"
            print(f"naevi: MLflow doesn't log this model ({why}); {repair}.", flush=True)


def _begin(origin: dict[str, Any]) -> "tuple[MlflowClient, str] | None":
    """Client and id of a new run, or None where this model is recorded already."""
    client, experiment = _open()
    _close_stale(client, experiment, origin["fingerprint"])
    if _runs(client, experiment, origin["fingerprint"], "FINISHED"):
        return None
    return client, _create_child(client, experiment, origin)


def _sheet(lesions: "Lesions", predictions: Pixels) -> Pixels:
    """The first few lesions side by side, with what is found, missed and added."""
    from naevi import figures

    images = lesions.images[:WATCHED].permute(0, 2, 3, 1).cpu().numpy()
    masks = lesions.masks[:WATCHED, 0].cpu().numpy()
    each = [figures.overlay(*three) for three in zip(images, masks, predictions, strict=False)]
    return np.concatenate(each, axis=1)


@contextmanager
def child(origin: dict[str, Any], *, live: bool = True) -> Iterator[Child]:
    """A live run for the model with this origin: FINISHED at the end, KILLED by Ctrl-C or SIGTERM, else FAILED.

    Without `live` nothing is logged: of several processes that fit one model, one does.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)  # else a terminated run stands as RUNNING for ever
    run = Child(origin, live)
    try:
        yield run
    except BaseException as error:
        run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    run.end("FINISHED")


def _create_child(client: "MlflowClient", experiment: str, origin: dict[str, Any]) -> str:
    tags = {"kind": "model", "item": origin["item"], "code": origin["code"]} | _tags(
        origin["fingerprint"], origin["dataset"]
    )
    name = f"{origin['model']['architecture']} {origin['item']}"
    run_id = str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)
    chosen = {key: origin[key] for key in ("item", "model", "classes", "size", "train", "runtime", "versions")}
    _log_params(client, run_id, chosen)
    datasets = [_dataset(origin["dataset"], data, part) for part, data in origin["data"].items() if data["images"]]
    client.log_inputs(run_id, datasets)
    return run_id


def _now() -> int:
    """As MLflow has it, in milliseconds."""
    return int(time.time() * 1000)


def _log_history(client: "MlflowClient", run_id: str, rows: "list[Row]", at: int) -> None:
    from mlflow.entities import Metric

    points = [
        Metric(key, float(value), at, int(row["epoch"]))
        for row in rows
        for key, value in row.items()
        if key != "epoch" and value == value  # `all` has no validation, so NaN there
    ]
    for start in range(0, len(points), 1000):  # MLflow's limit a call
        client.log_batch(run_id, metrics=points[start : start + 1000])


def _restore_child(client: "MlflowClient", experiment: str, origin: dict[str, Any]) -> str:
    """Record a model from its files: one that DVC restored, or whose run was lost."""
    folder = paths.model(origin["item"])
    run_id = _create_child(client, experiment, origin)
    client.set_tag(run_id, "restored", "true")  # its times are those of the repair
    history = pd.read_csv(folder / "history.csv").to_dict("records")
    _log_history(client, run_id, [{str(key): value for key, value in row.items()} for row in history], _now())
    client.log_artifacts(run_id, str(folder), "model")
    client.set_terminated(run_id, "FINISHED")
    return run_id


# Parents: results


def reconcile(config: Config) -> None:
    """Make MLflow hold the current result and its models once each: log what is missing, drop what is double."""
    client, experiment = _open()
    with _lock():
        models = [provenance.described(paths.model(item)) for item in config.items()]
        children = [_one_child(client, experiment, model) for model in models]
        parent = _one_parent(client, experiment, config, models)
        _note_experiment(client, parent)
        for run_id in children:
            known = client.get_run(run_id).data.tags.get("mlflow.parentRunId")
            if known is None or not _exists(client, known):
                client.set_tag(run_id, "mlflow.parentRunId", parent)


def _one_child(client: "MlflowClient", experiment: str, origin: dict[str, Any]) -> str:
    return _only(client, experiment, origin["fingerprint"], partial(_restore_child, client, experiment, origin))


def _one_parent(client: "MlflowClient", experiment: str, config: Config, models: list[dict[str, Any]]) -> str:
    figures = summary.read(paths.METRICS)
    fingerprint = provenance.of_result(config, models, figures)
    create = partial(_create_parent, client, experiment, fingerprint, config, models, figures)
    return _only(client, experiment, fingerprint, create)


def _only(client: "MlflowClient", experiment: str, fingerprint: str, create: Callable[[], str]) -> str:
    """The id of the one FINISHED run with this fingerprint, made where there is none; later doubles are deleted.

    Two may make it at once on a server, where no lock holds the other: who comes last sees both.
    """
    _close_stale(client, experiment, fingerprint)
    if not _runs(client, experiment, fingerprint, "FINISHED"):
        create()
    first, *doubles = _runs(client, experiment, fingerprint, "FINISHED")
    for double in doubles:
        client.delete_run(double.info.run_id)
    return str(first.info.run_id)


def _create_parent(
    client: "MlflowClient",
    experiment: str,
    fingerprint: str,
    config: Config,
    models: list[dict[str, Any]],
    figures: dict[str, Any],
) -> str:
    from mlflow.entities import Metric

    tags = _tags(fingerprint, config.data.source) | {
        "kind": "result",
        "children": " ".join(model["fingerprint"] for model in models),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV") or _head(),
        **{f"dvc.md5.{path.replace('/', '.')}": md5 for path, md5 in _outs().items()},
    }
    name = os.environ.get("DVC_EXP_NAME") or f"{config.model.architecture} {fingerprint[:8]}"
    run_id = str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)
    _log_params(client, run_id, config.model_dump())
    now = _now()
    client.log_batch(run_id, metrics=[Metric(key, float(value), now, 0) for key, value in flat(figures).items()])
    lesions = tables.read(paths.LESIONS)
    everything = provenance.images(lesions, tables.read(paths.PER_IMAGE).image_id.unique().tolist())
    client.log_inputs(run_id, [_dataset(config.data.source, everything, "test")])
    for file in (paths.REPORT_HTML, paths.REPORT_MD, paths.METRICS, paths.PER_IMAGE):
        client.log_artifact(run_id, str(file))
    client.log_artifacts(run_id, str(paths.FIGURES), "figures")
    if "all" in config.items():
        _log_usable_model(run_id)
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _log_usable_model(run_id: str) -> None:
    """The model `all` as an MLflow model: image files in, masks out, see `serving`; code and safetensors, no pickle."""
    import mlflow

    from naevi import serving  # torch comes with it

    with mlflow.start_run(run_id=run_id), tempfile.TemporaryDirectory() as folder:
        # The modules that are loaded here: all that `serving` needs are, and the rest would be read for nothing.
        code = Path(folder) / "naevi"
        code.mkdir()
        for name in [name for name in sys.modules if name.split(".")[0] == "naevi"]:
            shutil.copy(str(sys.modules[name].__file__), code)
        mlflow.pyfunc.log_model(
            name="model",
            python_model=serving.__file__,
            artifacts={"model": str(paths.model("all")), "params": str(paths.PARAMS)},
            code_paths=[str(code)],
            signature=serving.SIGNATURE,
            input_example=serving.EXAMPLE,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in SERVED_WITH],
        )


def _note_experiment(client: "MlflowClient", run_id: str) -> None:
    """Add the DVC experiment that this is, if it is one, to the names of those with this result."""
    name = os.environ.get("DVC_EXP_NAME")
    known = client.get_run(run_id).data.tags.get("dvc.experiments", "").split()
    if name and name not in known:
        client.set_tag(run_id, "dvc.experiments", " ".join([*known, name]))


# Models in use


class Result(NamedTuple):
    """A finished result: the ids of its run and of its model to use, if it has one, and its per_image.csv."""

    run: str
    model: str | None
    per_image: pd.DataFrame


class Champion(NamedTuple):
    """The registered model in use: its version, the version before it, its run, and that one's per_image.csv."""

    version: str
    before: str | None
    run: str
    per_image: pd.DataFrame


def results() -> list[Result]:
    """The finished results, the oldest first."""
    client, experiment = _open()
    found = []
    for run in _every(client, experiment, f"{FINISHED} and tags.kind = 'result'"):
        models = [each.model_id for each in run.outputs.model_outputs] if run.outputs else []
        found.append(Result(run.info.run_id, models[0] if models else None, _per_image(run.info.run_id)))
    return found


def champion() -> Champion | None:
    """The champion, None where there is none yet."""
    client, _ = _open()
    registered = client.search_registered_models(f"name = '{EXPERIMENT}'")
    if not registered or CHAMPION not in registered[0].aliases:
        return None
    found = client.get_model_version_by_alias(EXPERIMENT, CHAMPION)
    return Champion(str(found.version), found.tags.get("before"), str(found.run_id), _per_image(str(found.run_id)))


def crown(result: Result, tags: dict[str, str]) -> str:
    """Register the model of a result with these tags and make it champion; return its version."""
    client, _ = _open()
    if not client.search_registered_models(f"name = '{EXPERIMENT}'"):
        client.create_registered_model(EXPERIMENT)
    source, model = f"models:/{result.model}", result.model
    version = str(client.create_model_version(EXPERIMENT, source, result.run, tags, model_id=model).version)
    recrown(version)
    return version


def recrown(version: str) -> None:
    """Make a registered version champion."""
    _open()[0].set_registered_model_alias(EXPERIMENT, CHAMPION, version)


def _per_image(run: str) -> pd.DataFrame:
    import mlflow

    return tables.read(Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path=paths.PER_IMAGE.name)))


def fetched(address: str) -> Path:
    """The folder of a model that MLflow holds, such as runs:/<id of a model's run>/model, brought to this machine.

    Raises Refusal where the store gives none, or what it gives is no model of this pipeline.
    """
    _open()
    import mlflow

    try:
        folder = Path(mlflow.artifacts.download_artifacts(address))
    except Exception as error:  # MLflow's, sqlalchemy's, requests'
        raise Refusal(f"MLflow's store {uri()} gives no {address} ({reason(error)[:200]}).") from error
    found = sorted(file.parent for file in folder.rglob("model.json"))
    if not found:
        raise Refusal(f"{address} holds no model.json; name the model of a run, such as runs:/<id>/model.")
    return found[0]


# The store as a whole, see `verification`


class Held(NamedTuple):
    """A finished result in the store."""

    name: str
    runs: list[str]  # the oldest first; all but one are too many
    lacking: int  # of its models, those that have no finished run
    experiments: list[str]  # the names of the DVC experiments with this result
    baseline: str  # the commit that it started from
    orphan: bool  # marked as one that git doesn't know


def held() -> dict[str, Held]:
    """The finished results by their fingerprints, the oldest first."""
    client, experiment = _open()
    runs: dict[str, list[Run]] = {}
    for run in _every(client, experiment, FINISHED):
        runs.setdefault(run.data.tags["fingerprint"], []).append(run)
    found = {}
    for fingerprint, same in runs.items():
        tags = same[0].data.tags
        if tags["kind"] == "result":
            found[fingerprint] = Held(
                name=str(same[0].info.run_name),
                runs=[str(run.info.run_id) for run in same],
                lacking=sum(child not in runs for child in tags["children"].split()),
                experiments=tags.get("dvc.experiments", "").split(),
                baseline=tags["dvc.baseline"],
                orphan=tags.get("orphan") == "true",
            )
    return found


def close_dead() -> tuple[list[str], list[str]]:
    """End as KILLED the runs whose process on this host is gone; return their names, and those of what still runs."""
    client, experiment = _open()
    closed, alive = [], []
    for run in _every(client, experiment, "attributes.status = 'RUNNING'"):
        if _has_ended(run.data.tags.get("process")):
            client.set_terminated(run.info.run_id, "KILLED")
            closed.append(str(run.info.run_name))
        else:
            alive.append(str(run.info.run_name))
    return closed, alive


def remove(run: str) -> None:
    """Delete a run, which `mlflow runs restore` brings back."""
    _open()[0].delete_run(run)


def tag(run: str, key: str, value: str) -> None:
    """Give a run a tag."""
    _open()[0].set_tag(run, key, value)


# Words in MLflow's terms


def _tags(fingerprint: str, dataset: str) -> dict[str, str]:
    tags = {"fingerprint": fingerprint, "dataset": dataset, "mlflow.source.name": "dvc repro", "process": _process()}
    return tags | ({"mlflow.note.content": PHANTOMS_NOTE} if dataset == "phantoms" else {})


def _log_params(client: "MlflowClient", run_id: str, values: dict[str, Any]) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in flat(values).items()])


def _dataset(name: str, data: dict[str, Any], part: str) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile = json.dumps({"images": data["images"]})
    # 36 characters are MLflow's limit for a digest.
    entity = Dataset(name, data["digest"][:32], "local", json.dumps({"uri": str(paths.PREPARED)}), profile=profile)
    return DatasetInput(entity, [InputTag("mlflow.data.context", part)])


def _outs() -> dict[str, str]:
    """The MD5 that dvc.lock names for each output in DVC's cache."""
    lock = read_yaml(paths.LOCK) if paths.LOCK.exists() else {"stages": {}}
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}


def _head() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "none"


def _process() -> str:
    """This process: host, number and start, which no other has."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time()}"


def _has_ended(process: str | None) -> bool:
    """Whether such a process is of this host and runs no more; of another host nobody can tell from here."""
    if process is None:  # the run is from before runs said so
        return True
    host, number, start = process.split(" ")
    if host != socket.gethostname():
        return False
    try:
        return str(psutil.Process(int(number)).create_time()) != start
    except psutil.NoSuchProcess:
        return True


def _exists(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False
