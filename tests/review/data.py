"""Synthetic images as preprocessing writes them, with mistakes planted in them."""

from pathlib import Path

import numpy as np
import pandas as pd

from naevi.datasets.synthetic import synthetic_image
from naevi.images.files import Pixels, resize_image, resize_mask, write_image, write_mask
from naevi.preprocessing.prepare import review_pixels

NO_PAIRS = pd.DataFrame(columns=["first", "second", "correlation"])
NOTHING_VANISHED = pd.DataFrame(columns=["image_id", "class", "pixels", "pixels_at_size"])
NO_DECISIONS = pd.DataFrame(columns=["decision", "count", "examples", "parameter"])
SIDE = 64

Images = dict[str, tuple[Pixels, Pixels]]


def make_images(number: int) -> Images:
    """Return images and masks of SIDE px by id."""
    samples = [synthetic_image(index, height=96, width=128, seed=7) for index in range(number)]
    return {
        sample.image_id: (resize_image(sample.image, SIDE), resize_mask(sample.mask, (SIDE, SIDE)))
        for sample in samples
    }


def reviewed(images: Images, side: int = SIDE) -> Pixels:
    """Return the pixels of images and masks at this size, as `prepare` returns them."""
    return np.stack([review_pixels(image, mask, side) for image, mask in images.values()])


def write_prepared(folder: Path, images: Images) -> pd.DataFrame:
    """Write images/ and masks/; return the image table."""
    rows = []
    for subfolder in ("images", "masks"):
        (folder / subfolder).mkdir(parents=True)
    for number, (image_id, (image, mask)) in enumerate(images.items()):
        write_image(folder / "images" / f"{image_id}.png", image)
        write_mask(folder / "masks" / f"{image_id}.png", mask)
        rows.append(
            {
                "image_id": image_id,
                "diagnosis": ("common", "melanoma")[number % 2],
                "group": image_id,
                "height": 96,
                "width": 128,
                "lesion_fraction": np.count_nonzero(mask) / mask.size,
                "touches_frame": bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()),
            }
        )
    return pd.DataFrame(rows)
