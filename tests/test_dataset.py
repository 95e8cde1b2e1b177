"""Prepared pictures as tensors."""

from typing import Any

import numpy as np
import torch

from naevi import dataset, paths
from naevi.images import read_image, read_mask


def test_images_and_masks_come_in_the_order_of_the_ids(tiny: Any) -> None:
    prepared = tiny.root / paths.PREPARED
    ids = ["phantom-00004", "phantom-00000", "phantom-00002"]

    loaded = dataset.load(prepared, ids, classes=2, device="cpu")

    assert len(loaded) == 3
    assert loaded.classes == 2
    assert loaded.ids == ids
    assert (loaded.images.shape, loaded.images.dtype) == ((3, 3, 32, 32), torch.uint8)
    assert (loaded.masks.shape, loaded.masks.dtype) == ((3, 1, 32, 32), torch.uint8)
    for row, image_id in enumerate(ids):
        image = read_image(prepared / "images" / f"{image_id}.png")
        assert np.array_equal(loaded.images[row].permute(1, 2, 0), image)
        assert np.array_equal(loaded.masks[row, 0], read_mask(prepared / "masks" / f"{image_id}.png"))


def test_scaled_images_lie_between_zero_and_one() -> None:
    scaled = dataset.scaled(torch.tensor([0, 51, 255], dtype=torch.uint8))

    assert scaled.dtype == torch.float32
    assert scaled.tolist() == [0, torch.tensor(0.2).item(), 1]
