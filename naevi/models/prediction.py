"""From images to probabilities, with test-time augmentation."""

import itertools

import torch
from torch import Tensor, nn

from naevi.errors import UserError, describe_error
from naevi.models.device import ComputeSettings

# How many images are predicted at a time changes memory and speed only.
BATCH_SIZE = 32  # at most
BATCH_PIXELS = BATCH_SIZE * 160**2  # at most, in all images of a batch
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory")  # in torch's messages about the CPU


@torch.inference_mode()
def predict_probabilities(
    network: nn.Module, images: Tensor, compute: ComputeSettings, *, flips: bool = False, turns: bool = False
) -> Tensor:
    """Return probabilities, float32 (N, C, H, W), for images uint8 (N, 3, H, W). The network is on compute's device.

    With two classes C is 1: the foreground's probability. Otherwise C is the number of classes. `flips` averages over
    the image and its three mirror images. `turns` also averages over these with rows and columns exchanged, which
    needs H = W.

    Raises UserError if one image needs more memory than there is, and if a probability isn't finite.
    """
    network.eval()
    views = list(itertools.product([[], [3], [2], [2, 3]] if flips else [[]], [False, True] if turns else [False]))
    number = min(BATCH_SIZE, max(1, BATCH_PIXELS // (images.shape[2] * images.shape[3])))
    probabilities = torch.cat([_predict_batch(network, batch, compute, views) for batch in torch.split(images, number)])
    if not probabilities.isfinite().all():
        raise UserError(
            "The model's probabilities aren't finite, so its weights are damaged or its training failed. Train it "
            "again, with a lower train.lr, or use another model."
        )
    return probabilities


def _predict_batch(
    network: nn.Module, images: Tensor, compute: ComputeSettings, views: list[tuple[list[int], bool]]
) -> Tensor:
    """Return the mean probabilities over these views. If the memory isn't enough, the batch is halved."""
    try:
        # One image as a batch of two, because for one alone torch can choose another way to compute.
        pair = images.expand(2, -1, -1, -1) if len(images) == 1 else images
        return _mean_over_views(network, pair, compute, views)[: len(images)]
    except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(text in str(error) for text in OUT_OF_MEMORY):
            raise
        if len(images) == 1:
            raise UserError(
                f"There isn't enough memory to predict one image of {images.shape[3]} px "
                f"({describe_error(error)[:100]}). Lower preprocess.size, choose a smaller model.encoder, or set "
                "runtime.device to cpu."
            ) from error
    # Not inside `except`, because the error keeps what was allocated.
    return torch.cat([_predict_batch(network, half, compute, views) for half in images.tensor_split(2)])


def _mean_over_views(
    network: nn.Module, images: Tensor, compute: ComputeSettings, views: list[tuple[list[int], bool]]
) -> Tensor:
    batch = scale_pixels(images.to(compute.device)).contiguous(memory_format=torch.channels_last)
    total = torch.zeros(())
    for axes, transpose in views:
        view = batch.flip(axes)
        with compute.autocast():
            logits = network(view.mT if transpose else view).float()
        probability = to_probabilities(logits)
        total = total + (probability.mT if transpose else probability).flip(axes)
    return total / len(views)


def scale_pixels(images: Tensor) -> Tensor:
    """Return pixels of uint8 0..255 as float32 0..1."""
    return images.float() / 255


def to_probabilities(logits: Tensor) -> Tensor:
    """Return probabilities (N, C, H, W) for logits of that shape: sigmoid if C is 1, otherwise softmax over C."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def to_logits(probability: Tensor) -> Tensor:
    """Return logits (N, C, H, W) that have these probabilities, as losses expect them."""
    return torch.logit(probability, eps=1e-6) if probability.shape[1] == 1 else probability.clamp_min(1e-6).log()


def to_class_map(probability: Tensor, threshold: float) -> Tensor:
    """Return the class of each pixel, uint8 (..., H, W), for probabilities (..., C, H, W).

    With two classes a pixel is foreground if its probability is at least `threshold`. Otherwise the most probable class
    is chosen.
    """
    if probability.shape[-3] == 1:
        return (probability >= threshold).squeeze(-3).to(torch.uint8)
    return probability.max(dim=-3).indices.to(torch.uint8)  # argmax takes thirty times as long on a CPU
