"""Curves by hand on a few pixels, and against scikit-learn's on many."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, precision_recall_curve, roc_auc_score, roc_curve

from naevi.evaluation.calibration import (
    N_BINS,
    N_SHOWN_BINS,
    brier_score,
    count_by_probability,
    dice_confidence,
    expected_calibration_error,
    reliability_curve,
    risk_coverage_curve,
    threshold_curve,
)


def pixels(number: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities in the middle of bins, float32 (100, N / 100), and an area that they overrate."""
    rng = np.random.default_rng(0)
    probability = ((rng.integers(0, N_BINS, number) + 0.5) / N_BINS).astype(np.float32).reshape(100, -1)
    return probability, rng.random(probability.shape) < probability**2


def test_counts_by_hand() -> None:
    """0 and 1 fall into the first and the last bin."""
    found = count_by_probability(
        np.array([[0, 0.0015, 0.5], [0.9996, 1, 1]], np.float32), np.array([[0, 0, 1], [1, 1, 0]], bool)
    )

    assert found.shape == (2, N_BINS)
    assert {(side, place): found[side, place] for side, place in np.argwhere(found)} == {
        (0, 0): 1,
        (0, 1): 1,
        (0, 999): 1,
        (1, 500): 1,
        (1, 999): 2,
    }


def test_counts_of_images_add_up() -> None:
    probability, area = pixels()

    halves = count_by_probability(probability[:50], area[:50]) + count_by_probability(probability[50:], area[50:])
    assert np.array_equal(halves, count_by_probability(probability, area))


def test_brier_is_scikit_learn_s() -> None:
    probability, area = pixels()

    assert brier_score(probability, area) == pytest.approx(
        brier_score_loss(area.ravel(), probability.ravel()), abs=1e-7
    )


@pytest.mark.parametrize(
    ("probability", "prediction", "expected"),
    [
        ([1.0, 1.0, 0.0], [1, 1, 0], 1),
        ([0.5, 0.5, 0.0], [1, 1, 0], 2 * 1 / (1 + 2)),
        ([0.8, 0.6, 0.4], [1, 1, 0], 2 * 1.4 / (1.8 + 2)),
        ([0.2, 0.1, 0.0], [0, 0, 0], 1),
        ([0.0, 0.0, 0.0], [1, 1, 1], 0),
    ],
)
def test_confidence_by_hand(probability: list[float], prediction: list[int], expected: float) -> None:
    found = dice_confidence(np.array([probability], np.float32), np.array([prediction], bool))

    assert found == pytest.approx(expected, abs=1e-6)


def test_reliability_is_scikit_learn_s() -> None:
    probability, area = pixels()
    found = reliability_curve(count_by_probability(probability, area))
    observed, mean = calibration_curve(area.ravel(), probability.ravel(), n_bins=N_SHOWN_BINS)

    assert found.observed.to_numpy() == pytest.approx(observed)
    assert found.probability.to_numpy() == pytest.approx(mean, abs=1e-6)
    assert found.pixels.sum() == probability.size


def test_the_expected_error_by_hand() -> None:
    """Three pixels at .25 of which one is in the area, one at .95 that is: (3 * (1/3 - 1/4) + .05) / 4."""
    probability = np.array([[0.2505, 0.2505, 0.2505, 0.9505]], np.float32)
    found = expected_calibration_error(count_by_probability(probability, np.array([[0, 0, 1, 1]], bool)))

    assert found == pytest.approx((3 * abs(1 / 3 - 0.2505) + 0.0495) / 4)


def test_thresholds_are_scikit_learn_s_curves() -> None:
    probability, area = pixels()
    curve = threshold_curve(count_by_probability(probability, area))
    false, true, at = roc_curve(area.ravel(), probability.ravel(), drop_intermediate=False)
    precision, sensitivity, cut = precision_recall_curve(area.ravel(), probability.ravel())

    for row in curve[::97].itertuples():
        place = np.searchsorted(-at, -row.threshold, side="right") - 1
        assert (row.false_positive_rate, row.sensitivity) == pytest.approx((false[place], true[place]))
        place = np.searchsorted(cut, row.threshold)
        assert (row.precision, row.sensitivity) == pytest.approx((precision[place], sensitivity[place]))
    area_below = np.trapezoid(curve.sensitivity[::-1], curve.false_positive_rate[::-1])
    assert area_below == pytest.approx(roc_auc_score(area.ravel(), probability.ravel()), abs=1e-6)


@pytest.mark.parametrize("value", [False, True])
def test_an_area_that_is_empty_or_full_has_curves_without_nan(value: bool) -> None:
    found = count_by_probability(np.full((3, 4), 0.7, np.float32), np.full((3, 4), value))

    assert not threshold_curve(found).isna().any(axis=None)
    assert reliability_curve(found).observed.tolist() == [float(value)]


def test_risk_and_coverage_by_hand() -> None:
    """The least confident image is the worst: without it the mean rises."""
    found = risk_coverage_curve(pd.Series([0.9, 0.5, 0.95, 0.9]), pd.Series([0.8, 0.2, 1.0, 0.9]))

    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert found.dice.tolist() == pytest.approx([1.0, 0.9, 0.9, 0.725])


def test_an_image_without_a_dice_is_in_no_risk() -> None:
    """It has the highest confidence here, and the other two are still half and all of the images."""
    found = risk_coverage_curve(pd.Series([0.9, 1.0, 0.5]), pd.Series([0.8, float("nan"), 0.2]))

    assert found.values.tolist() == [[0.5, pytest.approx(0.8)], [1, pytest.approx(0.5)]]
