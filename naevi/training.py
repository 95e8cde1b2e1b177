"""Fitting a network: the loop."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from naevi import augmentation, losses, metrics, networks, prediction, processes
from naevi.config import TrainConfig
from naevi.dataset import Lesions, scaled
from naevi.progress import progress
from naevi.refusal import Refusal
from naevi.runtime import Runtime, told_of_memory

Row = dict[str, float]
LossFunction = Callable[[Tensor, Tensor], Tensor]


@told_of_memory()
def fit(
    network: networks.Normalized,
    lesions: Lesions,
    validation: Lesions | None,
    settings: TrainConfig,
    runtime: Runtime,
    *,
    on_epoch: Callable[[Row], None],
) -> pd.DataFrame:
    """Fit the network, in place and on its device, to the lesions; return the history, one row an epoch.

    Columns: epoch (from 1), lr (of its last step), train_loss; with a validation part also val_loss, val_dice and
    val_iou, means over its images and classes at the training size. Nothing is chosen by them: the last epoch's network
    stays.

    Several processes (see `processes`) share each batch; normalization then sees a process' share only.

    Raises Refusal when the loss is not finite, there are fewer images than a batch has, the network can't take their
    size, or memory is full.
    """
    if len(lesions) < settings.batch_size:
        raise Refusal(
            f"train.batch_size is {settings.batch_size}, but this model has {len(lesions)} images to train on; "
            + (f"set it to {len(lesions)} or less." if len(lesions) > 1 else "add images.")
        )
    if settings.batch_size < 2 * processes.number():
        raise Refusal(
            f"train.batch_size is {settings.batch_size}, which {processes.number()} processes can't share; "
            f"set it to {2 * processes.number()} or more, or start fewer."
        )
    network.to(memory_format=torch.channels_last)  # two to three times as fast
    networks.check_size(network, lesions.images.shape[-1])
    steps = min(math.ceil(len(lesions) / settings.batch_size), len(lesions) // (2 * processes.number()))
    together = processes.together(network)
    optimizer = AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = _schedule(optimizer, settings, total_steps=settings.epochs * steps)
    loss_of = losses.loss(settings.loss)
    history = []
    for epoch in progress(range(1, settings.epochs + 1), total=settings.epochs, label="train", unit="epochs"):
        network.train()
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(lesions))
        draws = augmentation.draws(lesions.ids, seed=settings.seed, epoch=epoch).to(lesions.images.device)
        total = 0.0
        # Parts of nearly equal size: each image once an epoch, and no batch of one, on which batch norm would fail.
        for step, batch in enumerate(np.array_split(order, steps), start=1):
            mine = processes.share(batch)
            rows = torch.from_numpy(mine).to(lesions.images.device)
            images, masks = scaled(lesions.images[rows]), lesions.masks[rows]
            images, masks = augmentation.augment(images, masks, draws[rows], settings.augment, classes=lesions.classes)
            with runtime.autocast():
                logits = together(images.contiguous(memory_format=torch.channels_last))
            # Shares differ by an image, and the mean over processes must be the batch's.
            loss = loss_of(logits, masks) * (len(mine) * processes.number() / len(batch))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no hints there
            optimizer.step()
            lr = schedule.get_last_lr()[0]
            schedule.step()
            total += _finite(loss, epoch, step, [lesions.ids[row] for row in mine]) * len(batch)
        row: Row = {"lr": float(lr), "train_loss": processes.total(total) / processes.number() / len(lesions)}
        if validation is not None:
            row |= _validate(network, validation, loss_of, runtime)
        # Six digits, so that files and MLflow show the same.
        row = {"epoch": epoch} | {key: float(f"{value:.6g}") for key, value in row.items()}
        history.append(row)
        on_epoch(row)
    return pd.DataFrame(history)


def _schedule(optimizer: AdamW, settings: TrainConfig, *, total_steps: int) -> LRScheduler:
    if settings.schedule == "constant":
        return LambdaLR(optimizer, lambda _: 1.0)
    return OneCycleLR(optimizer, max_lr=settings.lr, total_steps=total_steps)


def _finite(loss: Tensor, epoch: int, step: int, ids: list[str]) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise Refusal(
            f"the loss became {value} in epoch {epoch}, step {step}, on {', '.join(ids)}; "
            "lower train.lr or set runtime.precision to fp32."
        )
    return value


def _validate(network: nn.Module, validation: Lesions, loss_of: LossFunction, runtime: Runtime) -> Row:
    probability = prediction.probabilities(network, validation.images, runtime, flips=False)
    predictions = prediction.decided(probability, 0.5).cpu().numpy()
    masks = validation.masks[:, 0].cpu().numpy()
    scores = metrics.scores(metrics.counts(masks, predictions, classes=validation.classes))
    loss = loss_of(prediction.logits(probability), validation.masks)
    return {"val_loss": loss.item(), "val_dice": float(scores.dice.mean()), "val_iou": float(scores.iou.mean())}
