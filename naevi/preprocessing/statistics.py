"""Describe the prepared images: counts, sizes and areas."""

from typing import Any

import pandas as pd


def statistics_by_diagnosis(image_table: pd.DataFrame) -> dict[str, Any]:
    """Return statistics of all images and of each diagnosis, see `_statistics`."""
    return {
        "all": _statistics(image_table),
        "by_diagnosis": {str(name): _statistics(images) for name, images in image_table.groupby("diagnosis")},
    }


def _statistics(image_table: pd.DataFrame) -> dict[str, Any]:
    """Return how many images there are, touch the frame or have dark corners, and the range of sizes and areas."""
    ranges: dict[str, Any] = {
        str(name): {
            "lowest": float(image_table[name].min()),
            "median": float(median),
            "highest": float(image_table[name].max()),
        }
        for name, median in image_table[["height", "width", "lesion_fraction"]].median().items()
    }
    return {
        "images": len(image_table),
        "touches_frame": int(image_table.touches_frame.sum()),
        "dark_corners": int((image_table.dark_corners > 0).sum()),
    } | ranges
