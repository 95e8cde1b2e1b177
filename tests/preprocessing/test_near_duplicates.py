"""Images that are nearly the same are found by their thumbnails, and they form groups."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from naevi.images import Pixels
from naevi.preprocessing.near_duplicates import CORRELATION_THRESHOLD, similar_pairs, thumbnail
from tests.preprocessing.raw_data import LEFT, RNG, noise, prepare_raw, write_raw


def random_image(seed: int) -> Pixels:
    """Return noise, uint8 (64, 96, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def test_a_thumbnail_has_mean_zero_and_length_one() -> None:
    vector = thumbnail(random_image(0))

    assert (vector.shape, vector.dtype) == ((1024,), np.float32)
    assert vector.mean() == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_an_image_of_one_flat_color_is_similar_to_nothing() -> None:
    flat = thumbnail(np.full((64, 64, 3), 90, np.uint8))

    assert not flat.any()
    assert similar_pairs(np.stack([flat, flat])) == []


def test_a_copy_with_another_brightness_is_a_near_duplicate_and_another_image_is_not() -> None:
    images = [random_image(0), random_image(1), random_image(0) // 2 + 40]

    assert similar_pairs(np.stack([thumbnail(image) for image in images])) == [(0, 2)]


def test_the_threshold_is_above_the_most_similar_images_of_ph2() -> None:
    """They correlate at .974. With a lower threshold PH2's groups, and so its folds, would change."""
    assert 0.975 < CORRELATION_THRESHOLD < 1


def test_near_duplicates_are_found_among_thousands() -> None:
    """Thumbnails are compared in blocks of 1000."""
    vectors = np.random.default_rng(0).standard_normal((1002, 1024)).astype(np.float32)
    vectors[[1000, 1001]] = vectors[3]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    assert similar_pairs(vectors) == [(3, 1000), (3, 1001), (1000, 1001)]


def test_a_chain_of_near_duplicates_is_one_group_named_after_its_first_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Patterns at 0, 8 and 16 degrees correlate by cos 8 = .990 with the next, by cos 16 = .961 end to end."""
    across, along, third = RNG.choice([-1, 1], (3, 32, 32, 1))
    mask = np.ones((32, 32), np.uint8)

    def rotate(degrees: int) -> Pixels:
        angle = np.radians(degrees)
        gray = 128 + 80 * (np.cos(angle) * across + np.sin(angle) * along)
        return np.repeat(gray.round().astype(np.uint8), 3, axis=2)

    other = np.repeat((128 + 80 * third).astype(np.uint8), 3, axis=2)
    images = {"far": rotate(16), "other": other, "start": rotate(0), "between": rotate(8)}

    workspace = write_raw(tmp_path, {name: (image, mask) for name, image in images.items()})
    assert prepare_raw(workspace, size=32).group.tolist() == ["far", "other", "far", "far"]
    pairs = pd.read_csv(workspace.near_duplicates)
    assert pairs[["first", "second"]].values.tolist() == [["far", "between"], ["start", "between"]]
    assert pairs.correlation.tolist() == pytest.approx([0.990, 0.990], abs=0.002)
    assert caplog.messages == [
        "2 pair(s) of near-duplicate images stay in one part. data/prepared/near_duplicates.csv lists them."
    ]

    caplog.clear()
    workspace = write_raw(tmp_path / "2", {name: (images[name], mask) for name in ("far", "start")})
    assert prepare_raw(workspace, size=32).group.tolist() == ["far", "start"]
    assert workspace.near_duplicates.read_text() == "first,second,correlation\n"
    assert caplog.messages == []


def test_near_duplicates_join_the_groups_of_the_labels(tmp_path: Path) -> None:
    """One patient has a and b, c is a copy of b, the next patient has d, and the last has e and f."""
    images = {name: noise() for name in "abcdef"}
    images["c"] = images["b"]
    workspace = write_raw(
        tmp_path,
        {name: (image, LEFT) for name, image in images.items()},
        group=["007", "007", "8", "7", "NA", "NA"],
    )

    assert prepare_raw(workspace).group.tolist() == ["a", "a", "a", "d", "e", "e"]
