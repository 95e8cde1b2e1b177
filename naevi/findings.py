"""What a model finds in images of one's own: masks, pictures, and a table of the lesions."""

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from contourpy import contour_generator
from numpy.typing import NDArray
from scipy import ndimage

from naevi import calibration, figures, segmenter, sources, whole
from naevi.images import Pixels, read_image, write_mask
from naevi.progress import progress
from naevi.refusal import Refusal, some
from naevi.segmenter import BATCH, Segmenter

COLUMNS = [
    "image",
    "class",
    "lesion",
    "area_px",
    "perimeter_px",
    "equivalent_diameter_px",
    "left",
    "top",
    "width",
    "height",
    "confidence",
]
TABLE = "lesions.csv"


def write(model: Path, given: Sequence[Path], out: Path, *, force: bool) -> list[str]:
    """Write masks/<name>.png and overlays/<name>.jpg of each image and lesions.csv into `out`; return what it skipped.

    `given` are images, folders and archives of them. lesions.csv has a row for each area that hangs together: image,
    class, lesion (its number), area_px, perimeter_px, equivalent_diameter_px (of the circle with that area), its box
    (left, top, width, height in px) and confidence (see `calibration.confidence`; 0..1).
    A file that can't be read as an image is told of on stderr and skipped.

    Raises Refusal where one of `given` doesn't exist, two images have one name or, without `force`, `out` holds
    something already or is a file; and as `segmenter.load` does.
    """
    if missing := [str(path) for path in given if not path.exists()]:
        raise Refusal(f"there is no {some(missing)}; name images, folders or archives of them.")
    if out.is_file():
        raise Refusal(f"--out {out} is a file; name a folder.")
    if not force and out.exists() and any(out.iterdir()):
        raise Refusal(f"--out {out} holds something already; name a new folder, or overwrite with --force.")
    return predict(segmenter.load(model), given, out)


def predict(model: Segmenter, given: Sequence[Path], out: Path) -> list[str]:
    """The same, by a model that is loaded, whatever there is already."""
    for folder in ("masks", "overlays"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    skipped: list[str] = []
    rows: list[dict[str, Any]] = []
    readable = _readable(given, skipped)
    for name, image, probability in progress(_predicted(model, readable), total=None, label="predict", unit="images"):
        mask = model.mask(probability)
        with whole.file(out / "masks" / f"{name}.png") as partial:
            write_mask(partial, mask)
        with whole.file(out / "overlays" / f"{name}.jpg") as partial:
            partial.write_bytes(figures.jpeg(figures.overlay(image, mask, mask), lines=True))
        rows += [{"image": name} | row for row in lesions(mask, probability, model.names)]
    with whole.file(out / TABLE) as partial:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(partial, index=False)
    return skipped


def lesions(mask: Pixels, probability: NDArray[np.float32], names: list[str]) -> list[dict[str, Any]]:
    """A row for each area of a mask, uint8 (H, W) of classes, that hangs together; largest first within its class."""
    rows = []
    for place, of_class in enumerate(probability[-(len(names) - 1) :], start=1):
        numbers, count = ndimage.label(mask == place)
        areas = np.bincount(numbers.ravel(), minlength=count + 1)
        boxes = ndimage.find_objects(numbers)
        for number, label in enumerate(sorted(range(1, count + 1), key=lambda label: -areas[label]), start=1):
            rows_of, columns_of = boxes[label - 1]
            area = numbers == label
            # What belongs to other areas of this class is not this one's to be unsure of.
            own = np.where(area | (numbers == 0), of_class, np.float32(0))
            rows.append(
                {
                    "class": names[place],
                    "lesion": number,
                    "area_px": int(areas[label]),
                    "perimeter_px": round(perimeter(area[rows_of, columns_of]), 1),
                    "equivalent_diameter_px": round(2 * math.sqrt(areas[label] / math.pi), 1),
                    "left": columns_of.start,
                    "top": rows_of.start,
                    "width": columns_of.stop - columns_of.start,
                    "height": rows_of.stop - rows_of.start,
                    "confidence": round(calibration.confidence(own, area), 4),
                }
            )
    return rows


def perimeter(area: NDArray[np.bool_]) -> float:
    """The length in px of the outlines of an area, bool (H, W), its holes' too, midway between pixels in and out."""
    lines = cast(list[NDArray[np.float64]], contour_generator(z=np.pad(area, 1).astype(np.float32)).lines(0.5))
    return sum(float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()) for line in lines)


def _readable(given: Sequence[Path], skipped: list[str]) -> Iterator[tuple[str, Pixels]]:
    """Name and pixels of each image; what is none is told of and noted."""
    seen: dict[str, str] = {}
    for path, content in _files(given):
        name = Path(path).stem
        if name in seen:
            raise Refusal(f"{seen[name]} and {path} would both become {name}.png; predict them one after the other.")
        seen[name] = path
        try:
            yield name, read_image(content, path)
        except Refusal as refusal:
            skipped.append(path)
            print(f"naevi: skipped: {refusal}", file=sys.stderr, flush=True)


def _files(given: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for path in given:
        if path.is_dir() or path.name.lower().endswith(sources.ARCHIVES):
            yield from sources.files(path, lambda _: True)
        else:
            yield str(path), path.read_bytes()


def _predicted(
    model: Segmenter, images: Iterator[tuple[str, Pixels]]
) -> Iterator[tuple[str, Pixels, NDArray[np.float32]]]:
    """Name, pixels and probability of each image."""
    while batch := list(itertools.islice(images, BATCH)):
        names, pixels = zip(*batch, strict=True)
        yield from zip(names, pixels, model.probabilities(pixels), strict=True)
