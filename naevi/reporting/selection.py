"""Select the worst, median and best images of the report, and load them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from naevi.evaluation.summary import scored_images
from naevi.images.files import Pixels
from naevi.images.folders import stored_image, stored_mask
from naevi.rendering.overlays import draw_overlay, shrink_image, shrink_mask

EXAMPLE_GROUPS = ("worst", "median", "best")
EXAMPLES_PER_GROUP = 12


@dataclass(frozen=True)
class ExampleImage:
    """A tested image for the report.

    Attributes:
        score: the image's row of `select_examples`.
        image: uint8 (H, W, 3), no wider than overlays.MAX_WIDTH_PX.
        overlay: the same image with the outcome drawn in.
    """

    score: dict[str, Any]
    image: Pixels
    overlay: Pixels

    @property
    def name(self) -> str:
        """Return a file name: rank by Dice, 001 for the worst, and image id. MLflow allows no `/` in it."""
        safe = re.sub(r"[^\w.-]", "_", str(self.score["image_id"]))
        return f"{self.score['rank']:03}_{safe}.png"


def select_examples(per_image: pd.DataFrame) -> pd.DataFrame:
    """Return the worst, median and best rows by Dice, EXAMPLES_PER_GROUP of each, or fewer if there are few images.

    `per_image` has one row for each image. No image is selected twice or without a score. Added columns: group;
    rank (by Dice, 1 is the worst); confidence_rank (1 is the least confident).
    """
    order = scored_images(per_image).sort_values(["dice", "image_id"], ignore_index=True)
    order["confidence_rank"] = order.confidence.rank(method="first").astype(int)
    number = max(1, min(EXAMPLES_PER_GROUP, len(order) // 3))
    starts = dict(zip(EXAMPLE_GROUPS, (0, (len(order) - number) // 2, len(order) - number), strict=True))
    ranked = order.assign(rank=order.index + 1)
    groups = [ranked.iloc[max(0, start) : start + number].assign(group=group) for group, start in starts.items()]
    return pd.concat(groups).drop_duplicates("image_id").reset_index(drop=True)


def select_worst(per_image: pd.DataFrame) -> pd.DataFrame:
    """Return the worst rows of `select_examples`."""
    return select_examples(per_image).query("group == 'worst'")


def load_examples(examples: pd.DataFrame, raw: Path, predictions: Path) -> list[ExampleImage]:
    """Return an image for each row of `select_examples`, from raw/images, raw/masks and predictions."""
    loaded = []
    for score in examples.to_dict("records"):
        image_id = str(score["image_id"])
        image = shrink_image(stored_image(raw / "images", image_id))
        masks = (shrink_mask(stored_mask(folder, image_id)) for folder in (raw / "masks", predictions))
        loaded.append(
            ExampleImage({str(key): value for key, value in score.items()}, image, draw_overlay(image, *masks))
        )
    return loaded
