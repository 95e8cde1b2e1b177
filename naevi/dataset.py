"""Prepared images and masks as tensors: decoded once, held whole on the device where they fit, else in a file."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from naevi.images import Pixels, read_image, read_mask

# In bytes: the images that are held in memory. More are mapped from a nameless file in the folder that TMPDIR names,
# and only batches go to the device. 10,000 images of 256 px fit.
RESIDENT = 2**31


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

    def batch(self, rows: Tensor, device: str) -> tuple[Tensor, Tensor]:
        """The images of these rows, float32 in 0..1, and their masks, on the device."""
        rows = rows.to(self.images.device)
        return scaled(self.images[rows].to(device)), self.masks[rows].to(device)


def load(prepared: Path, ids: list[str], *, classes: int, device: str) -> Lesions:
    """The prepared images and masks with these ids, of one size."""
    height, width = read_mask(prepared / "masks" / f"{ids[0]}.png").shape
    images, masks = _room(len(ids), height, width, 3), _room(len(ids), height, width)

    def put(row: int) -> None:
        images[row] = read_image(prepared / "images" / f"{ids[row]}.png")
        masks[row] = read_mask(prepared / "masks" / f"{ids[row]}.png")

    with ThreadPoolExecutor() as threads:
        list(threads.map(put, range(len(ids))))
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels_last in memory, as networks want it
    place = device if images.nbytes <= RESIDENT else "cpu"
    return Lesions(ids, channels_first.to(place), torch.from_numpy(masks)[:, None].to(place), classes)


def _room(*shape: int) -> Pixels:
    if np.prod(shape) <= RESIDENT:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:  # the mapping outlives it
        return np.memmap(file, np.uint8, shape=shape)


def load_parts(prepared: Path, ids: dict[str, list[str]], *, classes: int, device: str) -> dict[str, Lesions]:
    """The parts of a model that have images; `all` has no val."""
    return {part: load(prepared, names, classes=classes, device=device) for part, names in ids.items() if names}


def scaled(images: Tensor) -> Tensor:
    """uint8 0..255 → float32 0..1."""
    return images.float() / 255
