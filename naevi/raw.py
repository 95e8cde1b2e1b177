"""data/raw: every data set in one layout, whatever it was before.

images/<id>.png, masks/<id>.png (classes; 0 is the background) at native size, and labels.csv (image_id, diagnosis and,
for a user's own images, group, split or fold).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from naevi import folders, ph2, sources, whole
from naevi.config import PhantomsConfig
from naevi.images import write_image, write_mask
from naevi.phantoms import phantom
from naevi.progress import progress


def fill(folder: Path, write: Callable[[Path], pd.DataFrame]) -> None:
    """Make the folder what `write` puts into an empty one and the labels that it returns, all of it or nothing."""
    with whole.folder(folder) as partial:
        for part in ("images", "masks"):
            (partial / part).mkdir()
        write(partial).to_csv(partial / "labels.csv", index=False)


def ph2_images(folder: Path) -> pd.DataFrame:
    """Write the PH2 images from wherever they can be had; return their labels."""
    return ph2.collect(_files(sources.locate(ph2.ADDRESSES, ph2.MISSING), ph2.wanted), folder)


def folder_images(folder: Path, values: list[int]) -> pd.DataFrame:
    """Write a user's own images, whose masks hold `values` by class; return their labels as `folders.collect` does."""
    source = sources.locate((), folders.MISSING)

    def part(name: str) -> str:
        return folders.part(name.removeprefix(f"{source}/"))  # the source itself may lie in a folder called images

    files = _files(source, lambda name: part(name) != "")
    return folders.collect(((part(name), name, data) for name, data in files), folder, values)


def _files(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    return progress(sources.files(source, wanted), total=None, label="download", unit="files")


def phantom_images(folder: Path, settings: PhantomsConfig) -> pd.DataFrame:
    """Write generated images; return their labels."""
    rows = []
    for index in progress(range(settings.number), total=settings.number, label="phantoms", unit="images"):
        made = phantom(index, height=settings.height, width=settings.width, seed=settings.seed)
        write_image(folder / "images" / f"{made.image_id}.png", made.image)
        write_mask(folder / "masks" / f"{made.image_id}.png", made.mask)
        rows.append((made.image_id, made.diagnosis))
    return pd.DataFrame(rows, columns=["image_id", "diagnosis"])
