"""Training images varied in batches on the device: one resampling for all geometry, then color.

By hand, because libraries draw from a global generator or give a whole batch the same variation; here what happens to
an image depends on (seed, epoch, image id) alone, whatever the batch size and order.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from naevi.config import AugmentConfig

DRAWS = 12  # random numbers per image: what each is for stands in `augment`


def draws(ids: list[str], *, seed: int, epoch: int) -> Tensor:
    """Random numbers, float32 (N, DRAWS) in [0, 1), that depend on seed, epoch and the image's id alone."""
    rows = [np.random.default_rng([seed, epoch, zlib.crc32(image_id.encode())]).random(DRAWS) for image_id in ids]
    return torch.from_numpy(np.stack(rows)).float()


def augment(
    images: Tensor, masks: Tensor, draws: Tensor, settings: AugmentConfig, *, classes: int
) -> tuple[Tensor, Tensor]:
    """Varied images, float32 (N, 3, H, H) in 0..1, and masks of classes, (N, 1, H, H), from the same shapes.

    `draws` is (N, DRAWS) in [0, 1). Beyond the frame the picture is mirrored. With every setting off nothing changes.
    """
    if not any(settings.model_dump().values()):
        return images, masks
    signed = draws * 2 - 1  # [-1, 1)
    grid = functional.affine_grid(_geometry(draws, signed, settings), list(images.shape), align_corners=False)
    planes = [(masks == place).float() for place in range(1, classes)]
    both = torch.cat([images, *planes], dim=1)
    both = functional.grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _color(both[:, :3], signed, settings), _largest(both[:, 3:])


def _largest(planes: Tensor) -> Tensor:
    """Each pixel's class, int64 (N, 1, H, W), from the shares (N, K - 1, H, W) of all but the background."""
    background = 1 - planes.sum(dim=1, keepdim=True)
    shares = torch.cat([planes, background], dim=1)  # last, so that it loses where two are equal
    # Not argmax, which takes 90 ms on a CPU where max takes 1.4.
    return (shares.max(dim=1, keepdim=True).indices + 1) % shares.shape[1]


def _geometry(draws: Tensor, signed: Tensor, settings: AugmentConfig) -> Tensor:
    """Matrices (N, 2, 3) from target to source: draws 0, 1 flip; 2 turns; 3 scales; 4, 5 shift."""
    mirror = 1 - 2 * (draws[:, :2] < 0.5).float() if settings.flips else torch.ones_like(draws[:, :2])
    angle = signed[:, 2] * math.radians(settings.rotation)
    # As often to half the size as to double it.
    size = (1 + settings.scale) ** signed[:, 3]
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    turn = torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)
    shift = 2 * settings.shift * signed[:, 4:6]  # affine_grid's frame is [-1, 1]
    return torch.cat([turn * mirror[:, None, :], shift[:, :, None]], dim=2)


def _color(images: Tensor, signed: Tensor, settings: AugmentConfig) -> Tensor:
    """Draw 6 brightens, 7 sets contrast, 8 saturation, 9 to 11 the channels."""
    factor = signed[:, 6:, None, None]  # (N, 6, 1, 1)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (1 + settings.saturation * factor[:, 2:3])
    mean = images.mean(dim=(2, 3), keepdim=True)
    images = mean + (images - mean) * (1 + settings.contrast * factor[:, 1:2])
    images = images * (1 + settings.tint * factor[:, 3:6]) + settings.brightness * factor[:, 0:1]
    return images.clamp(0, 1)
