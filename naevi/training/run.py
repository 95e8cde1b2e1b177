"""Train one model of the pipeline, from the prepared images to data/models/<name>."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from naevi.config import Config
from naevi.dataset import image_ids, load_parts
from naevi.models.build import NormalizedNetwork, create_network, effective_model_config
from naevi.models.device import resolve_compute_settings
from naevi.models.distributed import is_main_process, process_group
from naevi.models.storage import save_model, weights_digest
from naevi.provenance import model_origin
from naevi.tables import read_image_table, read_split
from naevi.training.checkpoint import Checkpoint, HistoryRow
from naevi.training.loop import fit
from naevi.training.start_weights import describe_start_weights, load_start_weights
from naevi.workspace import Workspace


class Run(Protocol):
    """The part of `tracking.live.LiveRun` that training needs."""

    def resume(self, history: list[HistoryRow], validation: Any) -> None:
        """Log the epochs of a checkpoint; the validation images are those that are drawn."""

    def log_epoch(self, row: HistoryRow, predictions: NDArray[np.uint8] | None = None) -> None:
        """Log a row of the history."""

    def log_model(self, folder: Path) -> None:
        """Log the files of the trained model."""


logger = logging.getLogger(__name__)

OpenRun = Callable[..., AbstractContextManager[Run]]  # of a model's origin, and live=


def train_model(workspace: Workspace, config: Config, name: str, open_run: OpenRun) -> None:
    """Train the model of a fold, named by its number, or `all`; write data/models/<name>.

    `open_run` opens the run that logs the training. It takes nothing from MLflow, so it can't change the model.
    """
    config = effective_model_config(config)
    compute, classes = resolve_compute_settings(config.runtime), len(config.data.classes)
    image_table = read_image_table(workspace)
    split = read_split(workspace, image_table)
    ids = {part: image_ids(split, name, part) for part in ("train", "val")}
    network = create_network(config.model, classes=classes, seed=config.train.seed)
    start_weights = _load_start_weights(network, workspace, config)
    start = weights_digest(network)
    origin = model_origin(workspace, config, name, vars(compute), image_table, ids, start, start_weights)
    with process_group(compute.device), open_run(origin, live=is_main_process()) as run:
        parts = load_parts(workspace.prepared, ids, classes=classes, device=compute.device)
        network.to(compute.device)
        checkpoint = Checkpoint(workspace.checkpoint(origin["fingerprint"]))
        run.resume(checkpoint.history, parts.get("val"))
        history = fit(network, parts["train"], parts.get("val"), config.train, compute, checkpoint, run.log_epoch)
        if is_main_process():
            save_model(workspace.model(name), network, origin, history)
            run.log_model(workspace.model(name))
        checkpoint.remove()


def _load_start_weights(network: NormalizedNetwork, workspace: Workspace, config: Config) -> dict[str, Any] | None:
    """Load the file that model.weights names, if it names one, and log what matched."""
    name = config.model.weights
    if name in ("imagenet", "none"):
        return None
    weights = load_start_weights(network, config.model, config.train.start_from, workspace.weights(name))
    if is_main_process():
        logger.info("%s", describe_start_weights(name, weights))
    return weights
