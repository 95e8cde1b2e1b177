"""Fitting a network: the loop."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from naevi import augmentation, losses, metrics, networks, prediction, processes
from naevi.config import TrainConfig
from naevi.dataset import Lesions
from naevi.progress import progress
from naevi.refusal import Refusal
from naevi.runtime import Runtime, told_of_memory

Row = dict[str, float]
LossFunction = Callable[[Tensor, Tensor], Tensor]
PART = 256  # validation images in memory at a time


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
    stays, or its average over steps where `settings.average` asks for that.

    Several processes (see `processes`) share each batch; normalization then sees a process' share only.

    Raises Refusal when the loss is not finite, there are fewer images than a batch has, the network can't take their
    size, or memory is full.
    """
    _check(network, lesions, settings)
    network.to(memory_format=torch.channels_last)  # two to three times as fast
    # Parts of nearly equal size: each image once an epoch, and no batch of one, on which batch norm would fail.
    steps = min(math.ceil(len(lesions) / settings.batch_size), len(lesions) // (2 * processes.number()))
    forward = runtime.compiled(processes.together(network))
    average = get_ema_multi_avg_fn(settings.average)  # type: ignore[no-untyped-call]  # torch has no hints there
    averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    optimizer = AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = _schedule(optimizer, settings, total_steps=settings.epochs * steps)
    loss_of = losses.loss(settings.loss)
    history = []
    for epoch in progress(range(1, settings.epochs + 1), total=settings.epochs, label="train", unit="epochs"):
        network.train()
        order = torch.from_numpy(np.random.default_rng([settings.seed, epoch]).permutation(len(lesions)))
        draws = augmentation.draws(lesions.ids, seed=settings.seed, epoch=epoch)
        seen = []
        for batch in order.tensor_split(steps):
            rows = processes.share(batch)
            images, masks = lesions.batch(rows, runtime.device)
            numbers = draws[rows].to(runtime.device)
            images, masks = augmentation.augment(images, masks, numbers, settings.augment, classes=lesions.classes)
            with runtime.autocast():
                logits = forward(images.contiguous(memory_format=torch.channels_last))
            # Shares differ by an image, and the mean over processes must be the batch's.
            loss = loss_of(logits, masks) * (len(rows) * processes.number() / len(batch))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # nor there
            optimizer.step()
            averaged.update_parameters(network)
            lr = schedule.get_last_lr()[0]
            schedule.step()
            seen.append((batch, loss.detach()))
        row: Row = {"lr": float(lr), "train_loss": processes.total(_mean(seen, epoch, lesions)) / processes.number()}
        if validation is not None and processes.is_first():
            row |= _validate(averaged.module, validation, loss_of, runtime)
        # Six digits, so that files and MLflow show the same.
        row = {"epoch": epoch} | {key: float(f"{value:.6g}") for key, value in row.items()}
        history.append(row)
        on_epoch(row)
    network.load_state_dict(averaged.module.state_dict())
    return pd.DataFrame(history)


def _check(network: networks.Normalized, lesions: Lesions, settings: TrainConfig) -> None:
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
    networks.check_size(network, lesions.images.shape[-1])


def _schedule(optimizer: AdamW, settings: TrainConfig, *, total_steps: int) -> LRScheduler:
    if settings.schedule == "constant":
        return LambdaLR(optimizer, lambda _: 1.0)
    return OneCycleLR(optimizer, max_lr=settings.lr, total_steps=total_steps)


def _mean(seen: list[tuple[Tensor, Tensor]], epoch: int, lesions: Lesions) -> float:
    """The mean loss of an epoch's images, from each batch and its loss; asked for once, so that no step waits for it.

    Raises Refusal where one is not finite.
    """
    values: list[float] = torch.stack([loss for _, loss in seen]).tolist()
    for step, ((batch, _), value) in enumerate(zip(seen, values, strict=True), start=1):
        if not math.isfinite(value):
            ids = [lesions.ids[row] for row in batch]
            raise Refusal(
                f"the loss became {value} in epoch {epoch}, step {step}, on {', '.join(ids)}; "
                "lower train.lr or set runtime.precision to fp32."
            )
    return sum(value * len(batch) for (batch, _), value in zip(seen, values, strict=True)) / len(lesions)


def _validate(network: nn.Module, validation: Lesions, loss_of: LossFunction, runtime: Runtime) -> Row:
    total, rows = 0.0, []
    parts = (torch.split(tensor, PART) for tensor in (validation.images, validation.masks))
    for images, masks in zip(*parts, strict=True):
        probability = prediction.probabilities(network, images, runtime)
        predictions = prediction.decided(probability, 0.5).cpu().numpy()
        rows.append(metrics.scores(metrics.counts(masks[:, 0].cpu(), predictions, classes=validation.classes)))
        total += loss_of(prediction.logits(probability), masks.to(runtime.device)).item() * len(images)
    scores = pd.concat(rows)
    return {
        "val_loss": total / len(validation),
        "val_dice": float(scores.dice.mean()),
        "val_iou": float(scores.iou.mean()),
    }
