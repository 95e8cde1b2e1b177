"""From images to probabilities, and back to the images' own size."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from naevi.dataset import scaled
from naevi.runtime import Runtime

BATCH = 32  # images at a time; it changes memory and speed only


@torch.inference_mode()
def probabilities(network: nn.Module, images: Tensor, runtime: Runtime, *, flips: bool) -> Tensor:
    """Lesion probabilities, float32 (N, 1, H, W), for images, uint8 (N, 3, H, W) on the network's device.

    With flips, the mean over each image and its three mirror images.
    """
    network.eval()
    mirrors: list[list[int]] = [[], [3], [2], [2, 3]] if flips else [[]]
    parts = []
    for uint8 in torch.split(images, BATCH):
        batch = scaled(uint8).contiguous(memory_format=torch.channels_last)
        total = torch.zeros_like(batch[:, :1])
        for axes in mirrors:
            with runtime.autocast():
                logits = network(batch.flip(axes))
            total += logits.float().sigmoid().flip(axes)
        parts.append(total / len(mirrors))
    return torch.cat(parts)


def at_size(probability: Tensor, *, height: int, width: int) -> Tensor:
    """The probability of one image, float32 (1, H, W), brought to float32 (height, width) by bilinear interpolation."""
    return functional.interpolate(probability[None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
