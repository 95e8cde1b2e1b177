"""Scores by hand on masks small enough to draw, and against scikit-learn's."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, jaccard_score, recall_score

from naevi import metrics
from naevi.config import EvaluateConfig

SETTINGS = EvaluateConfig(
    flips=False, turns=False, threshold=0.5, fill_holes=False, largest_only=False, resamples=10_000, seed=0
)
NAN = float("nan")


def scored(mask: list[list[int]], prediction: list[list[int]]) -> dict[str, float]:
    """The scores of one image."""
    return metrics.scores(metrics.counts([mask], [prediction])).iloc[0].to_dict()


def test_counts_and_scores_by_hand() -> None:
    mask = [[1, 1, 0, 0], [1, 0, 0, 0]]
    prediction = [[1, 1, 1, 0], [0, 0, 0, 0]]

    # 2 found, 1 too many, 1 missed, 4 rightly left.
    assert metrics.counts([mask], [prediction]).to_dict("records") == [{"place": 1, "tp": 2, "fp": 1, "fn": 1, "tn": 4}]
    assert scored(mask, prediction) == pytest.approx(
        {"dice": 4 / 6, "iou": 2 / 4, "sensitivity": 2 / 3, "specificity": 4 / 5}
    )


@pytest.mark.parametrize(
    ("mask", "prediction", "dice", "iou", "sensitivity", "specificity"),
    [
        ([0, 0], [0, 0], 1, 1, NAN, 1),
        ([0, 0], [0, 1], 0, 0, NAN, 0.5),
        ([0, 1], [0, 0], 0, 0, 0, 1),
        ([1, 1], [1, 1], 1, 1, 1, NAN),
        ([1, 1], [0, 1], 2 / 3, 0.5, 0.5, NAN),
        ([0, 1], [1, 0], 0, 0, 0, 0),
        ([0, 1], [0, 1], 1, 1, 1, 1),
    ],
)
def test_what_is_empty_or_full_has_a_defined_score_or_none(
    mask: list[int], prediction: list[int], dice: float, iou: float, sensitivity: float, specificity: float
) -> None:
    """Nothing to find and nothing found is right; sensitivity without a lesion and specificity without skin are NaN."""
    expected = {"dice": dice, "iou": iou, "sensitivity": sensitivity, "specificity": specificity}

    assert scored([mask], [prediction]) == pytest.approx(expected, nan_ok=True)


def test_each_image_is_counted_for_itself() -> None:
    masks = np.zeros((3, 1, 2, 2), np.uint8)
    masks[1] = masks[2, 0, 0, 0] = 1

    assert metrics.counts(masks, masks.astype(bool)).tp.tolist() == [0, 4, 1]


def test_each_class_is_counted_for_itself() -> None:
    """Class 1 is taken for class 2 once, and class 2 is absent from the second image, where it is predicted."""
    masks = [[0, 1, 1, 2], [0, 0, 1, 1]]
    predictions = [[0, 1, 2, 2], [0, 2, 1, 1]]

    found = metrics.counts(masks, predictions, classes=3)

    assert found.values.tolist() == [[1, 1, 0, 1, 2], [2, 1, 1, 0, 2], [1, 2, 0, 0, 2], [2, 0, 1, 0, 3]]
    assert metrics.scores(found).dice.tolist() == pytest.approx([2 / 3, 2 / 3, 1, 0])


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((50, 1, 9, 11)) < rng.uniform(0.2, 0.8, (50, 1, 1, 1))
    predictions = masks ^ (rng.random(masks.shape) < 0.2)
    table = metrics.scores(metrics.counts(masks, predictions))

    for row, mask, prediction in zip(table.itertuples(), masks, predictions, strict=True):
        pair = mask.ravel(), prediction.ravel()
        assert row.dice == pytest.approx(f1_score(*pair), abs=1e-9)
        assert row.iou == pytest.approx(jaccard_score(*pair), abs=1e-9)
        assert row.sensitivity == pytest.approx(recall_score(*pair), abs=1e-9)
        assert row.specificity == pytest.approx(recall_score(*pair, pos_label=False), abs=1e-9)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    sample = rng.beta(8, 2, 200)
    means = rng.choice(sample, (10_000, 200)).mean(axis=1)

    found = metrics.distribution(pd.Series(sample), SETTINGS)

    assert [found["low"], found["high"]] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.002)
    assert found["low"] < found["mean"] < found["high"]
    assert found["mean"] == pytest.approx(sample.mean())
    assert found == metrics.distribution(pd.Series(sample), SETTINGS)


def test_the_middle_and_the_low_end_by_hand() -> None:
    """The 5th percentile of 21 values is the second lowest."""
    found = metrics.distribution(pd.Series(np.arange(21) / 20), SETTINGS)

    assert [found["mean"], found["median"], found["p05"]] == pytest.approx([0.5, 0.5, 0.05])


@pytest.mark.parametrize("number", [1, 7])
def test_equal_values_have_a_point_for_an_interval(number: int) -> None:
    found = metrics.distribution(pd.Series([0.75] * number), SETTINGS)

    assert found == dict.fromkeys(("mean", "low", "high", "median", "p05"), 0.75)


def rows(*values: tuple[Any, ...]) -> pd.DataFrame:
    """A per_image.csv: image_id, diagnosis, fold, class, dice, iou, sensitivity, specificity, tp, fp, fn, tn."""
    columns = ["image_id", "diagnosis", "fold", "class", *metrics.SCORES, "tp", "fp", "fn", "tn"]
    return pd.DataFrame(values, columns=columns).assign(dataset="phantoms")


def test_the_figures_have_every_number_by_name() -> None:
    test = rows(
        ("a", "melanoma", 0, "lesion", 0.5, 0.25, 0.5, 1.0, 1, 1, 1, 1),
        ("b", "common", 0, "lesion", 1.0, 1.0, NAN, 1.0, 0, 0, 0, 4),
        ("c", "common", 3, "lesion", 0.75, 0.5, 0.75, NAN, 3, 0, 1, 0),
    )

    figures = metrics.cross_validated(test, test[:2], SETTINGS)

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

    images, summary = metrics.by_image(test), metrics.summary(test, SETTINGS)

    assert images.image_id.tolist() == ["a", "b"]
    assert images[["dice", "sensitivity", "tp", "fp"]].values.tolist() == [[0.75, 0.75, 3, 1], [0.5, 1.0, 4, 1]]
    assert summary["images"] == 2
    assert summary["dice"]["mean"] == 0.625
    assert summary["empty_masks"] == 1  # no head in b
    assert summary["by_class"] == {"head": {"dice": 0.25, "iou": 0.125}, "body": {"dice": 1.0, "iou": 0.875}}


def leaves(value: Any) -> list[Any]:
    """All that is no dict; DVC shows numbers only."""
    return [leaf for each in value.values() for leaf in leaves(each)] if isinstance(value, dict) else [value]
