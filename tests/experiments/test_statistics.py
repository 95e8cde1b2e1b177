"""Differences worked out by hand, chance that is recognized as chance, and results that can't be compared."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from naevi.errors import UserError
from naevi.experiments.named_results import NamedResult, load_result
from naevi.experiments.statistics import (
    Comparison,
    ScoreDifference,
    compare_scores,
    count_comparisons,
    count_distinct,
    describe_unscored,
    is_significant,
    pair_results,
    verdict,
)
from naevi.files import read_csv
from tests.experiments.helpers import per_image
from tests.helpers import HERE, ROOT

NAN = float("nan")

# By hand


def test_differences_are_those_of_each_image(compare: Callable) -> None:
    a, b = per_image([0.5, 0.6, 0.7, 0.8, 0.95]), per_image([0.51, 0.62, 0.73, 0.84, 0.9])

    difference = compare(a, b.iloc[::-1]).differences["dice"]  # in another order

    assert (difference.a, difference.b) == pytest.approx((0.71, 0.72))
    assert difference.mean == pytest.approx(0.01)
    assert (difference.better, difference.worse, difference.equal, difference.images) == (4, 1, 0, 5)
    # Ranks 1 to 4 are positive and 5 is negative. 10 of the 32 ways to give signs have a sum of up to 5 on one side:
    # none, each of 1 to 5 alone, 1 and 2, 1 and 3, 1 and 4, 2 and 3.
    assert difference.p == pytest.approx(2 * 10 / 32)


def test_an_image_that_stays_the_same_has_no_rank(compare: Callable) -> None:
    a = per_image([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9])
    b = per_image([0.11, 0.22, 0.33, 0.44, 0.55, 0.66, 0.9])

    difference = compare(a, b).differences["dice"]

    assert (difference.better, difference.worse, difference.equal) == (6, 0, 1)
    assert difference.p == pytest.approx(2 / 64)  # six positive ranks: one of 64 ways, and the opposite


def test_differences_that_are_equal_on_paper_are_ties(compare: Callable) -> None:
    """0.9 - 0.8 and 0.3 - 0.2 differ in the 17th digit."""
    difference = compare(per_image([0.8, 0.2, 0.8]), per_image([0.9, 0.3, 0.7])).differences["dice"]

    assert difference.mean == pytest.approx(0.1 / 3)
    # Three ranks of 2: sums on one side are 0, 2 (three ways), 4 (three ways) and 6, so up to 2 is half of all.
    assert difference.p == pytest.approx(1)


def test_the_interval_is_that_of_a_plain_bootstrap(config_with: Callable) -> None:
    rng = np.random.default_rng(1)
    before, change = rng.uniform(0.6, 0.9, 80), rng.normal(0.01, 0.03, 80).round(6)
    many = config_with({"evaluate.resamples": 10_000}).evaluate
    pairs = pair_results(NamedResult("A", per_image([*before])), NamedResult("B", per_image([*(before + change)])))

    difference = compare_scores(pairs, many)["dice"]

    means = [rng.choice(change, len(change)).mean() for _ in range(10_000)]
    low, high = np.percentile(means, [2.5, 97.5])
    assert (difference.low, difference.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_classes_of_an_image_are_averaged(compare: Callable) -> None:
    tables = per_image([0.5, 0.6]), per_image([0.6, 0.8])
    two = [pd.concat([table.assign(**{"class": "x"}), table.assign(**{"class": "y"}, dice=1.0)]) for table in tables]

    difference = compare(*two).differences["dice"]

    assert difference.images == 2
    assert difference.mean == pytest.approx(0.075)


def of_two_classes(**scores: list[list[float]]) -> pd.DataFrame:
    """Return a per_image.csv of classes x and y. Each image has a list of both Dice scores.

    Where it is NaN, neither mask nor prediction has the class. Otherwise each has a pixel of it.
    """
    tables = []
    for place, name in enumerate("xy"):
        table = per_image([pair[place] for pair in scores.values()], image_id=list(scores), **{"class": name})
        found = table.dice.notna().astype(int)
        tables.append(table.assign(tp=0, fp=found, fn=found))
    return pd.concat(tables)


def test_only_images_with_a_score_in_both_results_are_compared(compare: Callable) -> None:
    """Of i, the mean is that of the class that has a score. k is empty, and only B predicts something in it."""
    a = of_two_classes(h=[0.5, 0.7], i=[0.5, NAN], j=[NAN, NAN], k=[NAN, NAN])
    b = of_two_classes(h=[0.7, 0.7], i=[0.8, NAN], j=[NAN, NAN], k=[0.0, NAN]).assign(fn=a.fn)

    comparison = compare(a, b)

    difference = comparison.differences["dice"]
    assert (difference.a, difference.b, difference.images) == (pytest.approx(0.55), pytest.approx(0.75), 2)
    assert comparison.pairs.images.image_id.tolist() == ["h", "i"]
    assert (comparison.pairs.only_a, comparison.pairs.only_b, comparison.pairs.unscored) == (0, 0, 2)
    assert describe_unscored(comparison.pairs) == (
        "2 of the 4 images are left out, because at least one of the results has no score for them: the mask and "
        "its prediction contain only background."
    )
    assert describe_unscored(compare(a[:1], a[:1]).pairs) == ""


def test_an_older_table_with_1_for_absent_classes_is_compared_without_them(compare: Callable) -> None:
    new = of_two_classes(h=[0.5, NAN], i=[0.5, 0.7], j=[NAN, NAN])
    old = new.fillna({"dice": 1.0, "iou": 1.0})

    comparison = compare(old, new)

    assert comparison.pairs.images.dice_a.tolist() == comparison.pairs.images.dice_b.tolist() == [0.5, 0.6]
    assert comparison.pairs.unscored == 1
    assert count_distinct([old, new]) == 1


def test_results_without_a_score_in_common_are_refused(compare: Callable) -> None:
    a, b = of_two_classes(h=[NAN, NAN], i=[0.5, NAN]), of_two_classes(h=[0.0, NAN], i=[NAN, NAN])

    with pytest.raises(UserError, match=r"^A and B have no image that has a score in both\. Compare other results\.$"):
        compare(a, b.assign(fn=a.fn))


# Chance


def test_a_result_against_itself_shows_no_difference(compare: Callable) -> None:
    rows = per_image([0.5, 0.9, 0.7])

    comparison = compare(rows, rows, n_comparisons=3)

    for difference in comparison.differences.values():
        assert (difference.mean, difference.low, difference.high, difference.p) == (0, 0, 0, 1)
        assert not is_significant(difference, 1)
    assert (
        verdict("A", "B", comparison.differences["dice"], 3)
        == "B and A have the same Dice on all 3 images. No difference."
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lesson-12-segnet", "lesson-12-unet"])
def test_of_200_sign_flipped_trials_about_5_percent_are_flagged(name: str, compare: Callable) -> None:
    """Differences of real results with random signs, because no other seed was tried."""
    default, other = (read_csv(ROOT / file / "per_image.csv") for file in ("reports", HERE.results / name))
    both = default.merge(other, on="image_id", suffixes=("_a", "_b"))
    change = (both.dice_b - both.dice_a).to_numpy()
    rng = np.random.default_rng(0)

    def flagged() -> bool:
        signs = rng.choice([-1, 1], len(change))
        comparison = compare(per_image([0.5] * len(change)), per_image([*(0.5 + change * signs)]))
        return is_significant(comparison.differences["dice"], 1)

    assert 0.02 <= np.mean([flagged() for _ in range(200)]) <= 0.09


@pytest.mark.slow
def test_the_best_of_ten_random_differences_is_seldom_flagged(compare: Callable) -> None:
    rng = np.random.default_rng(0)
    base = per_image([0.5] * 30)
    sets = [[compare(base, per_image([*(0.5 + rng.normal(0, 0.05, 30))])) for _ in range(10)] for _ in range(30)]

    def any_flagged(comparisons: list[Comparison], n_comparisons: int) -> bool:
        return any(is_significant(comparison.differences["dice"], n_comparisons) for comparison in comparisons)

    assert np.mean([any_flagged(ten, 1) for ten in sets]) > 0.2  # without correction: 40 % is expected
    assert np.mean([any_flagged(ten, 10) for ten in sets]) <= 0.125  # 5 % is expected


# In words

WORSE = ScoreDifference("dice", 0.9, 0.88, -0.02, -0.03, -0.01, 0.004, 10, 90, 0)
BETTER = ScoreDifference("dice", 0.9, 0.91, 0.01, -0.001, 0.021, 0.004, 80, 20, 0)


@pytest.mark.parametrize(
    ("difference", "n_comparisons", "expected"),
    [
        (
            WORSE,
            1,
            "B is worse than A by 0.0200 Dice (95 % interval 0.0100 to 0.0300, Wilcoxon p = 0.0040, 100 images). "
            "Significant (p < 0.05).",
        ),
        (
            WORSE,
            10,
            "B is worse than A by 0.0200 Dice (95 % interval 0.0100 to 0.0300, Wilcoxon p = 0.0400 after correction "
            "for 10 comparisons, 100 images). Significant (corrected p < 0.05).",
        ),
        (
            WORSE,
            20,
            "B is worse than A by 0.0200 Dice (95 % interval 0.0100 to 0.0300, Wilcoxon p = 0.0800 after correction "
            "for 20 comparisons, 100 images). Not significant (corrected p ≥ 0.05).",
        ),
        (
            replace(WORSE, p=1e-6),
            20,
            "B is worse than A by 0.0200 Dice (95 % interval 0.0100 to 0.0300, Wilcoxon p < 0.0001 after correction "
            "for 20 comparisons, 100 images). Significant (corrected p < 0.05).",
        ),
        (
            BETTER,
            1,
            "B is better than A by 0.0100 Dice (95 % interval -0.0010 to 0.0210, Wilcoxon p = 0.0040, 100 images). "
            "Significant (p < 0.05), although the interval of the mean includes 0: 80 images are better, 20 worse.",
        ),
    ],
)
def test_the_verdict_has_the_amount_and_the_significance(
    difference: ScoreDifference, n_comparisons: int, expected: str
) -> None:
    assert verdict("A", "B", difference, n_comparisons) == expected


def test_a_mean_that_rounds_to_nothing_is_neither_better_nor_worse() -> None:
    same = replace(BETTER, mean=0.00001, low=-0.001, high=0.001, p=0.7)

    assert verdict("A", "B", same, 1) == (
        "B differs from A by less than 0.0001 Dice (95 % interval -0.0010 to 0.0010, Wilcoxon p = 0.7000, 100 images). "
        "Not significant (p ≥ 0.05)."
    )


# What can't be compared


def test_only_common_images_are_compared(compare: Callable) -> None:
    comparison = compare(per_image([0.5, 0.6, 0.7, 0.8]), per_image([0.6, 0.7]).assign(image_id=["i3", "new"]))

    assert comparison.differences["dice"].images == 1
    assert (comparison.pairs.only_a, comparison.pairs.only_b) == (3, 1)


def test_different_images_are_refused(compare: Callable) -> None:
    with pytest.raises(
        UserError,
        match=r"^A \(i0, i1, …\) and B \(x, y, …\) have no image in common\. Compare results of the same images\.$",
    ):
        compare(per_image([0.5, 0.6]), per_image([0.5, 0.6], image_id=["x", "y"]))


def test_different_data_sets_are_refused(compare: Callable) -> None:
    with pytest.raises(
        UserError, match=r"^A was measured on ph2, B on phantoms\. Compare results of the same data set\.$"
    ):
        compare(per_image([0.5]), per_image([0.5], dataset="phantoms"))


def test_different_masks_are_refused(compare: Callable) -> None:
    a = per_image([0.5, 0.5], tp=[1, 1], fn=[1, 1])

    with pytest.raises(
        UserError,
        match=r"scored against different masks \(1 of 2 images: i1\)\. Compare results with the same masks\.$",
    ):
        compare(a, a.assign(fn=[1, 2]))


def test_columns_of_old_tables_may_be_missing(compare: Callable) -> None:
    early = per_image([0.5, 0.6, 0.7])[["image_id", "fold", "dice", "iou"]]
    late = per_image([0.6, 0.7, 0.8], brier=0.1, confidence=0.9, **{"class": "lesion"})

    comparison = compare(early, late)

    assert comparison.differences["dice"].mean == pytest.approx(0.1)
    assert "diagnosis" in comparison.pairs.images
    assert "diagnosis" not in compare(early, early.assign(dice=0.1)).pairs.images


def test_each_different_result_counts_as_one_comparison(repository: SimpleNamespace) -> None:
    default, workspace = load_result(HERE, "default"), load_result(HERE, "workspace")

    # The default, the experiment (published as kept), other; and the workspace.
    assert count_comparisons(HERE, default, default) == 2
    assert count_comparisons(HERE, default, workspace) == 3
    # Another data set and a corrupt file: neither can be compared.
    per_image([0.6, 0.9], dataset="phantoms").to_csv(HERE.results / "kept" / "per_image.csv", index=False)
    (HERE.results / "other" / "per_image.csv").write_text("spoilt")
    assert count_comparisons(HERE, default, default) == 1
