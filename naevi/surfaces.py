"""How far a predicted outline lies from the mask's, in pixels of the image itself; computed by MONAI."""

import math
import warnings
from functools import partial

import numpy as np
from numpy.typing import NDArray

SURFACES = ["nsd_2", "nsd_5", "hd95", "assd"]
TOLERANCES = {"nsd_2": 2.0, "nsd_5": 5.0}  # px


def distances(mask: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> dict[str, float]:
    """The SURFACES of one image and class, from areas (H, W), bool: outlines are the pixels of an area at its border.

    nsd_2 and nsd_5: the part of both outlines that lies within 2 or 5 px of the other, 0..1 (normalized surface
    distance, Nikolov et al., 2018, https://arxiv.org/abs/1809.04430). hd95: the 95th percentile of the distances from
    one outline to the other, the larger of both directions, px (Hausdorff). assd: their mean over both, px.

    Where one of both is empty, distances are the frame's diagonal and nsd is 0; where both are, all is right: 0 and 1.
    """
    if not mask.any() or not prediction.any():
        wrong = bool(mask.any() or prediction.any())
        far = math.hypot(*mask.shape) if wrong else 0.0
        return {"nsd_2": float(not wrong), "nsd_5": float(not wrong), "hd95": far, "assd": far}
    # Here, because it takes seconds, and who reads a result needs none of it.
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice
    from monai.metrics.surface_distance import compute_average_surface_distance

    measures = {
        name: partial(compute_surface_dice, class_thresholds=[within]) for name, within in TOLERANCES.items()
    } | {
        "hd95": partial(compute_hausdorff_distance, percentile=95),
        "assd": partial(compute_average_surface_distance, symmetric=True),
    }
    areas = [torch.from_numpy(area.astype("float32"))[None, None] for area in (prediction, mask)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # of MONAI about itself
        return {name: float(measure(*areas, include_background=True)) for name, measure in measures.items()}
