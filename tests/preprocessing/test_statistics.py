"""reports/data.json has the counts, sizes and areas of the prepared images."""

from pathlib import Path

import numpy as np

from naevi.preprocessing.near_duplicates import CORRELATION_THRESHOLD
from naevi.preprocessing.statistics import data_statistics
from tests.preprocessing.raw_data import LEFT, NOISE, noise, prepare_raw, write_raw

RANGE = ("lowest", "median", "highest")


def test_statistics_of_three_images(tmp_path: Path) -> None:
    """Two lesions cover a quarter and one covers half. Two images are the same."""
    half = np.array([[1, 1, 1, 1, 0, 0, 0, 0]] * 4, np.uint8)
    pairs = {"a": (NOISE, LEFT), "b": (NOISE, half), "c": (noise(), LEFT)}
    workspace = write_raw(tmp_path, pairs, diagnosis=["x", "y", "x"])
    prepare_raw(workspace)

    statistics = data_statistics(workspace)

    size = {"height": dict.fromkeys(RANGE, 4), "width": dict.fromkeys(RANGE, 8)}
    assert statistics == {
        "images": 3,
        "near_duplicate_correlation": CORRELATION_THRESHOLD,
        "near_duplicates": 1,
        "all": {"images": 3, "touches_frame": 3, "dark_corners": 0}
        | size
        | {"lesion_fraction": {"lowest": 0.25, "median": 0.25, "highest": 0.5}},
        "by_diagnosis": {
            name: {"images": number, "touches_frame": number, "dark_corners": 0}
            | size
            | {"lesion_fraction": dict.fromkeys(RANGE, area)}
            for name, number, area in (("x", 2, 0.25), ("y", 1, 0.5))
        },
    }
    assert list(statistics) == ["images", "near_duplicate_correlation", "near_duplicates", "all", "by_diagnosis"]
