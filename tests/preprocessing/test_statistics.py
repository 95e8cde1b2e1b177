"""Statistics of the prepared images: counts, sizes and areas."""

from pathlib import Path

import numpy as np

from naevi.preprocessing.statistics import statistics_by_diagnosis
from tests.preprocessing.raw_data import LEFT, NOISE, noise, prepare_raw, write_raw

RANGE = ("lowest", "median", "highest")


def test_statistics_of_three_images(tmp_path: Path) -> None:
    """Two lesions cover a quarter and one covers half."""
    half = np.array([[1, 1, 1, 1, 0, 0, 0, 0]] * 4, np.uint8)
    pairs = {"a": (NOISE, LEFT), "b": (noise(), half), "c": (noise(), LEFT)}
    image_table = prepare_raw(write_raw(tmp_path, pairs, diagnosis=["x", "y", "x"]))

    statistics = statistics_by_diagnosis(image_table)

    size = {"height": dict.fromkeys(RANGE, 4), "width": dict.fromkeys(RANGE, 8)}
    assert statistics == {
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
