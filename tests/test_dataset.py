"""Prepared pictures as tensors."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from naevi import dataset
from naevi.dataset import load_images
from naevi.images.files import read_image, read_mask
from naevi.models.prediction import scale_pixels


def test_images_and_masks_come_in_the_order_of_the_ids(tiny: Any) -> None:
    prepared = tiny.workspace.prepared
    ids = ["phantom-00004", "phantom-00000", "phantom-00002"]

    loaded = load_images(prepared, ids, classes=2, device="cpu")

    assert len(loaded) == 3
    assert loaded.classes == 2
    assert loaded.ids == ids
    assert (loaded.images.shape, loaded.images.dtype) == ((3, 3, 32, 32), torch.uint8)
    assert (loaded.masks.shape, loaded.masks.dtype) == ((3, 1, 32, 32), torch.uint8)
    for row, image_id in enumerate(ids):
        image = read_image(prepared / "images" / f"{image_id}.png")
        assert np.array_equal(loaded.images[row].permute(1, 2, 0), image)
        assert np.array_equal(loaded.masks[row, 0], read_mask(prepared / "masks" / f"{image_id}.png"))


def test_more_than_fits_is_mapped_from_a_file(tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same pixels, and nothing stays in the folder for them."""
    prepared, ids = tiny.workspace.prepared, ["phantom-00001", "phantom-00003"]
    held = load_images(prepared, ids, classes=2, device="cpu")
    monkeypatch.setattr(dataset, "MAX_RESIDENT_BYTES", 2 * 32 * 32 * 3 - 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mapped = load_images(prepared, ids, classes=2, device="cpu")

    assert torch.equal(mapped.images, held.images)
    assert torch.equal(mapped.masks, held.masks)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_is_rows_of_images_and_masks(tiny: Any) -> None:
    loaded = load_images(tiny.workspace.prepared, ["phantom-00001", "phantom-00003"], classes=2, device="cpu")
    images, masks = loaded.batch(torch.tensor([1, 0]), "cpu")

    assert torch.equal(images, scale_pixels(loaded.images.flip(0)))
    assert torch.equal(masks, loaded.masks.flip(0))


def test_scaled_images_lie_between_zero_and_one() -> None:
    scaled = scale_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8))

    assert scaled.dtype == torch.float32
    assert scaled.tolist() == [0, torch.tensor(0.2).item(), 1]
