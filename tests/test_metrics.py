"""Scores by hand on masks small enough to draw, and against those of scikit-learn, MONAI and torchmetrics."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_iou
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from naevi.images.files import VOID
from naevi.metrics import OVERLAP_SCORES, confusion_counts, overlap_scores

NAN = float("nan")


def scored(mask: list[list[int]], prediction: list[list[int]]) -> dict[str, float]:
    """The scores of one image with two classes."""
    return overlap_scores(confusion_counts([mask], [prediction]), classes=2).iloc[0].to_dict()


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


def test_pixels_without_a_known_class_are_not_counted() -> None:
    """Of two lesion pixels in three that are known, one is found; the others would be false positives and negatives."""
    mask, prediction = [[1, 1, 0, VOID, VOID]], [[1, 0, 0, 1, 0]]

    assert confusion_counts(mask, prediction).to_dict("records") == [
        {"class_index": 1, "tp": 1, "fp": 0, "fn": 1, "tn": 1}
    ]


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
    assert overlap_scores(found, classes=3).dice.tolist() == pytest.approx([2 / 3, 2 / 3, 1, 0])


@pytest.mark.parametrize(
    ("mask", "prediction", "expected"),
    [  # of class 2, in the order of SCORES
        ([0, 1, 1, 0], [0, 1, 1, 0], [NAN] * 7),
        ([0, 1, 1, 0], [0, 1, 1, 2], [0, 0, NAN, 0.75, 0, 0, NAN]),
        ([0, 1, 1, 2], [0, 1, 1, 0], [0, 0, 0, 1, NAN, 0, -1]),
        ([0, 1, 2, 2], [0, 1, 1, 2], [2 / 3, 0.5, 0.5, 1, 1, 0, -0.5]),
        ([2, 2, 2, 2], [2, 2, 2, 2], [1, 1, 1, NAN, 1, 1, 0]),
    ],
)
def test_with_more_classes_one_that_is_in_neither_has_no_score(
    mask: list[int], prediction: list[int], expected: list[float]
) -> None:
    found = overlap_scores(confusion_counts([mask], [prediction], classes=3), classes=3)

    assert found.iloc[1].tolist() == pytest.approx(expected, nan_ok=True)


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((50, 1, 9, 11)) < rng.uniform(0.2, 0.8, (50, 1, 1, 1))
    predictions = masks ^ (rng.random(masks.shape) < 0.2)
    table = overlap_scores(confusion_counts(masks, predictions), classes=2)

    for row, mask, prediction in zip(table.itertuples(), masks, predictions, strict=True):
        pair = mask.ravel(), prediction.ravel()
        assert row.dice == pytest.approx(f1_score(*pair), abs=1e-9)
        assert row.iou == pytest.approx(jaccard_score(*pair), abs=1e-9)
        assert row.sensitivity == pytest.approx(recall_score(*pair), abs=1e-9)
        assert row.precision == pytest.approx(precision_score(*pair), abs=1e-9)
        assert row.specificity == pytest.approx(recall_score(*pair, pos_label=False), abs=1e-9)


def several_classes(classes: int = 6, number: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Masks and predictions, (N, 5, 6) of class indices. Each has two or three random classes and lacks the others."""
    rng = np.random.default_rng(0)

    def draw() -> np.ndarray:
        return rng.choice(rng.choice(classes, 1 + rng.integers(3)), (5, 6))

    return np.stack([draw() for _ in range(number)]), np.stack([draw() for _ in range(number)])


def test_scores_of_several_classes_are_those_of_monai() -> None:
    """MONAI has two rules for a class that the mask lacks.

    The score is NaN (ignore_empty), or 1 if nothing is predicted and otherwise 0. The rule here is between them: NaN if
    nothing is predicted, otherwise 0. nnU-Net has it too.
    """
    masks, predictions = several_classes()
    table = overlap_scores(confusion_counts(masks, predictions, classes=6), classes=6)
    in_mask, in_prediction = ((array[:, None] == np.arange(1, 6)[:, None, None]) for array in (masks, predictions))
    channels = [torch.from_numpy(area).float() for area in (in_prediction, in_mask)]
    has_mask, has_prediction = in_mask.any(axis=(2, 3)), in_prediction.any(axis=(2, 3))

    for name, measure in (("dice", compute_dice), ("iou", compute_iou)):
        found = table[name].to_numpy().reshape(-1, 5)
        ignored, counted = (measure(*channels, ignore_empty=ignore).numpy() for ignore in (True, False))
        assert np.array_equal(np.isnan(found), ~(has_mask | has_prediction))
        assert found[has_mask] == pytest.approx(ignored[has_mask])
        assert found[has_prediction] == pytest.approx(counted[has_prediction])
        assert np.isnan(ignored[~has_mask]).all()
        assert (counted[~has_mask & ~has_prediction] == 1).all()


def test_scores_of_two_classes_are_those_of_monai_without_ignore_empty() -> None:
    masks, predictions = ((array == 1).astype(int) for array in several_classes(classes=4))
    table = overlap_scores(confusion_counts(masks, predictions), classes=2)
    channels = [torch.from_numpy(area)[:, None].float() for area in (predictions, masks)]

    assert 0 < (masks.sum(axis=(1, 2)) + predictions.sum(axis=(1, 2)) == 0).sum() < len(masks)
    for name, measure in (("dice", compute_dice), ("iou", compute_iou)):
        assert table[name].to_numpy() == pytest.approx(measure(*channels, ignore_empty=False).numpy()[:, 0])


def test_scores_of_several_classes_are_those_of_torchmetrics() -> None:
    """Its Dice is NaN for a class that is in neither, and its IoU is -1. Its means over classes leave them out.

    With two classes it differs from the rule here: it has NaN for an image without any foreground, not 1.
    """
    functional = pytest.importorskip("torchmetrics.functional.segmentation")
    masks, predictions = several_classes()
    table = overlap_scores(confusion_counts(masks, predictions, classes=6), classes=6)
    dice, iou = (table[name].to_numpy().reshape(-1, 5) for name in ("dice", "iou"))
    pair = torch.from_numpy(predictions), torch.from_numpy(masks)
    settings = {"num_classes": 6, "include_background": False, "input_format": "index"}

    assert functional.dice_score(*pair, average="none", **settings).numpy() == pytest.approx(dice, nan_ok=True)
    assert functional.mean_iou(*pair, per_class=True, **settings).numpy() == pytest.approx(np.nan_to_num(iou, nan=-1))
    means = table.groupby(np.arange(len(table)) // 5)[["dice", "iou"]].mean()
    assert functional.dice_score(*pair, average="macro", **settings).numpy() == pytest.approx(means.dice, nan_ok=True)
    assert functional.mean_iou(*pair, **settings).numpy() == pytest.approx(means.iou, nan_ok=True)

    nothing = torch.zeros(1, 2, 2, dtype=torch.int64)
    two = settings | {"num_classes": 2}
    assert functional.dice_score(nothing, nothing, average="none", **two).isnan().all()
    assert scored([[0, 0]], [[0, 0]])["dice"] == 1
