"""Set up a training and run the steps of an epoch."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from naevi.config import TrainConfig
from naevi.dataset import PreparedImages
from naevi.errors import UserError
from naevi.models.build import NormalizedNetwork
from naevi.models.device import ComputeSettings
from naevi.models.distributed import data_parallel, local_rows, world_size
from naevi.training.augmentation import augment
from naevi.training.checkpoint import Stateful
from naevi.training.cuda_graph import Step, capture_step
from naevi.training.depthwise import fast_depthwise
from naevi.training.losses import LossFunction, build_loss
from naevi.training.upsampling import fuse_upsampling

BatchLoss = tuple[Tensor, Tensor]  # rows of a batch, int64 (B,), and its loss


class WeightAverage:
    """The exponential moving average of a network's weights over steps. With a decay of 0 it is the network itself."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from the network's present weights."""
        self.decay = decay
        self.network = copy.deepcopy(network) if decay else network
        # Only floating-point values: the batch counters of batch norm are not averaged.
        self.ema_values, self.current_values = (
            [value for value in module.state_dict().values() if value.is_floating_point()]
            for module in (self.network, network)
        )
        self._update: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch has no hints there

    def update(self) -> None:
        """Add the network's weights after a step."""
        if self.decay:
            self._update(self.ema_values, self.current_values, None)

    def copy_to_network(self) -> None:
        """Replace the network's weights by their average."""
        for value, mean in zip(self.current_values, self.ema_values, strict=True):
            value.copy_(mean)


@dataclass(frozen=True)
class Trainer:
    """All that the steps of a training need."""

    network: NormalizedNetwork
    average: WeightAverage
    optimizer: AdamW
    schedule: LRScheduler
    loss_function: LossFunction
    compute: ComputeSettings
    forward_backward: Step  # images, masks, random numbers, weight → loss; leaves gradients at the parameters
    build_step: Callable[[], Step]  # another forward_backward, for the parameters that need gradients now
    steps_per_epoch: int
    freezable: tuple[nn.Parameter, ...]  # the weights of the encoder if it is frozen in any epoch
    frozen_encoder: nn.Module | None = None  # while its weights and its batch-norm statistics stay as they are

    def state(self) -> dict[str, Stateful]:
        """Return what a checkpoint keeps."""
        return {
            "network": self.network,
            "averaged": self.average.network,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }


def set_up_training(
    network: NormalizedNetwork, images: PreparedImages, settings: TrainConfig, compute: ComputeSettings
) -> Trainer:
    """Return a trainer whose network is laid out for speed; parameters and their names stay."""
    network.to(memory_format=torch.channels_last)  # two to three times as fast
    if compute.device == "cpu":
        fuse_upsampling(network)
    # Batches of nearly equal size, each image once an epoch. Every process gets at least two images of each batch,
    # because batch norm fails on one.
    steps = min(math.ceil(len(images) / settings.batch_size), len(images) // (2 * world_size()))
    average = WeightAverage(network, settings.average)
    optimizer = AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    schedule = _schedule(optimizer, settings, total_steps=settings.epochs * steps)
    void = images.has_void()
    loss_function = build_loss(settings.loss, void=void)

    def build_step() -> Step:
        parallel = data_parallel(network)

        def forward_backward(batch: Tensor, masks: Tensor, random_numbers: Tensor, weight: Tensor) -> Tensor:
            batch, masks = augment(batch, masks, random_numbers, settings.augment, classes=images.classes, void=void)
            with compute.autocast(), fast_depthwise(compute):
                logits = parallel(batch.contiguous(memory_format=torch.channels_last))
            loss = loss_function(logits, masks) * weight
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no hints there
            return loss.detach()

        return capture_step(forward_backward, network, compute)

    weights = network.body.get_submodule("encoder").parameters() if settings.freeze_encoder else ()
    freezable = tuple(weight for weight in weights if weight.requires_grad)
    step = build_step()
    return Trainer(network, average, optimizer, schedule, loss_function, compute, step, build_step, steps, freezable)


def freeze_encoder(trainer: Trainer, *, frozen: bool) -> Trainer:
    """Return the trainer with weights and batch-norm statistics of the encoder frozen, or no longer frozen.

    Frozen weights have no gradient, so AdamW neither changes nor decays them, and its state of them begins later.
    """
    if frozen == (trainer.frozen_encoder is not None):
        return trainer
    for weight in trainer.freezable:
        weight.requires_grad_(not frozen)
        weight.grad = None
    # CUDA graphs and DistributedDataParallel are made for fixed modes and a fixed set of gradients.
    encoder = trainer.network.body.get_submodule("encoder") if frozen else None
    return replace(trainer, frozen_encoder=encoder, forward_backward=trainer.build_step())


def run_epoch(
    trainer: Trainer, images: PreparedImages, order: Tensor, random_numbers: Tensor
) -> tuple[list[BatchLoss], float]:
    """Run the steps of an epoch; return each batch with its loss, and the learning rate of the last step.

    `order` is int64 (N,), `random_numbers` are those of `draw_random_numbers`, float32 (N, N_DRAWS).
    """
    trainer.network.train()
    if trainer.frozen_encoder:
        trainer.frozen_encoder.eval()
    batch_losses = []
    for batch in order.tensor_split(trainer.steps_per_epoch):
        rows = local_rows(batch)
        # The parts of the processes can differ by one image, and their mean must be that of the batch.
        weight = torch.full((), len(rows) * world_size() / len(batch), device=trainer.compute.device)
        loss = trainer.forward_backward(*images.batch(rows, trainer.compute.device), random_numbers[rows], weight)
        trainer.optimizer.step()
        trainer.average.update()
        lr = trainer.schedule.get_last_lr()[0]
        trainer.schedule.step()
        batch_losses.append((batch, loss.clone()))  # the next step of a CUDA graph overwrites its loss
    return batch_losses, float(lr)


def mean_loss(batch_losses: list[BatchLoss], epoch: int, images: PreparedImages) -> float:
    """Return the mean loss over an epoch's images. It is read once an epoch, so that no step waits for it.

    Raises UserError if the loss of a batch is not finite.
    """
    values: list[float] = torch.stack([loss for _, loss in batch_losses]).tolist()
    for step, ((batch, _), value) in enumerate(zip(batch_losses, values, strict=True), start=1):
        if not math.isfinite(value):
            ids = [images.ids[row] for row in batch]
            raise UserError(
                f"The loss became {value} in epoch {epoch}, step {step}, on {', '.join(ids)}. "
                "Lower train.lr or set runtime.precision to fp32."
            )
    return sum(value * len(batch) for (batch, _), value in zip(batch_losses, values, strict=True)) / len(images)


def _schedule(optimizer: AdamW, settings: TrainConfig, *, total_steps: int) -> LRScheduler:
    if settings.schedule == "constant":
        return LambdaLR(optimizer, lambda _: 1.0)
    return OneCycleLR(optimizer, max_lr=settings.lr, total_steps=total_steps)
