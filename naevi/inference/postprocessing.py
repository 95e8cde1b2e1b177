"""From probabilities at the training size to a clean mask at the image's own size."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from naevi.config import PredictConfig
from naevi.images.files import Pixels
from naevi.models.prediction import to_class_map


def resize_probabilities(probability: Tensor, *, height: int, width: int) -> Tensor:
    """Return the probability of one image, float32 (C, H, W), as (C, height, width); bilinear interpolation."""
    return functional.interpolate(probability[None], size=(height, width), mode="bilinear", align_corners=False)[0]


def to_mask(probability: Tensor, settings: PredictConfig) -> Pixels:
    """Return the prediction, uint8 (H, W) of class indices, for probabilities float32 (C, H, W)."""
    return postprocess(
        to_class_map(probability, settings.threshold).numpy(),
        classes=max(2, len(probability)),
        fill_holes=settings.fill_holes,
        largest_only=settings.largest_only,
    )


def postprocess(prediction: Pixels, *, classes: int, fill_holes: bool, largest_only: bool) -> Pixels:
    """Return a prediction, uint8 (H, W) of class indices, with only the largest region of each class and no holes.

    A region is connected if its pixels share a side. Only background that a class surrounds is filled.
    """
    for class_index in range(1, classes):
        area = prediction == class_index
        if largest_only:
            largest = _largest_region(area)
            prediction = np.where(area & ~largest, np.uint8(0), prediction)
            area = largest
        if fill_holes:
            hole = ndimage.binary_fill_holes(area) & (prediction == 0)
            prediction = np.where(hole, np.uint8(class_index), prediction)
    return prediction


def _largest_region(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    numbers, _ = ndimage.label(area)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0  # the background of the labels
    largest: NDArray[np.bool_] = area & (numbers == np.argmax(sizes))
    return largest
