"""Small data sets that the tests of preprocessing write and prepare."""

from pathlib import Path

import numpy as np
import pandas as pd

from naevi.config import DataConfig, PhantomsConfig, PreprocessConfig
from naevi.images import Pixels, write_image, write_mask
from naevi.preprocessing.prepare import prepare
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
    return workspace


def prepare_raw(workspace: Workspace, size: int = 4, classes: int = 2, empty_masks: str = "refuse") -> pd.DataFrame:
    """Prepare data/raw as if it were PH2 with this number of classes; return the image table."""
    phantoms = PhantomsConfig(number=1, height=64, width=64, seed=0)
    data = DataConfig(source="ph2", classes={f"class {value}": value for value in range(classes)}, phantoms=phantoms)
    # Not validated, because the sizes are smaller than params.yaml allows. So masks can be written out in tests.
    settings = PreprocessConfig.model_construct(size=size, empty_masks=empty_masks)
    return prepare(workspace, data, settings)
