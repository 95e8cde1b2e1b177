"""Log a model to MLflow while it trains. A background thread does it, so training never waits."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from naevi.errors import UserError, describe_error
from naevi.images.files import Pixels
from naevi.provenance import read_description
from naevi.tracking import store
from naevi.tracking.logged_models import log_model
from naevi.tracking.model_keys import WEIGHTS_TAG
from naevi.tracking.runs import create_model_run, log_history, now_ms
from naevi.tracking.source import BASELINE
from naevi.tracking.store import close_stale_runs, finished_runs, shorten_error
from naevi.tracking.system_metrics import SystemMetrics
from naevi.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import Tensor

N_VALIDATION_IMAGES = 6  # shown side by side in one picture
IMAGE_INTERVAL_EPOCHS = 5
MEASURE_INTERVAL_S = 1  # of processors, memory and GPUs; each epoch has their means
FLUSH_TIMEOUT_S = 60  # how long the end of a training waits for MLflow
# With these limits, a call that nobody answers fails after 90 seconds. MLflow itself would retry for 20 minutes, which
# is fine for the stage `track`. Values that the user has set take precedence.
HTTP_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}

Action = Callable[["MlflowClient", str], object]

logger = logging.getLogger(__name__)


class ValidationPart(Protocol):
    """The validation images of a model."""

    @property
    def images(self) -> "Tensor":
        """Images, uint8 (N, 3, H, W)."""

    @property
    def masks(self) -> "Tensor":
        """Masks, uint8 (N, 1, H, W) of classes."""


class LiveRun:
    """The MLflow run of one model while it trains.

    Its methods only queue what is to be logged, for a background thread. `log_model` and `end` wait until everything is
    logged, FLUSH_TIMEOUT_S seconds at most. If MLflow fails or takes longer, logging ends with one warning.
    """

    def __init__(self, workspace: Workspace, origin: dict[str, Any], live: bool) -> None:
        """Start the thread. It opens a run, unless the store has a FINISHED one with this fingerprint.

        If the weights then differ from those in the store, the stage `track` records the model.
        """
        self._workspace = workspace
        self._n_images = origin["data"]["train"]["images"]
        self._epoch_start = time.monotonic()
        self._validation: ValidationPart | None = None
        self._disabled = not live
        self._todo: SimpleQueue[Action | None] = SimpleQueue()
        self._done = Event()
        if live:  # a daemon, so that the process can end before the thread does
            Thread(target=self._work, args=[workspace, origin], daemon=True).start()

    def resume(self, history: Sequence[dict[str, float]], validation: ValidationPart | None) -> None:
        """Log the epochs of an earlier, interrupted run, and set the validation images to show in pictures."""
        self._validation = validation
        self._todo.put(partial(log_history, rows=history, timestamp_ms=now_ms()))

    def log_epoch(self, row: dict[str, float], predictions: Pixels | None = None) -> None:
        """Log a row of the history, the images per second and the use of the machine since the epoch before.

        Every IMAGE_INTERVAL_EPOCHS epochs, log a picture too.

        `predictions` are those of the validation images, uint8 (N, H, W) of classes.
        """
        now = time.monotonic()
        speed = {"images_per_s": self._n_images / (now - self._epoch_start)}
        self._epoch_start = now
        self._todo.put(partial(self._log_row, row=row | speed, timestamp_ms=now_ms()))
        if self._validation is None or predictions is None:
            return
        if row["epoch"] % IMAGE_INTERVAL_EPOCHS == 0:
            sheet, step = _contact_sheet(self._validation, predictions), int(row["epoch"])
            self._todo.put(lambda client, run_id: client.log_image(run_id, sheet, key="validation", step=step))

    def log_model(self, folder: Path) -> None:
        """Log the files of the trained model and end the run as FINISHED.

        The caller removes the checkpoint afterwards. So Ctrl-C during the wait here doesn't cost the training.
        """
        self._todo.put(lambda client, run_id: log_model(self._workspace, client, run_id, folder))
        self._todo.put(lambda client, run_id: client.set_tag(run_id, WEIGHTS_TAG, read_description(folder)["sha256"]))
        self.end("FINISHED")

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED, unless it has ended, and wait until everything is logged."""
        if self._disabled:
            return
        self._todo.put(lambda client, run_id: client.set_terminated(run_id, status))
        self._todo.put(None)
        start = time.monotonic()
        try:
            self._done.wait(FLUSH_TIMEOUT_S)
        finally:  # also if Ctrl-C ends the wait
            if not self._done.is_set():
                self._disable(f"it has not finished after {time.monotonic() - start:.0f} s")

    def _work(self, workspace: Workspace, origin: dict[str, Any]) -> None:
        for name, value in HTTP_LIMITS.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of every retry
        try:
            run = _open_run(workspace, origin)
            self._system = SystemMetrics()
            while action := self._next_action():
                if run:
                    action(*run)
        except Exception as error:  # no error of MLflow may cost a trained model
            # A UserError of `connect` is short enough already.
            message = describe_error(error) if isinstance(error, UserError) else shorten_error(error)
            self._disable(message.rstrip("."))
        finally:
            self._done.set()

    def _next_action(self) -> Action | None:
        """Wait for the next action. Measure the system meanwhile."""
        while True:
            try:
                return self._todo.get(timeout=MEASURE_INTERVAL_S)
            except Empty:
                self._system.measure()

    def _log_row(self, client: "MlflowClient", run_id: str, row: dict[str, float], timestamp_ms: int) -> None:
        log_history(client, run_id, [row | self._system.means()], timestamp_ms)

    def _disable(self, reason: str) -> None:
        if not self._disabled:
            self._disabled = True
            logger.warning(
                "MLflow logging failed (%s). Run `make ui` or `dvc repro -s -f track` to log this model.", reason
            )


def _open_run(workspace: Workspace, origin: dict[str, Any]) -> "tuple[MlflowClient, str] | None":
    """Return a client and the id of a new run, or None if the store has a FINISHED run of this model."""
    client, experiment_id = store.connect(workspace)
    close_stale_runs(client, experiment_id, origin["fingerprint"])
    if finished_runs(client, experiment_id, origin["fingerprint"]):
        return None
    baseline = os.environ.get(BASELINE, "")
    return client, create_model_run(workspace, client, experiment_id, origin, origin["dataset"], baseline)


def _contact_sheet(validation: ValidationPart, predictions: Pixels) -> Pixels:
    """Return the first validation images side by side as one image, uint8 (H, W, 3), with predictions drawn in."""
    from naevi.rendering.overlays import draw_overlay  # lazy, because it imports scipy

    images = validation.images[:N_VALIDATION_IMAGES].permute(0, 2, 3, 1).cpu().numpy()
    masks = validation.masks[:N_VALIDATION_IMAGES, 0].cpu().numpy()
    pictures = [draw_overlay(*triple) for triple in zip(images, masks, predictions, strict=False)]
    return np.concatenate(pictures, axis=1)


@contextmanager
def live_run(workspace: Workspace, origin: dict[str, Any], *, live: bool = True) -> Iterator[LiveRun]:
    """Yield a live run for the model with this origin. It ends as FINISHED, on Ctrl-C or SIGTERM as KILLED, or FAILED.

    With `live` false nothing is logged. If several processes train one model, only one of them logs it.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)  # otherwise a terminated run stays RUNNING forever
    run = LiveRun(workspace, origin, live)
    try:
        yield run
    except BaseException as error:
        run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
    run.end("FINISHED")
