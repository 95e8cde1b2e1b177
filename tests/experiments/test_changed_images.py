"""The images that changed most, and their overlays if the files are those that were scored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from naevi.experiments.changed_images import changed_images, describe_missing, most_changed
from naevi.experiments.comparison import comparison_html
from naevi.images.files import write_mask
from tests.experiments.helpers import per_image
from tests.helpers import HERE


def test_the_images_that_changed_most_are_found_each_way(compare: Callable) -> None:
    a = per_image([0.5] * 16)
    b = per_image([0.5, *(0.5 + step / 100 for step in range(1, 9)), *(0.5 - step / 100 for step in range(1, 8))])

    most = most_changed(compare(a, b).pairs)

    assert most["improved"].image_id.tolist() == ["i8", "i7", "i6", "i5", "i4", "i3"]
    assert most["worsened"].image_id.tolist() == ["i15", "i14", "i13", "i12", "i11", "i10"]
    assert most["improved"].change.tolist() == [0.08, 0.07, 0.06, 0.05, 0.04, 0.03]


def test_overlays_are_shown_only_for_the_files_that_were_scored(folder: Path, compare: Callable) -> None:
    image, mask = np.full((6, 8, 3), 200, np.uint8), np.zeros((6, 8), np.uint8)
    mask[2:4, 2:6] = 1
    half = mask.copy()
    half[3] = 0
    for part in ("images", "masks"):
        (HERE.raw / part).mkdir(parents=True)
    for image_id, suffix in (("i0", "jpg"), ("i1", "png")):
        Image.fromarray(image).save(HERE.raw / "images" / f"{image_id}.{suffix}")
        write_mask(HERE.raw / "masks" / f"{image_id}.png", mask)
    # A finds half of i0: Dice 2 * 4 / (4 + 8). Of i1, the file isn't the one that the table was made from.
    comparison = compare(per_image([2 / 3, 0.9]), per_image([1, 1]))
    comparison = replace(
        comparison,
        a=replace(comparison.a, predictions=lambda _: half),
        b=replace(comparison.b, predictions=lambda _: mask),
    )

    images = changed_images(HERE, comparison)
    page = comparison_html(comparison, images)

    assert page.count('src="data:image/jpeg;base64,') == 3
    assert page.count("no image") == 1
    assert describe_missing(comparison, images).startswith("Some images of A are missing")
    assert "Some images of A are missing" in page
    assert "i0 with the found, missed and false areas of A. Dice 0.667." in page


def test_without_images_nothing_is_said_to_be_missing(compare: Callable) -> None:
    rows = per_image([0.5, 0.6])

    assert describe_missing(compare(rows, rows), {"improved": [], "worsened": []}) == ""
