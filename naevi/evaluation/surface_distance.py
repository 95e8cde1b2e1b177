"""Distances between the outlines of mask and prediction, in pixels; computed by MONAI."""

import math
import warnings
from functools import partial

import numpy as np
from numpy.typing import NDArray

SURFACE_SCORES = ["nsd_2", "nsd_5", "hd95", "assd"]
TOLERANCES_PX = {"nsd_2": 2.0, "nsd_5": 5.0}  # px

# MONAI warns about its own code. Not with catch_warnings, which affects all threads and ends while others compute.
warnings.filterwarnings("ignore", category=FutureWarning, module="monai")


def surface_distances(mask: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> dict[str, float]:
    """Return the SURFACE_SCORES of one image and class for areas (H, W), bool. An outline is an area's border pixels.

    nsd_2 and nsd_5 are the share of both outlines within 2 or 5 px of the other, 0..1 (normalized surface distance,
    Nikolov et al., 2018, https://arxiv.org/abs/1809.04430). hd95 is the 95th percentile of the distances between the
    outlines, the larger of both directions, px (Hausdorff). assd is the mean distance over both directions, px.

    If one area is empty, distances are the image diagonal and nsd is 0. If both are empty, distances are 0 and nsd is
    1.
    """
    if not mask.any() or not prediction.any():
        agree = not (mask.any() or prediction.any())
        distance = 0.0 if agree else math.hypot(*mask.shape)
        return {"nsd_2": float(agree), "nsd_5": float(agree), "hd95": distance, "assd": distance}
    # Imported lazily: this takes seconds, and reading results doesn't need it.
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice
    from monai.metrics.surface_distance import compute_average_surface_distance

    measures = {
        name: partial(compute_surface_dice, class_thresholds=[within]) for name, within in TOLERANCES_PX.items()
    } | {
        "hd95": partial(compute_hausdorff_distance, percentile=95),
        "assd": partial(compute_average_surface_distance, symmetric=True),
    }
    areas = [torch.from_numpy(area.astype("float32"))[None, None] for area in (prediction, mask)]
    return {name: float(measure(*areas, include_background=True)) for name, measure in measures.items()}
