"""Scores by hand on masks small enough to draw, and against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from naevi.metrics import OVERLAP_SCORES, confusion_counts, overlap_scores

NAN = float("nan")


def scored(mask: list[list[int]], prediction: list[list[int]]) -> dict[str, float]:
    """The scores of one image."""
    return overlap_scores(confusion_counts([mask], [prediction])).iloc[0].to_dict()


def test_counts_and_scores_by_hand() -> None:
    mask = [[1, 1, 0, 0], [1, 0, 0, 0]]
    prediction = [[1, 1, 1, 0], [0, 0, 0, 0]]

    # 2 found, 1 too many, 1 missed, 4 rightly left.
    assert confusion_counts([mask], [prediction]).to_dict("records") == [
        {"class_index": 1, "tp": 2, "fp": 1, "fn": 1, "tn": 4}
    ]
    assert scored(mask, prediction) == pytest.approx(
        {
            "dice": 4 / 6,
            "iou": 2 / 4,
            "sensitivity": 2 / 3,
            "specificity": 4 / 5,
            "precision": 2 / 3,
            "threshold_jaccard": 0,
            "area_error": 0,
        }
    )


@pytest.mark.parametrize(
    ("mask", "prediction", "expected"),
    [  # in the order of SCORES
        ([0, 0], [0, 0], [1, 1, NAN, 1, NAN, 1, NAN]),
        ([0, 0], [0, 1], [0, 0, NAN, 0.5, 0, 0, NAN]),
        ([0, 1], [0, 0], [0, 0, 0, 1, NAN, 0, -1]),
        ([1, 1], [1, 1], [1, 1, 1, NAN, 1, 1, 0]),
        ([1, 1], [0, 1], [2 / 3, 0.5, 0.5, NAN, 1, 0, -0.5]),
        ([0, 1], [1, 0], [0, 0, 0, 0, 0, 0, 0]),
        ([0, 1], [0, 1], [1, 1, 1, 1, 1, 1, 0]),
        ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [0.8, 2 / 3, 1, 2 / 3, 2 / 3, 2 / 3, 0.5]),
    ],
)
def test_what_is_empty_or_full_has_a_defined_score_or_none(
    mask: list[int], prediction: list[int], expected: list[float]
) -> None:
    """Nothing to find and nothing found is right; sensitivity without a lesion and specificity without skin are NaN."""
    assert list(scored([mask], [prediction])) == OVERLAP_SCORES
    assert list(scored([mask], [prediction]).values()) == pytest.approx(expected, nan_ok=True)


def test_each_image_is_counted_for_itself() -> None:
    masks = np.zeros((3, 1, 2, 2), np.uint8)
    masks[1] = masks[2, 0, 0, 0] = 1

    assert confusion_counts(masks, masks.astype(bool)).tp.tolist() == [0, 4, 1]


def test_each_class_is_counted_for_itself() -> None:
    """Class 1 is taken for class 2 once, and class 2 is absent from the second image, where it is predicted."""
    masks = [[0, 1, 1, 2], [0, 0, 1, 1]]
    predictions = [[0, 1, 2, 2], [0, 2, 1, 1]]

    found = confusion_counts(masks, predictions, classes=3)

    assert found.values.tolist() == [[1, 1, 0, 1, 2], [2, 1, 1, 0, 2], [1, 2, 0, 0, 2], [2, 0, 1, 0, 3]]
    assert overlap_scores(found).dice.tolist() == pytest.approx([2 / 3, 2 / 3, 1, 0])


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((50, 1, 9, 11)) < rng.uniform(0.2, 0.8, (50, 1, 1, 1))
    predictions = masks ^ (rng.random(masks.shape) < 0.2)
    table = overlap_scores(confusion_counts(masks, predictions))

    for row, mask, prediction in zip(table.itertuples(), masks, predictions, strict=True):
        pair = mask.ravel(), prediction.ravel()
        assert row.dice == pytest.approx(f1_score(*pair), abs=1e-9)
        assert row.iou == pytest.approx(jaccard_score(*pair), abs=1e-9)
        assert row.sensitivity == pytest.approx(recall_score(*pair), abs=1e-9)
        assert row.precision == pytest.approx(precision_score(*pair), abs=1e-9)
        assert row.specificity == pytest.approx(recall_score(*pair, pos_label=False), abs=1e-9)
