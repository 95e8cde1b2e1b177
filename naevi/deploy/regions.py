"""Describe the connected regions of a mask: size, outline, box and confidence."""

import math
from typing import Any, cast

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from scipy import ndimage

from naevi.evaluation.calibration import dice_confidence
from naevi.images.files import Pixels


def describe_regions(mask: Pixels, probability: NDArray[np.float32], names: list[str]) -> list[dict[str, Any]]:
    """Return a row for each connected region of a mask, uint8 (H, W) of class indices, largest first in each class.

    `probability` is float32 (C, H, W), `names` are those of the classes, the background first.
    """
    rows = []
    foreground = probability[-(len(names) - 1) :]  # with two classes there is only the foreground's probability
    for class_index, class_probability in enumerate(foreground, start=1):
        regions, boxes = label_regions(mask == class_index)
        for number, (label, (row_slice, column_slice)) in enumerate(boxes.items(), start=1):
            region = regions == label
            area = int(region.sum())
            # Other regions of the same class say nothing about the confidence in this one.
            own_probability = np.where(region | (regions == 0), class_probability, np.float32(0))
            rows.append(
                {
                    "class": names[class_index],
                    "lesion": number,
                    "area_px": area,
                    "perimeter_px": round(perimeter(region[row_slice, column_slice]), 1),
                    "equivalent_diameter_px": round(2 * math.sqrt(area / math.pi), 1),
                    "left": column_slice.start,
                    "top": row_slice.start,
                    "width": column_slice.stop - column_slice.start,
                    "height": row_slice.stop - row_slice.start,
                    "confidence": round(dice_confidence(own_probability, region), 4),
                }
            )
    return rows


def label_regions(area: NDArray[np.bool_]) -> tuple[NDArray[np.int32], dict[int, tuple[slice, slice]]]:
    """Return the connected regions of an area (H, W) as labels (H, W), and the box of each label, largest region first.

    Labels begin with 1. A box is rows and columns.
    """
    regions, count = ndimage.label(area)
    areas, boxes = np.bincount(regions.ravel(), minlength=count + 1), ndimage.find_objects(regions)
    return regions, {label: boxes[label - 1] for label in sorted(range(1, count + 1), key=lambda label: -areas[label])}


def perimeter(region: NDArray[np.bool_]) -> float:
    """Return the length in px of the outlines of a region, bool (H, W), those of its holes included.

    Outlines run midway between the pixels inside and outside.
    """
    lines = cast(list[NDArray[np.float64]], contour_generator(z=np.pad(region, 1).astype(np.float32)).lines(0.5))
    return sum(float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()) for line in lines)
