"""From images to probabilities, and back to the images' own size."""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from naevi.config import EvaluateConfig
from naevi.dataset import scaled
from naevi.images import Pixels
from naevi.runtime import Runtime

BATCH = 32  # images at a time; it changes memory and speed only


@torch.inference_mode()
def probabilities(
    network: nn.Module, images: Tensor, runtime: Runtime, *, flips: bool = False, turns: bool = False
) -> Tensor:
    """Probabilities, float32 (N, C, H, W), for images, uint8 (N, 3, H, W); the network is on the runtime's device.

    C is 1 for two classes: the probability of the one that is not the background. For more it is their number. With
    flips, the mean over each image and its three mirror images; with turns, also over these with rows and columns
    exchanged, for which H = W.
    """
    network.eval()
    views = list(itertools.product([[], [3], [2], [2, 3]] if flips else [[]], [False, True] if turns else [False]))
    parts = []
    for uint8 in torch.split(images, BATCH):
        batch = scaled(uint8.to(runtime.device)).contiguous(memory_format=torch.channels_last)
        total = torch.zeros(())
        for axes, exchanged in views:
            view = batch.flip(axes)
            with runtime.autocast():
                logits = network(view.mT if exchanged else view).float()
            found = activated(logits)
            total = total + (found.mT if exchanged else found).flip(axes)
        parts.append(total / len(views))
    return torch.cat(parts)


def activated(logits: Tensor) -> Tensor:
    """Probabilities (N, C, H, W) from logits of that shape: by sigmoid where C is 1, else by softmax over C."""
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


def masked(probability: Tensor, settings: EvaluateConfig) -> Pixels:
    """The prediction, uint8 (H, W) of classes, that follows from probabilities, float32 (C, H, W)."""
    return cleaned(
        decided(probability, settings.threshold).numpy(),
        classes=max(2, len(probability)),
        fill_holes=settings.fill_holes,
        largest_only=settings.largest_only,
    )


def cleaned(prediction: Pixels, *, classes: int, fill_holes: bool, largest_only: bool) -> Pixels:
    """A prediction, uint8 (H, W) of classes, of which only the largest area of each is left, then without holes.

    Areas are of pixels that share a side. Only background that a class surrounds becomes part of it.
    """
    for place in range(1, classes):
        area = prediction == place
        if largest_only:
            largest = _largest(area)
            prediction = np.where(area & ~largest, np.uint8(0), prediction)
            area = largest
        if fill_holes:
            prediction = np.where(ndimage.binary_fill_holes(area) & (prediction == 0), np.uint8(place), prediction)
    return prediction


def _largest(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    numbers, _ = ndimage.label(area)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0  # what is not the area
    largest: NDArray[np.bool_] = area & (numbers == np.argmax(sizes))
    return largest
