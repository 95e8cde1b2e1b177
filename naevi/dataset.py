"""Prepared images and masks as tensors: decoded once, held whole on the device."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from naevi.images import read_image, read_mask


@dataclass(frozen=True)
class Lesions:
    """Images and masks of one size, in the order of their ids."""

    ids: list[str]
    images: Tensor  # uint8 (N, 3, H, W), 0..255
    masks: Tensor  # uint8 (N, 1, H, W), 0 ... classes - 1
    classes: int  # 2 or more, the background among them

    def __len__(self) -> int:
        """The number of images, N."""
        return len(self.ids)


def load(prepared: Path, ids: list[str], *, classes: int, device: str) -> Lesions:
    """The prepared images and masks with these ids."""
    images = np.stack([read_image(prepared / "images" / f"{image_id}.png") for image_id in ids])
    masks = np.stack([read_mask(prepared / "masks" / f"{image_id}.png") for image_id in ids])
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels_last in memory, as networks want it
    return Lesions(ids, channels_first.to(device), torch.from_numpy(masks)[:, None].to(device), classes)


def load_parts(prepared: Path, ids: dict[str, list[str]], *, classes: int, device: str) -> dict[str, Lesions]:
    """The parts of a model that have images; `all` has no val."""
    return {part: load(prepared, names, classes=classes, device=device) for part, names in ids.items() if names}


def scaled(images: Tensor) -> Tensor:
    """uint8 0..255 → float32 0..1."""
    return images.float() / 255
