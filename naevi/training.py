"""Fitting a network: the loop."""

import copy
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from naevi import augmentation, losses, metrics, networks, prediction, processes, upsampling
from naevi.checkpoint import Checkpoint, Row, Stateful
from naevi.config import TrainConfig
from naevi.dataset import Lesions
from naevi.images import Pixels
from naevi.progress import progress
from naevi.refusal import Refusal
from naevi.runtime import Runtime, told_of_memory

LossFunction = Callable[[Tensor, Tensor], Tensor]
PART = 256  # validation images in memory at a time


@told_of_memory()
def fit(
    network: networks.Normalized,
    lesions: Lesions,
    validation: Lesions | None,
    settings: TrainConfig,
    runtime: Runtime,
    checkpoint: Checkpoint,
    on_epoch: Callable[[Row, Pixels | None], None],
) -> pd.DataFrame:
    """Fit the network, in place and on its device, to the lesions; return the history, one row an epoch.

    Columns: epoch (from 1), lr (of its last step), train_loss; with a validation part also val_loss, val_dice and
    val_iou, means over its images and classes at the training size. Nothing is chosen by them: the last epoch's network
    stays, or its average over steps where `settings.average` asks for that. on_epoch is given each row, and the
    predictions of the validation part, uint8 (N, H, W) of classes.

    It goes on from the checkpoint where an earlier call was ended, to the bytes that call would have come to; on_epoch
    then hears of the epochs that were left.

    Several processes (see `processes`) share each batch; normalization then sees a process' share only.

    Raises Refusal when the loss is not finite, there are fewer images than a batch has, the network can't take their
    size, or memory is full.
    """
    _check(network, lesions, settings)
    network.to(memory_format=torch.channels_last)  # two to three times as fast
    if runtime.device == "cpu":
        upsampling.join(network)
    # Parts of nearly equal size: each image once an epoch, and no batch of one, on which batch norm would fail.
    steps = min(math.ceil(len(lesions) / settings.batch_size), len(lesions) // (2 * processes.number()))
    forward = processes.together(network)
    averaged = copy.deepcopy(network) if settings.average else network
    # Numbers alone: what counts steps is not averaged.
    smooth, latest = ([v for v in n.state_dict().values() if v.is_floating_point()] for n in (averaged, network))
    average = get_ema_multi_avg_fn(settings.average)  # type: ignore[no-untyped-call]  # torch has no hints there
    optimizer = AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    schedule = _schedule(optimizer, settings, total_steps=settings.epochs * steps)
    loss_of = losses.loss(settings.loss)

    def backward(images: Tensor, masks: Tensor, numbers: Tensor, weight: Tensor) -> Tensor:
        """The loss of a batch, varied by its random numbers; its gradients are left at the parameters."""
        images, masks = augmentation.augment(images, masks, numbers, settings.augment, classes=lesions.classes)
        with runtime.autocast():
            logits = forward(images.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits, masks) * weight
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # nor there
        return loss.detach()

    def plan(epoch: int) -> tuple[Tensor, Tensor]:
        """The order of an epoch's images, and each image's random numbers; on the device, so that no step waits."""
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(lesions))
        numbers = augmentation.draws(lesions.ids, seed=settings.seed, epoch=epoch)
        return torch.from_numpy(order).to(runtime.device), numbers.to(runtime.device)

    gradients = runtime.recorded(backward, network)
    parts: dict[str, Stateful] = {
        "network": network,
        "averaged": averaged,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    history = checkpoint.restore(parts)
    order, draws = plan(len(history) + 1)
    left = range(len(history) + 1, settings.epochs + 1)
    for epoch in progress(left, total=len(left), label="train", unit="images", scale=len(lesions)):
        network.train()
        seen = []
        for batch in order.tensor_split(steps):
            rows = processes.share(batch)
            # Shares differ by an image, and the mean over processes must be the batch's.
            weight = torch.full((), len(rows) * processes.number() / len(batch), device=runtime.device)
            loss = gradients(*lesions.batch(rows, runtime.device), draws[rows], weight).clone()
            optimizer.step()
            if settings.average:
                average(smooth, latest, None)
            lr = schedule.get_last_lr()[0]
            schedule.step()
            seen.append((batch, loss))
        order, draws = plan(epoch + 1)  # while a GPU is still at this one's steps
        row: Row = {"lr": float(lr), "train_loss": processes.total(_mean(seen, epoch, lesions)) / processes.number()}
        predictions = None
        if validation is not None and processes.is_first():
            scores, predictions = _validate(averaged, validation, loss_of, runtime)
            row |= scores
        # Six digits, so that files and MLflow show the same.
        row = {"epoch": epoch} | {key: float(f"{value:.6g}") for key, value in row.items()}
        history.append(row)
        on_epoch(row, predictions)
        checkpoint.keep(parts, history)
    for value, mean in zip(latest, smooth, strict=True):
        value.copy_(mean)
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


def _validate(network: nn.Module, validation: Lesions, loss_of: LossFunction, runtime: Runtime) -> tuple[Row, Pixels]:
    total, rows, found = 0.0, [], []
    parts = (torch.split(tensor, PART) for tensor in (validation.images, validation.masks))
    for images, masks in zip(*parts, strict=True):
        probability = prediction.probabilities(network, images, runtime)
        predictions = prediction.decided(probability, 0.5).cpu().numpy()
        found.append(predictions)
        rows.append(metrics.scores(metrics.counts(masks[:, 0].cpu(), predictions, classes=validation.classes)))
        total += loss_of(prediction.logits(probability), masks.to(runtime.device)).item() * len(images)
    scores = pd.concat(rows)
    row = {
        "val_loss": total / len(validation),
        "val_dice": float(scores.dice.mean()),
        "val_iou": float(scores.iou.mean()),
    }
    return row, np.concatenate(found)
