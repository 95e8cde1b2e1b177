"""Means, intervals and groups, by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from naevi import metrics, summary
from naevi.config import EvaluateConfig

SETTINGS = EvaluateConfig(
    flips=False, turns=False, threshold=0.5, fill_holes=False, largest_only=False, resamples=10_000, seed=0
)
NAN = float("nan")


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    sample = rng.beta(8, 2, 200)
    means = rng.choice(sample, (10_000, 200)).mean(axis=1)

    found = summary.distribution(pd.Series(sample), SETTINGS)

    assert [found["low"], found["high"]] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.002)
    assert found["low"] < found["mean"] < found["high"]
    assert found["mean"] == pytest.approx(sample.mean())
    assert found == summary.distribution(pd.Series(sample), SETTINGS)


def test_the_middle_and_the_low_end_by_hand() -> None:
    """The 5th percentile of 21 values is the second lowest."""
    found = summary.distribution(pd.Series(np.arange(21) / 20), SETTINGS)

    assert [found["mean"], found["median"], found["p05"]] == pytest.approx([0.5, 0.5, 0.05])


@pytest.mark.parametrize("number", [1, 7])
def test_equal_values_have_a_point_for_an_interval(number: int) -> None:
    found = summary.distribution(pd.Series([0.75] * number), SETTINGS)

    assert found == dict.fromkeys(("mean", "low", "high", "median", "p05"), 0.75)


def rows(*values: tuple[Any, ...]) -> pd.DataFrame:
    """A per_image.csv: image_id, diagnosis, fold, class, dice, iou, sensitivity, specificity, tp, fp, fn, tn."""
    columns = ["image_id", "diagnosis", "fold", "class", *metrics.SCORES[:4], "tp", "fp", "fn", "tn"]
    return pd.DataFrame(values, columns=columns).assign(dataset="phantoms", **dict.fromkeys(metrics.SCORES[4:], 1.0))


def test_the_figures_have_every_number_by_name() -> None:
    test = rows(
        ("a", "melanoma", 0, "lesion", 0.5, 0.25, 0.5, 1.0, 1, 1, 1, 1),
        ("b", "common", 0, "lesion", 1.0, 1.0, NAN, 1.0, 0, 0, 0, 4),
        ("c", "common", 3, "lesion", 0.75, 0.5, 0.75, NAN, 3, 0, 1, 0),
    )

    figures = summary.cross_validated(test, test[:2], SETTINGS)

    distributions = {name: figures.pop(name) for name in ("dice", "iou")}
    assert figures == {
        "images": 3,
        "empty_masks": 1,
        "folds": 2,
        "sensitivity": {"mean": 0.625},  # over the images that have a lesion
        "specificity": {"mean": 1.0},  # over the images that have skin
        "val": {"dice": 0.75, "iou": 0.625},
        "by_diagnosis": {"common": {"dice": 0.875, "iou": 0.75}, "melanoma": {"dice": 0.5, "iou": 0.25}},
        "fold": {"0": {"dice": 0.75, "iou": 0.625}, "3": {"dice": 0.75, "iou": 0.5}},
    }
    for name, found in distributions.items():
        assert list(found) == ["mean", "low", "high", "median", "p05"]
        assert found["mean"] == pytest.approx(test[name].mean())
    assert all(type(leaf) in (int, float) for leaf in leaves(figures | distributions))


def test_an_image_of_several_classes_has_their_mean() -> None:
    test = rows(
        ("a", "x", 0, "head", 0.5, 0.25, 0.5, 1.0, 1, 1, 1, 1),
        ("a", "x", 0, "body", 1.0, 0.75, 1.0, 0.5, 2, 0, 0, 2),
        ("b", "x", 0, "head", 0.0, 0.0, NAN, 1.0, 0, 1, 0, 3),
        ("b", "x", 0, "body", 1.0, 1.0, 1.0, 1.0, 4, 0, 0, 0),
    )

    images, figures = summary.by_image(test), summary.tested(test, SETTINGS)

    assert images.image_id.tolist() == ["a", "b"]
    assert images[["dice", "sensitivity", "tp", "fp"]].values.tolist() == [[0.75, 0.75, 3, 1], [0.5, 1.0, 4, 1]]
    assert figures["images"] == 2
    assert figures["dice"]["mean"] == 0.625
    assert figures["empty_masks"] == 1  # no head in b
    assert figures["by_class"] == {"head": {"dice": 0.25, "iou": 0.125}, "body": {"dice": 1.0, "iou": 0.875}}


def leaves(value: Any) -> list[Any]:
    """All that is no dict; DVC shows numbers only."""
    return [leaf for each in value.values() for leaf in leaves(each)] if isinstance(value, dict) else [value]
