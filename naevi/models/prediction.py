"""From images to probabilities, with test-time augmentation."""

import itertools

import torch
from torch import Tensor, nn

from naevi.models.device import ComputeSettings

BATCH_SIZE = 32  # images at a time; changes memory and speed only


@torch.inference_mode()
def predict_probabilities(
    network: nn.Module, images: Tensor, compute: ComputeSettings, *, flips: bool = False, turns: bool = False
) -> Tensor:
    """Return probabilities, float32 (N, C, H, W), for images uint8 (N, 3, H, W). The network is on compute's device.

    With two classes C is 1: the foreground's probability. Otherwise C is the number of classes. `flips` averages over
    the image and its three mirror images. `turns` also averages over these with rows and columns exchanged, which
    needs H = W.
    """
    network.eval()
    views = list(itertools.product([[], [3], [2], [2, 3]] if flips else [[]], [False, True] if turns else [False]))
    parts = []
    for chunk in torch.split(images, BATCH_SIZE):
        batch = scale_pixels(chunk.to(compute.device)).contiguous(memory_format=torch.channels_last)
        total = torch.zeros(())
        for axes, transpose in views:
            view = batch.flip(axes)
            with compute.autocast():
                logits = network(view.mT if transpose else view).float()
            probability = to_probabilities(logits)
            total = total + (probability.mT if transpose else probability).flip(axes)
        parts.append(total / len(views))
    return torch.cat(parts)


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
