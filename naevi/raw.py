"""data/raw: every data set in one layout, whatever it was before.

images/<id>.png, masks/<id>.png (0 skin, 255 lesion) at native size, and labels.csv (image_id, diagnosis).
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from naevi import ph2, sources
from naevi.config import PhantomsConfig
from naevi.images import write_image, write_mask
from naevi.phantoms import phantom
from naevi.progress import progress


def fill(folder: Path, write: Callable[[Path], pd.DataFrame]) -> None:
    """Make the folder what `write` puts into an empty one and the labels that it returns, all of it or nothing."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for part in ("images", "masks"):
        (partial / part).mkdir(parents=True)
    write(partial).to_csv(partial / "labels.csv", index=False)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def ph2_images(folder: Path) -> pd.DataFrame:
    """Write the PH2 images from wherever they can be had; return their labels."""
    pictures = sources.pictures(sources.locate())
    return ph2.collect(progress(pictures, total=None, label="download", unit="pictures"), folder)


def phantom_images(folder: Path, settings: PhantomsConfig) -> pd.DataFrame:
    """Write generated images; return their labels."""
    rows = []
    for index in progress(range(settings.number), total=settings.number, label="phantoms", unit="images"):
        made = phantom(index, height=settings.height, width=settings.width, seed=settings.seed)
        write_image(folder / "images" / f"{made.image_id}.png", made.image)
        write_mask(folder / "masks" / f"{made.image_id}.png", made.mask)
        rows.append((made.image_id, made.diagnosis))
    return pd.DataFrame(rows, columns=["image_id", "diagnosis"])
