"""An image over another, calculated by hand on a few pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from naevi.config import Config
from naevi.deploy.cutout import composite, write_cutout
from naevi.errors import UserError
from naevi.inference.segmenter import load_segmenter
from tests.deploy.predictors import write_predictor


def test_the_foreground_stays_and_the_rest_is_the_other_image() -> None:
    image, other = np.full((1, 4, 3), 200, np.uint8), np.full((2, 8, 3), 100, np.uint8)
    probability = np.array([[0.0, 0.375, 0.5, 0.7]], np.float32)

    assert composite(image, probability, other)[0, :, 0].tolist() == [100, 100, 150, 200]


def test_the_other_image_is_cropped_not_squeezed() -> None:
    """A square of 6 px behind a strip of 2 x 6 px: its middle third."""
    other = np.repeat(np.array([0, 0, 255, 255, 0, 0], np.uint8)[:, None, None], 6, axis=1).repeat(3, axis=2)
    image, nothing = np.zeros((2, 6, 3), np.uint8), np.zeros((2, 6), np.float32)

    assert composite(image, nothing, other).min() == 255


def test_a_cutout_is_overwritten_only_with_force(
    tmp_path: Path, config_with: Callable[[dict[str, Any]], Config], torch_threads: None
) -> None:
    segmenter = load_segmenter(write_predictor(tmp_path / "predictor", config_with({})))
    image, out = tmp_path / "image.png", tmp_path / "new" / "cutout.png"
    Image.new("RGB", (40, 30), (200, 0, 0)).save(image)

    write_cutout(segmenter, image, image, out, force=False)

    with Image.open(out) as cutout:
        assert cutout.size == (40, 30)
    out.write_bytes(b"")
    with pytest.raises(UserError, match=r"cutout\.png already exists"):
        write_cutout(segmenter, image, image, out, force=False)
    assert out.read_bytes() == b""
    write_cutout(segmenter, image, image, out, force=True)
    assert out.read_bytes().startswith(b"\x89PNG")
