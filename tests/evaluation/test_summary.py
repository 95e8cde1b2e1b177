"""Means, intervals and groups, by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from naevi.config import EvaluateConfig
from naevi.errors import UserError
from naevi.evaluation.calibration import N_BINS
from naevi.evaluation.summary import (
    ALL_SCORES,
    AREA_THIRDS,
    absent_classes,
    average_classes,
    distribution,
    subgroups,
    summarize,
    summarize_cross_validation,
)

SETTINGS = EvaluateConfig(
    flips=False, turns=False, threshold=0.5, fill_holes=False, largest_only=False, resamples=10_000, seed=0
)
NAN = float("nan")


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    sample = rng.beta(8, 2, 200)
    means = rng.choice(sample, (10_000, 200)).mean(axis=1)

    found = distribution(pd.Series(sample), SETTINGS)

    assert [found["low"], found["high"]] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.002)
    assert found["low"] < found["mean"] < found["high"]
    assert found["mean"] == pytest.approx(sample.mean())
    assert found == distribution(pd.Series(sample), SETTINGS)


def test_the_middle_and_the_low_end_by_hand() -> None:
    """The 5th percentile of 21 values is the second lowest."""
    found = distribution(pd.Series(np.arange(21) / 20), SETTINGS)

    assert [found["mean"], found["median"], found["p05"]] == pytest.approx([0.5, 0.5, 0.05])


@pytest.mark.parametrize("number", [1, 7])
def test_equal_values_have_a_point_for_an_interval(number: int) -> None:
    found = distribution(pd.Series([0.75] * number), SETTINGS)

    assert found == dict.fromkeys(("mean", "low", "high", "median", "p05", "p95"), 0.75) | {"sd": 0}


PIXELS = np.zeros((1, 2, N_BINS), np.int64)
PIXELS[0, :, 750] = [1, 3]  # three of four at .7505 are lesion


def rows(*values: tuple[Any, ...]) -> pd.DataFrame:
    """A per_image.csv of these columns; its images have areas of .1, .2, … and all other scores are .9."""
    columns = ["image_id", "diagnosis", "fold", "class", "dice", "iou", "sensitivity", "tp", "fp", "fn", "tn"]
    table = pd.DataFrame(values, columns=columns)
    area = pd.factorize(table.image_id)[0] / 10 + 0.1
    others = dict.fromkeys([name for name in ALL_SCORES if name not in table], 0.9)
    return table.assign(dataset="phantoms", lesion_fraction=area, touches_frame=area > 0.25, dark_corners=0, **others)


def group(number: int, dice: float, iou: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """What is told of a part of the images; of equal scores the interval is a point."""
    return {
        "images": number,
        "dice": dice,
        "low": dice if low is None else low,
        "high": dice if high is None else high,
        "iou": iou,
    }


BODY = {"dice": 2.8 / 3, "low": 0.85, "high": 1.0, "iou": 0.9}


def test_the_figures_have_every_number_by_name() -> None:
    test = rows(
        ("a", "melanoma", 0, "lesion", 0.5, 0.25, 0.5, 1, 1, 1, 1),
        ("b", "common", 0, "lesion", 1.0, 1.0, NAN, 0, 0, 0, 4),
        ("c", "common", 3, "lesion", 0.75, 0.5, 0.75, 3, 0, 1, 0),
    ).assign(confidence=[0.5, 0.9, 0.8])

    figures = summarize_cross_validation(test, PIXELS, test[:2], SETTINGS)

    distributions = {name: figures.pop(name) for name in ALL_SCORES}
    assert figures == {
        "images": 3,
        "empty_masks": 1,
        "empty_predictions": 1,
        "failed": 2,  # IoU below .65
        "unscored": 0,
        "micro": {"dice": 8 / 11, "iou": 4 / 7},
        "calibration": {"expected_error": pytest.approx(0.0005)},
        "kept": {"dice_at_80": pytest.approx(0.8 * 0.75 + 0.2 * 1.0, abs=0.06), "dice_at_50": pytest.approx(0.9375)},
        "folds": 2,
        "val": {"dice": 0.75, "iou": 0.625},
        "by_diagnosis": {"common": group(2, 0.875, 0.75, 0.75, 1.0), "melanoma": group(1, 0.5, 0.25)},
        "by_area": {"small": group(1, 0.5, 0.25), "middle": group(1, 1.0, 1.0), "large": group(1, 0.75, 0.5)},
        "by_frame": {"inside": group(2, 0.75, 0.625, 0.5, 1.0), "touching": group(1, 0.75, 0.5)},
        "by_corners": {"bright": group(3, 0.75, 7 / 12, 0.5, 1.0)},
        "fold": {"0": group(2, 0.75, 0.625, 0.5, 1.0), "3": group(1, 0.75, 0.5)},
    }
    assert distributions["sensitivity"]["mean"] == 0.625  # over the images that have a lesion
    for name, found in distributions.items():
        assert list(found) == ["mean", "low", "high", "median", "sd", "p05", "p95"]
        assert found["mean"] == pytest.approx(test[name].mean())
    assert all(type(leaf) in (int, float) for leaf in leaves(figures | distributions))


def test_an_image_of_several_classes_has_their_mean() -> None:
    test = rows(
        ("a", "x", 0, "head", 0.5, 0.25, 0.5, 1, 1, 1, 1),
        ("a", "x", 0, "body", 1.0, 0.75, 1.0, 2, 0, 0, 2),
        ("b", "x", 0, "head", 0.0, 0.0, NAN, 0, 1, 0, 3),
        ("b", "x", 0, "body", 1.0, 1.0, 1.0, 4, 0, 0, 0),
    )

    images, figures = average_classes(test), summarize(test, np.repeat(PIXELS, 2, axis=0), SETTINGS)

    assert images.image_id.tolist() == ["a", "b"]
    assert images[["dice", "sensitivity", "tp", "fp"]].values.tolist() == [[0.75, 0.75, 3, 1], [0.5, 1.0, 4, 1]]
    assert figures["images"] == 2
    assert figures["dice"]["mean"] == 0.625
    assert figures["empty_masks"] == 0  # b lacks a head, but not a body
    assert figures["by_class"] == {"head": group(2, 0.25, 0.125, 0.0, 0.5), "body": group(2, 1.0, 0.875)}
    assert figures["micro"]["dice"] == pytest.approx((2 / 5 + 1) / 2)


# Of two classes, a is scored for both. b has no head: it is predicted in b, but not in c. d has nothing.
PARTLY_ABSENT = (
    ("a", "x", 0, "head", 0.5, 0.25, 0.5, 1, 1, 1, 1),
    ("a", "x", 0, "body", 1.0, 1.0, 1.0, 2, 0, 0, 2),
    ("b", "x", 0, "head", 0.0, 0.0, NAN, 0, 1, 0, 3),
    ("b", "x", 0, "body", 1.0, 1.0, 1.0, 3, 0, 0, 1),
    ("c", "y", 1, "head", NAN, NAN, NAN, 0, 0, 0, 4),
    ("c", "y", 1, "body", 0.8, 0.7, 0.8, 2, 0, 1, 1),
    ("d", "z", 2, "head", NAN, NAN, NAN, 0, 0, 0, 4),
    ("d", "z", 2, "body", NAN, NAN, NAN, 0, 0, 0, 4),
)


def test_absent_classes_and_images_without_a_score_are_left_out_of_every_mean() -> None:
    """Images score (.5 + 1) / 2, (0 + 1) / 2 and .8. d is in no subgroup and no fold."""
    test, pixels = rows(*PARTLY_ABSENT), np.repeat(PIXELS, 2, axis=0)

    figures = summarize_cross_validation(test, pixels, test[test.image_id == "d"], SETTINGS)

    assert (figures["images"], figures["unscored"], figures["failed"]) == (4, 1, 2)
    assert (figures["empty_masks"], figures["empty_predictions"]) == (1, 1)
    assert figures["dice"]["mean"] == pytest.approx((0.75 + 0.5 + 0.8) / 3)
    assert figures["sensitivity"]["mean"] == pytest.approx((0.75 + 1 + 0.8) / 3)
    assert figures["kept"]["dice_at_50"] <= 0.8
    assert figures["by_class"] == {
        "head": group(2, 0.25, 0.125, 0.0, 0.5),
        "body": {"images": 3} | {name: pytest.approx(value, abs=0.07) for name, value in BODY.items()},
    }
    assert figures["micro"]["dice"] == pytest.approx((2 / 5 + 14 / 15) / 2)
    assert {name: scores["images"] for name, scores in figures["by_diagnosis"].items()} == {"x": 2, "y": 1}
    assert {name: scores["images"] for name, scores in figures["by_area"].items()} == dict.fromkeys(AREA_THIRDS, 1)
    assert (figures["folds"], list(figures["fold"])) == (3, ["0", "1"])
    assert figures["val"] == {}  # no validation image has a score
    assert not any(leaf != leaf for leaf in leaves(figures))


def test_without_any_score_there_is_no_result() -> None:
    test = rows(*PARTLY_ABSENT[6:])

    with pytest.raises(
        UserError, match=r"^None of the 1 tested images has a score, .* Add other folds to cv\.models, or images with"
    ):
        summarize(test, np.repeat(PIXELS, 2, axis=0), SETTINGS)


def test_a_class_is_absent_if_there_are_several_and_neither_mask_nor_prediction_has_it() -> None:
    test = rows(*PARTLY_ABSENT)

    assert absent_classes(test).tolist() == [False, False, False, False, True, False, True, True]
    assert not absent_classes(test[test["class"] == "head"]).any()
    assert not absent_classes(test.drop(columns="fp")).any()
    assert not absent_classes(test.drop(columns="class")).any()


def test_a_score_that_no_image_has_is_left_out() -> None:
    assert distribution(pd.Series([NAN, NAN]), SETTINGS) == {}


@pytest.mark.parametrize(
    ("number", "areas"),
    [(1, ["small"]), (2, ["small", "middle"]), (4, ["small", "small", "middle", "large"])],
)
def test_thirds_by_area(number: int, areas: list[str]) -> None:
    images = pd.DataFrame(
        {"lesion_fraction": [0.3] * number, "touches_frame": True, "dark_corners": 1, "diagnosis": "x", "dataset": "d"}
    )

    assert subgroups(images)["area"].tolist() == areas
    assert set(subgroups(images)["corners"]) == {"dark"}


def leaves(value: Any) -> list[Any]:
    """All that is no dict; DVC shows numbers only."""
    return [leaf for each in value.values() for leaf in leaves(each)] if isinstance(value, dict) else [value]
