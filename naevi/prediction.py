"""From images to probabilities, and back to the images' own size."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from naevi.dataset import scaled
from naevi.runtime import Runtime

BATCH = 32  # images at a time; it changes memory and speed only


@torch.inference_mode()
def probabilities(network: nn.Module, images: Tensor, runtime: Runtime, *, flips: bool) -> Tensor:
    """Probabilities, float32 (N, C, H, W), for images, uint8 (N, 3, H, W) on the network's device.

    C is 1 for two classes: the probability of the one that is not the background. For more it is their number. With
    flips, the mean over each image and its three mirror images.
    """
    network.eval()
    mirrors: list[list[int]] = [[], [3], [2], [2, 3]] if flips else [[]]
    parts = []
    for uint8 in torch.split(images, BATCH):
        batch = scaled(uint8).contiguous(memory_format=torch.channels_last)
        total = torch.zeros(())
        for axes in mirrors:
            with runtime.autocast():
                logits = network(batch.flip(axes)).float()
            total = total + _activated(logits).flip(axes)
        parts.append(total / len(mirrors))
    return torch.cat(parts)


def _activated(logits: Tensor) -> Tensor:
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def logits(probability: Tensor) -> Tensor:
    """Logits (N, C, H, W) that have these probabilities, for a loss."""
    return torch.logit(probability, eps=1e-6) if probability.shape[1] == 1 else probability.clamp_min(1e-6).log()


def at_size(probability: Tensor, *, height: int, width: int) -> Tensor:
    """The probability of one image, float32 (C, H, W), brought to (C, height, width) by bilinear interpolation."""
    return functional.interpolate(probability[None], size=(height, width), mode="bilinear", align_corners=False)[0]


def decided(probability: Tensor, threshold: float) -> Tensor:
    """The class of each pixel, uint8 (..., H, W), from probabilities (..., C, H, W): the likeliest.

    Of two classes the one that is not the background wins from `threshold` on.
    """
    if probability.shape[-3] == 1:
        return (probability >= threshold).squeeze(-3).to(torch.uint8)
    return probability.max(dim=-3).indices.to(torch.uint8)  # argmax takes thirty times as long on a CPU
