"""Small data sets that the tests of preprocessing write and prepare."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from naevi.config import DataConfig, PreprocessConfig
from naevi.images.files import Pixels, write_image, write_mask
from naevi.preprocessing.prepare import Prepared, prepare
from naevi.tables import write_decisions
from naevi.workspace import Workspace

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (4, 8, 3), dtype=np.uint8)
LEFT = np.repeat(np.array([[1, 1, 0, 0, 0, 0, 0, 0]], np.uint8), 4, axis=0)  # a quarter of 4 x 8


def noise() -> Pixels:
    """Return another image at each call, 8 x 4 px."""
    return RNG.integers(0, 256, (4, 8, 3), dtype=np.uint8)


def write_raw(folder: Path, pairs: dict[str, tuple[Pixels, Pixels]], **columns: list[str] | list[int]) -> Workspace:
    """Return a workspace whose data/raw has these images and masks. All are common nevi unless a column says otherwise.

    `columns` are added to labels.csv.
    """
    workspace = Workspace(folder)
    for subfolder in ("images", "masks"):
        (workspace.raw / subfolder).mkdir(parents=True)
    for image_id, (image, mask) in pairs.items():
        write_image(workspace.raw / "images" / f"{image_id}.png", image)
        write_mask(workspace.raw / "masks" / f"{image_id}.png", mask)
    labels = pd.DataFrame({"image_id": list(pairs), "diagnosis": "common"} | columns)
    labels.to_csv(workspace.raw / "labels.csv", index=False)
    write_decisions(workspace.reading_decisions, [])
    return workspace


def settings_with(size: int = 4, empty_masks: str = "refuse", near_duplicates: float | str = 0.985) -> PreprocessConfig:
    """Return settings that aren't validated, because tests write out masks smaller than params.yaml allows."""
    return PreprocessConfig.model_construct(size=size, empty_masks=empty_masks, near_duplicates=near_duplicates)


def prepare_all(workspace: Workspace, settings: PreprocessConfig, classes: int = 2) -> Prepared:
    """Prepare data/raw as if it were PH2 with this number of classes."""
    data: dict[str, Any] = {"source": "ph2", "classes": {f"class {value}": value for value in range(classes)}}
    return prepare(workspace, DataConfig.model_construct(**data), settings)


def prepare_raw(workspace: Workspace, size: int = 4, classes: int = 2, empty_masks: str = "refuse") -> pd.DataFrame:
    """Prepare data/raw as if it were PH2 with this number of classes; return the image table."""
    return prepare_all(workspace, settings_with(size, empty_masks), classes).image_table
