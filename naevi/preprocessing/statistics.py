"""Describe the prepared images: counts, sizes and areas."""

from typing import Any

import pandas as pd


def statistics_by_diagnosis(image_table: pd.DataFrame) -> dict[str, Any]:
    """Return statistics of all images, of each diagnosis and, if there are several, of each data set."""
    columns = ["diagnosis"] + ["dataset"] * (image_table.dataset.nunique() > 1)
    return {"all": _statistics(image_table)} | {
        f"by_{column}": {str(name): _statistics(images) for name, images in image_table.groupby(column)}
        for column in columns
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
