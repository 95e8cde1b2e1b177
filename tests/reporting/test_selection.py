"""Which images the report shows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi.images.files import write_mask
from naevi.reporting.selection import load_examples, select_examples, select_worst
from tests.datasets.image_files import exif


def scores(dice: list[float]) -> pd.DataFrame:
    """Return a per_image.csv of images a, b, c, … with these Dices; each is less confident than the one before."""
    ids = [chr(ord("a") + index) for index in range(len(dice))]
    confidence = [1 - index / 100 for index in range(len(dice))]
    return pd.DataFrame({"image_id": ids, "diagnosis": "common", "dice": dice, "confidence": confidence})


def test_the_twelve_worst_median_and_best_are_selected() -> None:
    """40 images from .60 to .99: ranks 1..12, 15..26, 29..40."""
    table = select_examples(scores([(99 - index) / 100 for index in range(40)]))

    assert table.groupby("group", sort=False)["rank"].agg(list).to_dict() == {
        "worst": list(range(1, 13)),
        "median": list(range(15, 27)),
        "best": list(range(29, 41)),
    }
    assert table.dice.tolist()[0] == 0.6


def test_the_worst_are_those_of_the_examples() -> None:
    assert select_worst(scores([0.9, 0.7, 0.8])).image_id.tolist() == ["b"]


def test_confidence_rank_counts_from_the_least_confident_of_all_images() -> None:
    """Of a, b and c, c is the least confident. By Dice the order is b, c, a."""
    table = select_examples(scores([0.9, 0.7, 0.8]))

    assert dict(zip(table.image_id, table.confidence_rank, strict=True)) == {"a": 3, "b": 2, "c": 1}


@pytest.mark.parametrize(("number", "expected"), [(1, "a"), (2, "ab"), (3, "abc"), (7, "abcdfg")])
def test_few_images_are_selected_once_each(number: int, expected: str) -> None:
    table = select_examples(scores([0.1 * index for index in range(number)]))

    assert "".join(table.image_id) == expected


def test_ties_are_ordered_by_id() -> None:
    table = select_examples(scores([0.5, 0.5, 0.5]).iloc[::-1])

    assert table.image_id.tolist() == ["a", "b", "c"]


def test_images_without_a_score_are_no_examples_and_have_no_rank() -> None:
    """Of four images b and c have no score. Among the others d is worst, and the less confident one."""
    table = select_examples(scores([0.9, float("nan"), float("nan"), 0.7]))

    assert table[["image_id", "rank", "confidence_rank"]].values.tolist() == [["d", 1, 1], ["a", 2, 2]]


def test_examples_are_loaded_and_named_by_rank_and_id(tmp_path: Path) -> None:
    for folder in ("raw/images", "raw/masks", "predictions"):
        (tmp_path / folder).mkdir(parents=True)
    mask = np.eye(8, 600, dtype=np.uint8)
    Image.new("RGB", (8, 600), (100, 100, 100)).save(tmp_path / "raw/images/a b.jpg", exif=exif(6))  # shown lying
    write_mask(tmp_path / "raw/masks/a b.png", mask)
    write_mask(tmp_path / "predictions/a b.png", mask)
    rows = select_examples(scores([0.5]).assign(image_id="a b"))

    (example,) = load_examples(rows, tmp_path / "raw", tmp_path / "predictions")

    assert example.name == "001_a_b.png"
    assert example.score["group"] == "worst"
    assert example.image.shape == example.overlay.shape == (7, 512, 3)
