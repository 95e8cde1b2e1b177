"""Fit a network: the training loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from naevi.config import TrainConfig
from naevi.dataset import PreparedImages
from naevi.errors import UserError, describe_error
from naevi.images.files import Pixels
from naevi.models.build import NormalizedNetwork, check_image_size
from naevi.models.device import ComputeSettings
from naevi.models.distributed import is_main_process, sum_over_processes, world_size
from naevi.progress import progress
from naevi.training.augmentation import draw_random_numbers
from naevi.training.checkpoint import Checkpoint, HistoryRow
from naevi.training.step import Trainer, freeze_encoder, mean_loss, run_epoch, set_up_training
from naevi.training.validation import validate

OnEpoch = Callable[[HistoryRow, Pixels | None], None]


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Turn a GPU that is out of memory into a UserError that says what to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"The GPU is out of memory ({describe_error(error)[:100]}). Lower train.batch_size or preprocess.size, or "
            "choose a smaller model.encoder."
        ) from error


@explain_out_of_memory()
def fit(
    network: NormalizedNetwork,
    images: PreparedImages,
    validation: PreparedImages | None,
    settings: TrainConfig,
    compute: ComputeSettings,
    checkpoint: Checkpoint,
    on_epoch: OnEpoch,
) -> pd.DataFrame:
    """Fit the network, in place and on its device, to the images; return the history, one row for each epoch.

    Columns: epoch (from 1), lr (of the last step), train_loss; with validation images also val_loss, val_dice and
    val_iou, means over images and classes at the training size. Nothing is chosen by them. The network of the last
    epoch is kept, or its moving average over steps if `settings.average` is above 0. Until the epoch
    `settings.freeze_encoder`, weights and batch-norm statistics of the encoder don't change.

    on_epoch receives each row and the predictions for the validation images, uint8 (N, H, W) of class indices. If a
    checkpoint exists, training resumes from it and gives the same bytes as an uninterrupted run. Several processes
    share each batch; batch norm then sees only a process's part (see `models.distributed`).

    Raises UserError if the loss is not finite, there are fewer images than a batch holds, the network can't process
    their size, or memory is full.
    """
    _check(network, images, settings)
    torch.manual_seed(settings.seed)  # for dropout, which takes its random numbers from torch's own generators
    trainer = set_up_training(network, images, settings, compute)
    history = checkpoint.restore(trainer.state())
    remaining = range(len(history) + 1, settings.epochs + 1)
    order, random_numbers = _plan_epoch(len(history) + 1, images, settings, compute)
    for epoch in progress(remaining, total=len(remaining), label="train", unit="images", scale=len(images)):
        trainer = freeze_encoder(trainer, frozen=epoch <= settings.freeze_encoder)
        batch_losses, lr = run_epoch(trainer, images, order, random_numbers)
        order, random_numbers = _plan_epoch(
            epoch + 1, images, settings, compute
        )  # while a GPU still computes this epoch
        loss = sum_over_processes(mean_loss(batch_losses, epoch, images)) / world_size()
        row, predictions = _score_epoch(trainer, validation, {"lr": float(lr), "train_loss": loss})
        # Six digits, so that files and MLflow show the same.
        row = {"epoch": epoch} | {key: float(f"{value:.6g}") for key, value in row.items()}
        history.append(row)
        on_epoch(row, predictions)
        checkpoint.save(trainer.state(), history)
    trainer.average.copy_to_network()
    return pd.DataFrame(history)


def _check(network: NormalizedNetwork, images: PreparedImages, settings: TrainConfig) -> None:
    if len(images) < settings.batch_size:
        remedy = f"Set it to {len(images)} or less." if len(images) > 1 else "Add images."
        raise UserError(
            f"train.batch_size is {settings.batch_size}, but this model has {len(images)} training images. {remedy}"
        )
    if settings.batch_size < 2 * world_size():
        raise UserError(
            f"train.batch_size is {settings.batch_size}, too small for {world_size()} processes. "
            f"Set it to {2 * world_size()} or more, or start fewer processes."
        )
    check_image_size(network, images.images.shape[-1])


def _plan_epoch(
    epoch: int, images: PreparedImages, settings: TrainConfig, compute: ComputeSettings
) -> tuple[Tensor, Tensor]:
    """Return the order of an epoch's images and each image's random numbers, on the device, so that no step waits."""
    order = np.random.default_rng([settings.seed, epoch]).permutation(len(images))
    numbers = draw_random_numbers(images.ids, seed=settings.seed, epoch=epoch)
    return torch.from_numpy(order).to(compute.device), numbers.to(compute.device)


def _score_epoch(
    trainer: Trainer, validation: PreparedImages | None, row: HistoryRow
) -> tuple[HistoryRow, Pixels | None]:
    """Return the row with the validation scores, if any, and the validation predictions."""
    if validation is None or not is_main_process():
        return row, None
    scores, predictions = validate(trainer.average.network, validation, trainer.loss_function, trainer.compute)
    return row | scores, predictions
