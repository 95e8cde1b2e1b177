"""Augment training images in batches on the device: one resampling for all geometry, then color, vignette and hairs.

Implemented here because libraries draw from a global generator or vary a whole batch in the same way. Here the
augmentation of an image depends on (seed, epoch, image id) alone, whatever the batch size and order.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from naevi.config import AugmentConfig
from naevi.images.files import VOID

MAX_HAIRS = 20  # the upper bound of train.augment.hairs
CONTROL_POINTS = 4  # of the elastic field, per side
NUMBERS_PER_HAIR = 7  # random numbers of each hair
# Random numbers per image by use. New ones must be added at the end, so that the others don't change.
GEOMETRY, COLOR, ELASTIC, VIGNETTE, HAIRS = 6, 6, 2 * CONTROL_POINTS**2, 4, 1 + MAX_HAIRS * NUMBERS_PER_HAIR
DRAW_GROUPS = [GEOMETRY, COLOR, ELASTIC, VIGNETTE, HAIRS]
N_DRAWS = sum(DRAW_GROUPS)


def draw_random_numbers(ids: list[str], *, seed: int, epoch: int) -> Tensor:
    """Return random numbers, float32 (N, N_DRAWS) in [0, 1), that depend on seed, epoch and image id alone."""
    rows = [np.random.default_rng([seed, epoch, zlib.crc32(image_id.encode())]).random(N_DRAWS) for image_id in ids]
    return torch.from_numpy(np.stack(rows)).float()


def augment(
    images: Tensor, masks: Tensor, draws: Tensor, settings: AugmentConfig, *, classes: int, void: bool
) -> tuple[Tensor, Tensor]:
    """Return augmented images, float32 (N, 3, H, H) in 0..1, and masks, (N, 1, H, H) of class indices.

    `void` tells whether masks can have VOID pixels. `draws` are random numbers, (N, N_DRAWS) in [0, 1). Outside the
    frame the image is mirrored. Without any active setting nothing changes.
    """
    if not any(settings.model_dump().values()):
        return images, masks
    geometry, color, elastic, vignette, hairs = torch.split(draws, DRAW_GROUPS, dim=1)
    grid = functional.affine_grid(_geometry(geometry, settings), list(images.shape), align_corners=False)
    if settings.elastic:
        grid = grid + _elastic(_to_signed(elastic), images.shape[-1], settings)
    planes = [(masks == class_index).float() for class_index in [*range(1, classes), *[VOID] * void]]
    both = torch.cat([images, *planes], dim=1)
    both = functional.grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    images = _color(both[:, :3], _to_signed(color), settings)
    if settings.vignette:
        images = _vignette(images, vignette, settings)
    if settings.hairs:
        images = _hairs(images, hairs, settings)
    masks = _to_class_map(both[:, 3:])
    return images, masks.where(masks < classes, VOID) if void else masks


def _to_signed(draws: Tensor) -> Tensor:
    return draws * 2 - 1  # [-1, 1)


def _to_class_map(planes: Tensor) -> Tensor:
    """Return each pixel's class, int64 (N, 1, H, W), for the shares (N, K - 1, H, W) of the foreground classes.

    If they also have the share of VOID as their last, its index is K.
    """
    background = 1 - planes.sum(dim=1, keepdim=True)
    shares = torch.cat([planes, background], dim=1)  # last, so that it loses a tie
    # Not argmax, which takes 90 ms on a CPU; max takes 1.4 ms.
    return (shares.max(dim=1, keepdim=True).indices + 1) % shares.shape[1]


def _geometry(draws: Tensor, settings: AugmentConfig) -> Tensor:
    """Return matrices (N, 2, 3) from target to source. Draws 0 and 1 flip, 2 rotates, 3 scales, 4 and 5 shift."""
    signed = _to_signed(draws)
    mirror = 1 - 2 * (draws[:, :2] < 0.5).float() if settings.flips else torch.ones_like(draws[:, :2])
    angle = signed[:, 2] * math.radians(settings.rotation)
    # Half the size is as likely as double the size.
    size = (1 + settings.scale) ** signed[:, 3]
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    turn = torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)
    shift = 2 * settings.shift * signed[:, 4:6]  # affine_grid's frame is [-1, 1]
    return torch.cat([turn * mirror[:, None, :], shift[:, :, None]], dim=2)


def _elastic(signed: Tensor, size: int, settings: AugmentConfig) -> Tensor:
    """Return how far each pixel's source moves, (N, H, H, 2), smooth between the control points."""
    field = signed.view(-1, 2, CONTROL_POINTS, CONTROL_POINTS) * 2 * settings.elastic  # affine_grid's frame is [-1, 1]
    smooth = functional.interpolate(field, size=(size, size), mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)


def _color(images: Tensor, signed: Tensor, settings: AugmentConfig) -> Tensor:
    """Draw 0 sets brightness, 1 contrast, 2 saturation, 3 to 5 the tint of the channels."""
    factor = signed[:, :, None, None]  # (N, 6, 1, 1)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (1 + settings.saturation * factor[:, 2:3])
    mean = images.mean(dim=(2, 3), keepdim=True)
    images = mean + (images - mean) * (1 + settings.contrast * factor[:, 1:2])
    images = images * (1 + settings.tint * factor[:, 3:6]) + settings.brightness * factor[:, 0:1]
    return images.clamp(0, 1)


def _vignette(images: Tensor, draws: Tensor, settings: AugmentConfig) -> Tensor:
    """Darken the corners, as a dermatoscope does. Draw 0 sets the strength, 1 and 2 the center, 3 the radius."""
    strength, right, down, wide = draws[:, :, None, None].unbind(dim=1)  # (N, 1, 1)
    x, y = _pixel_coordinates(images)
    radius = torch.hypot(x - 0.2 * _to_signed(right), y - 0.2 * _to_signed(down))
    shade = ((radius - 0.8 - 0.4 * wide) / 0.3).clamp(0, 1)
    return images * (1 - settings.vignette * strength * shade)[:, None]


def _hairs(images: Tensor, draws: Tensor, settings: AugmentConfig) -> Tensor:
    """Draw dark parabolas. Draw 0 sets their number, NUMBERS_PER_HAIR others the shape of each one."""
    x, y = _pixel_coordinates(images)
    number = (draws[:, 0, None, None] * (settings.hairs + 1)).floor()
    clear = torch.ones_like(images[:, 0])
    for hair in range(settings.hairs):
        numbers = draws[:, 1 + hair * NUMBERS_PER_HAIR :][:, :NUMBERS_PER_HAIR, None, None]
        right, down, turn, bend, length, width, shade = numbers.unbind(dim=1)  # (N, 1, 1)
        cos, sin = torch.cos(math.pi * turn), torch.sin(math.pi * turn)
        across, up = x - _to_signed(right), y - _to_signed(down)
        along, off = cos * across + sin * up, cos * up - sin * across
        # 0.6 to 2 px wide in an image of 160 px.
        distance = (off - 0.5 * _to_signed(bend) * along.square()).abs() / (0.004 + 0.008 * width)
        there = (along.abs() < 0.2 + 0.8 * length) & (hair < number)
        clear = clear * (1 - (0.3 + 0.6 * shade) * (1.5 - distance).clamp(0, 1) * there)
    return images * clear[:, None]


def _pixel_coordinates(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates of pixels, x (W,) and y (H, 1), in [-1, 1]."""
    height, width = images.shape[2:]
    x, y = (torch.linspace(-1, 1, side, device=images.device) for side in (width, height))
    return x, y[:, None]
