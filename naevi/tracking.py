"""What MLflow is told: a mirror of the files, live while a model trains, and repaired from the files by `track`.

A child run is a fitted model, found by the fingerprint in its model.json. A parent run is a result, found by the
fingerprint of params.yaml, models and figures.
"""

import importlib.metadata
import json
import logging
import os
import shutil
import signal
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
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from naevi import paths, provenance, store, summary, tables
from naevi.config import Config, flat, read_yaml
from naevi.images import Pixels

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from naevi.checkpoint import Row  # torch comes with both
    from naevi.dataset import Lesions

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
PHANTOMS_NOTE = "Phantoms, not patients: these figures say nothing about real lesions."

Action = Callable[["MlflowClient", str], object]


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
            self._give_up(store.why(error))
        finally:
            self._ended.set()

    def _give_up(self, why: str) -> None:
        if not self._given_up:
            self._given_up = True
            repair = "`make ui` or `dvc repro -s -f track` repairs that"
            print(f"naevi: MLflow doesn't log this model ({why}); {repair}.", flush=True)


def _begin(origin: dict[str, Any]) -> "tuple[MlflowClient, str] | None":
    """Client and id of a new run, or None where this model is recorded already."""
    client, experiment = store.connect()
    store.close_dead(client, experiment, origin["fingerprint"])
    if store.finished(client, experiment, origin["fingerprint"]):
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
    client, experiment = store.connect()
    with store.lock():
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
    store.close_dead(client, experiment, fingerprint)
    if not store.finished(client, experiment, fingerprint):
        create()
    first, *doubles = store.finished(client, experiment, fingerprint)
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


# Words in MLflow's terms


def _tags(fingerprint: str, dataset: str) -> dict[str, str]:
    tags = {
        "fingerprint": fingerprint,
        "dataset": dataset,
        "process": store.process(),
        "mlflow.source.name": "dvc repro",
    }
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


def _exists(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False
