"""Write predictions as COCO annotations, doubtful images first, to correct them in CVAT or Label Studio."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from contourpy import contour_generator
from numpy.typing import NDArray
from pycocotools import mask as rle_tools
from scipy import ndimage

from naevi.deploy.regions import label_regions
from naevi.errors import first_ten
from naevi.images.files import Pixels, read_mask

COCO_FILE = "coco.json"
# Ways to draw a polygon: sigma of a Gaussian filter, which takes away the steps of pixels, and tolerance of `simplify`,
# both in px. The first way with MIN_DICE is used. The last one gives every pixel.
WAYS = ((1, 1), (1, 0.5), (1, 0.25), (0, 0.5), (0, 0))
MIN_DICE = 0.999  # of a region and its polygon
MARGIN = 5  # px around a region, more than the filter reaches

Line = NDArray[np.float64]  # (N, 2): x and y

logger = logging.getLogger(__name__)


def write_coco(file: Path, regions: Path, *, out: Path, paths: Mapping[str, str], names: list[str]) -> None:
    """Write coco.json for the masks in `out`: a polygon with a score for each region, doubtful images first.

    `file` is the file to write, `regions` is lesions.csv. `paths` has the path of each image by the name of its mask,
    `names` are those of the classes, the background first. file_name is the path below what the user named. Images
    without a region come first, because nothing says how sure the model is of them. The others are in order of their
    lowest confidence.
    """
    scores: dict[str, dict[tuple[str, int], float]] = {}
    table = pd.read_csv(regions, dtype={"image": str, "class": str}, keep_default_na=False)
    for image, name, number, score in table[["image", "class", "lesion", "confidence"]].itertuples(index=False):
        scores.setdefault(image, {})[name, number] = score
    in_order = sorted(paths, key=lambda name: (min(scores.get(name, {}).values(), default=-1), name))
    listed, annotations = [], list[dict[str, Any]]()
    for image_id, name in enumerate(in_order, start=1):  # Label Studio shows images by id
        mask = read_mask(out / "masks" / f"{name}.png")
        height, width = mask.shape
        file_name = _file_name(name, paths[name])
        listed.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for annotation in _annotate(mask, names, scores.get(name, {})):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id} | annotation)
    content = {
        "info": {"description": "Predictions of naevi, doubtful images first"},
        "licenses": [],
        "categories": [{"id": class_index, "name": name} for class_index, name in enumerate(names) if class_index],
        "images": listed,
        "annotations": annotations,
    }
    file.write_text(json.dumps(content) + "\n", encoding="utf-8")
    shown = [f"{name} ({min(scores[name].values()):.2f})" if name in scores else name for name in in_order]
    logger.info("Images in coco.json with their confidence, those without a region first: %s", first_ten(shown))


def _annotate(mask: Pixels, names: list[str], scores: dict[tuple[str, int], float]) -> Iterator[dict[str, Any]]:
    """Yield an annotation for each region of a mask. `scores` has those of lesions.csv by class and number.

    They have no box, because Label Studio would make an annotation of its own of it.
    """
    for class_index, name in enumerate(names[1:], start=1):
        labels, boxes = label_regions(mask == class_index)
        for number, (label, (rows, columns)) in enumerate(boxes.items(), start=1):
            region = labels[rows, columns] == label
            polygon = outline_polygon(region) + np.array([columns.start, rows.start])
            yield {
                "category_id": class_index,
                "segmentation": [polygon.ravel().tolist()],
                "area": int(region.sum()),
                "iscrowd": 0,
                "score": scores[name, number],
            }


def _file_name(name: str, path: str) -> str:
    """Return the path of an image with its suffix, and with the folders that the name of its output has."""
    parts = PurePosixPath(Path(path).as_posix()).parts
    return "/".join(parts[-len(PurePosixPath(name).parts) :])


def outline_polygon(region: NDArray[np.bool_]) -> Line:
    """Return a polygon around a connected region (H, W) with few points, x and y in px.

    A polygon can't have holes, so a line of no width leads to each hole. Label Studio can't read RLE.
    """
    height, width = region.shape
    [truth] = rle_tools.encode(np.asfortranarray(region[..., np.newaxis], np.uint8))
    for sigma, tolerance in WAYS:
        smooth = ndimage.gaussian_filter(np.pad(region, MARGIN).astype(np.float64), sigma)
        # Lines run midway between pixels, whose centers are at 0.5, 1.5, …
        lines = [np.asarray(line) + 0.5 - MARGIN for line in contour_generator(z=smooth).lines(0.5)]
        polygon = _join([simplify(line, tolerance) for line in lines]).round(2).clip(0, [width, height])
        if len(polygon) < 3:
            continue
        drawn = rle_tools.merge(rle_tools.frPyObjects([polygon.ravel().tolist()], height, width))
        both = rle_tools.area(rle_tools.merge([truth, drawn], intersect=True))
        if 2 * both >= MIN_DICE * (rle_tools.area(truth) + rle_tools.area(drawn)):
            break
    return polygon


def simplify(line: Line, tolerance: float) -> Line:
    """Return a closed line without the points that are within `tolerance` px of it (Douglas and Peucker)."""
    kept = np.zeros(len(line), bool)
    kept[[0, -1]] = True
    waiting = [(0, len(line) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        offsets, chord = line[first + 1 : last] - line[first], line[last] - line[first]
        length = float(np.hypot(*chord))
        # The ends of a closed line are one point.
        distances = np.abs(offsets @ [-chord[1], chord[0]]) / length if length else np.hypot(*offsets.T)
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    return line[kept]


def _join(lines: list[Line]) -> Line:
    """Return the outline of a region and those of its holes, all closed, as one polygon without a repeated end."""
    lines = sorted(lines, key=lambda line: -float(np.ptp(line[:, 0])))
    outline = lines[0] if lines else np.zeros((0, 2))  # a filter leaves nothing of very small regions
    for hole in lines[1:]:
        distances = ((outline[:, np.newaxis] - hole) ** 2).sum(axis=2)
        start, entry = np.unravel_index(distances.argmin(), distances.shape)
        around = np.concatenate([hole[entry:-1], hole[: entry + 1]])
        outline = np.concatenate([outline[: start + 1], around, outline[start:]])
    return outline[:-1]
