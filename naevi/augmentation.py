"""Training images varied in batches on the device: one resampling for all geometry, then color, shade and hairs.

By hand, because libraries draw from a global generator or give a whole batch the same variation; here what happens to
an image depends on (seed, epoch, image id) alone, whatever the batch size and order.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from naevi.config import MOST_HAIRS, AugmentConfig

CONTROL = 4  # control points of the elastic field a side
HAIR = 7  # random numbers a hair
# Random numbers per image by what they are for. New ones go to the end: then the others stay what they were.
GEOMETRY, COLOR, ELASTIC, VIGNETTE, HAIRS = 6, 6, 2 * CONTROL**2, 4, 1 + MOST_HAIRS * HAIR
PARTS = [GEOMETRY, COLOR, ELASTIC, VIGNETTE, HAIRS]
DRAWS = sum(PARTS)


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
    geometry, color, elastic, vignette, hairs = torch.split(draws, PARTS, dim=1)
    grid = functional.affine_grid(_geometry(geometry, settings), list(images.shape), align_corners=False)
    if settings.elastic:
        grid = grid + _elastic(_signed(elastic), images.shape[-1], settings)
    planes = [(masks == place).float() for place in range(1, classes)]
    both = torch.cat([images, *planes], dim=1)
    both = functional.grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    images = _color(both[:, :3], _signed(color), settings)
    if settings.vignette:
        images = _vignette(images, vignette, settings)
    if settings.hairs:
        images = _hairs(images, hairs, settings)
    return images, _largest(both[:, 3:])


def _signed(draws: Tensor) -> Tensor:
    return draws * 2 - 1  # [-1, 1)


def _largest(planes: Tensor) -> Tensor:
    """Each pixel's class, int64 (N, 1, H, W), from the shares (N, K - 1, H, W) of all but the background."""
    background = 1 - planes.sum(dim=1, keepdim=True)
    shares = torch.cat([planes, background], dim=1)  # last, so that it loses where two are equal
    # Not argmax, which takes 90 ms on a CPU where max takes 1.4.
    return (shares.max(dim=1, keepdim=True).indices + 1) % shares.shape[1]


def _geometry(draws: Tensor, settings: AugmentConfig) -> Tensor:
    """Matrices (N, 2, 3) from target to source: draws 0, 1 flip; 2 turns; 3 scales; 4, 5 shift."""
    signed = _signed(draws)
    mirror = 1 - 2 * (draws[:, :2] < 0.5).float() if settings.flips else torch.ones_like(draws[:, :2])
    angle = signed[:, 2] * math.radians(settings.rotation)
    # As often to half the size as to double it.
    size = (1 + settings.scale) ** signed[:, 3]
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    turn = torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)
    shift = 2 * settings.shift * signed[:, 4:6]  # affine_grid's frame is [-1, 1]
    return torch.cat([turn * mirror[:, None, :], shift[:, :, None]], dim=2)


def _elastic(signed: Tensor, size: int, settings: AugmentConfig) -> Tensor:
    """How far each pixel's source moves, (N, H, H, 2): a smooth surface over the control points, (N, 2 * CONTROL²)."""
    field = signed.view(-1, 2, CONTROL, CONTROL) * 2 * settings.elastic  # affine_grid's frame is [-1, 1]
    smooth = functional.interpolate(field, size=(size, size), mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)


def _color(images: Tensor, signed: Tensor, settings: AugmentConfig) -> Tensor:
    """Draw 0 brightens, 1 sets contrast, 2 saturation, 3 to 5 the channels."""
    factor = signed[:, :, None, None]  # (N, 6, 1, 1)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (1 + settings.saturation * factor[:, 2:3])
    mean = images.mean(dim=(2, 3), keepdim=True)
    images = mean + (images - mean) * (1 + settings.contrast * factor[:, 1:2])
    images = images * (1 + settings.tint * factor[:, 3:6]) + settings.brightness * factor[:, 0:1]
    return images.clamp(0, 1)


def _vignette(images: Tensor, draws: Tensor, settings: AugmentConfig) -> Tensor:
    """The dark corners of a dermatoscope: draw 0 darkens, 1 and 2 move its middle, 3 widens the bright disk."""
    strength, right, down, wide = draws[:, :, None, None].unbind(dim=1)  # (N, 1, 1)
    x, y = _frame(images)
    radius = torch.hypot(x - 0.2 * _signed(right), y - 0.2 * _signed(down))
    shade = ((radius - 0.8 - 0.4 * wide) / 0.3).clamp(0, 1)
    return images * (1 - settings.vignette * strength * shade)[:, None]


def _hairs(images: Tensor, draws: Tensor, settings: AugmentConfig) -> Tensor:
    """Dark parabolas: draw 0 decides how many, HAIR others each one's place, turn, bend, length, width and shade."""
    x, y = _frame(images)
    number = (draws[:, 0, None, None] * (settings.hairs + 1)).floor()
    clear = torch.ones_like(images[:, 0])
    for hair in range(settings.hairs):
        numbers = draws[:, 1 + hair * HAIR :][:, :HAIR, None, None]
        right, down, turn, bend, length, width, shade = numbers.unbind(dim=1)  # (N, 1, 1)
        cos, sin = torch.cos(math.pi * turn), torch.sin(math.pi * turn)
        across, up = x - _signed(right), y - _signed(down)
        along, off = cos * across + sin * up, cos * up - sin * across
        # In px of a picture of 160: .6 to 2 wide.
        distance = (off - 0.5 * _signed(bend) * along.square()).abs() / (0.004 + 0.008 * width)
        there = (along.abs() < 0.2 + 0.8 * length) & (hair < number)
        clear = clear * (1 - (0.3 + 0.6 * shade) * (1.5 - distance).clamp(0, 1) * there)
    return images * clear[:, None]


def _frame(images: Tensor) -> tuple[Tensor, Tensor]:
    """Where pixels lie, x (W) and y (H, 1), in a frame of [-1, 1]."""
    height, width = images.shape[2:]
    x, y = (torch.linspace(-1, 1, side, device=images.device) for side in (width, height))
    return x, y[:, None]
