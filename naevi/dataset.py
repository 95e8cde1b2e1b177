"""Prepared images and masks as tensors, in memory if they fit, otherwise in a memory-mapped file."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from naevi.images.files import VOID, Pixels
from naevi.images.folders import stored_image, stored_mask
from naevi.models.prediction import scale_pixels
from naevi.parallel.processes import cores

# More bytes of images are mapped from a nameless file in the folder that TMPDIR names, and only batches are copied to
# the device. 10,000 images of 256 px fit.
MAX_RESIDENT_BYTES = 2**31


@dataclass(frozen=True)
class PreparedImages:
    """Images and masks of one size, in the order of `ids`."""

    ids: list[str]
    images: Tensor  # uint8 (N, 3, H, W), 0..255
    masks: Tensor  # uint8 (N, 1, H, W), 0 ... classes - 1, or VOID
    classes: int  # at least 2, background included

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def has_void(self) -> bool:
        """Return whether a mask has pixels without a known class."""
        return bool((self.masks == VOID).any())

    def batch(self, rows: Tensor, device: str) -> tuple[Tensor, Tensor]:
        """Return the images of these rows, float32 in 0..1, and their masks, on the device."""
        rows = rows.to(self.images.device)
        return scale_pixels(self.images[rows].to(device)), self.masks[rows].to(device)


def load_images(prepared: Path, ids: list[str], *, classes: int, device: str) -> PreparedImages:
    """Return the prepared images and masks with these ids, which have one size."""
    height, width = stored_mask(prepared / "masks", ids[0]).shape
    images, masks = _allocate(len(ids), height, width, 3), _allocate(len(ids), height, width)

    def read(row: int) -> None:
        images[row] = stored_image(prepared / "images", ids[row])
        masks[row] = stored_mask(prepared / "masks", ids[row])

    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(read, range(len(ids))))
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels_last in memory, the fastest layout
    location = device if images.nbytes <= MAX_RESIDENT_BYTES else "cpu"
    return PreparedImages(ids, channels_first.to(location), torch.from_numpy(masks)[:, None].to(location), classes)


def _allocate(*shape: int) -> Pixels:
    if np.prod(shape) <= MAX_RESIDENT_BYTES:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:  # the mapping stays valid after the file is closed
        return np.memmap(file, np.uint8, shape=shape)


def load_parts(prepared: Path, ids: dict[str, list[str]], *, classes: int, device: str) -> dict[str, PreparedImages]:
    """Return the parts (train, val) that have images. The model `all` has no val."""
    return {part: load_images(prepared, names, classes=classes, device=device) for part, names in ids.items() if names}


def image_ids(split: pd.DataFrame, model_name: str, part: str) -> list[str]:
    """Return the image ids of a model's part (test, val or train), in the order of the table.

    Raises KeyError for an unknown model.
    """
    return split.loc[split[model_name] == part, "image_id"].tolist()
