"""Whether the difference between two results is significant.

The Wilcoxon signed-rank p value, multiplied by the number of comparisons (Bonferroni), decides: below ALPHA the
difference is significant. With random signs this flags 5 % of differences, as it should. Requiring in addition that
the bootstrap interval excludes 0 flagged only 2 to 3 %, because a few large changes, typical of segmentation, make the
two disagree. The verdict says when the interval includes 0.

Both measure chance over images, not over training runs.
"""

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
from scipy.stats import wilcoxon

from naevi.config import EvaluateConfig
from naevi.errors import UserError, first_ten
from naevi.evaluation.summary import absent_classes, average_classes, distribution
from naevi.experiments.named_results import NamedResult, other_results
from naevi.workspace import Workspace

COMPARED_SCORES = {"dice": "Dice", "iou": "IoU"}
ALPHA = 0.05
DECIMALS = 9  # of a difference: files have six digits, and rounding errors would break ties
SMALLEST_SHOWN = 0.0001


class PairedImages(NamedTuple):
    """The images for which two results have a score.

    images: image_id, dataset and diagnosis if known, dice_a, dice_b, iou_a, iou_b. only_a, only_b: the number of
    images that only one result has. unscored: the number of images that are left out, because at least one of the
    results has no score for them.
    """

    images: pd.DataFrame
    only_a: int
    only_b: int
    unscored: int


@dataclass(frozen=True)
class ScoreDifference:
    """One score of A and B, and B minus A: mean, 95 % interval over images, two-sided Wilcoxon p, numbers of images."""

    score: str
    a: float
    b: float
    mean: float
    low: float
    high: float
    p: float
    better: int
    worse: int
    equal: int

    @property
    def images(self) -> int:
        """The number of compared images."""
        return self.better + self.worse + self.equal


@dataclass(frozen=True)
class Comparison:
    """Two results, their common images and their differences by score; n_comparisons is the factor of p.

    `by_dataset` has the differences of each data set if there are several.
    """

    a: NamedResult
    b: NamedResult
    pairs: PairedImages
    differences: dict[str, ScoreDifference]
    n_comparisons: int
    resamples: int
    by_dataset: dict[str, dict[str, ScoreDifference]]


def pair_results(a: NamedResult, b: NamedResult) -> PairedImages:
    """Return the images of both results in the order of A, scores averaged over classes. Old tables may lack columns.

    Raises UserError if data sets or masks differ, if no image is in both, or if no image has a score in both.
    """
    left, right = image_scores(a.per_image), image_scores(b.per_image)
    if "dataset" in left and "dataset" in right and set(left.dataset) != set(right.dataset):
        names = [" and ".join(sorted(set(table.dataset))) for table in (left, right)]
        raise UserError(
            f"{a.name} was measured on {names[0]}, {b.name} on {names[1]}. Compare results of the same data set."
        )
    both = left.merge(right, on="image_id", suffixes=("_a", "_b"))
    if both.empty:
        examples = [
            f"{name} ({first_ten(ids[:2])}, …)" for name, ids in ((a.name, left.image_id), (b.name, right.image_id))
        ]
        raise UserError(f"{' and '.join(examples)} have no image in common. Compare results of the same images.")
    if {"tp_a", "fn_a", "tp_b", "fn_b"} <= set(both):
        changed = both.image_id[both.tp_a + both.fn_a != both.tp_b + both.fn_b]
        if len(changed):
            raise UserError(
                f"{a.name} and {b.name} were scored against different masks "
                f"({len(changed)} of {len(both)} images: {first_ten(changed)}). Compare results with the same masks."
            )
    both = both.rename(columns={"dataset_a": "dataset", "diagnosis_a": "diagnosis"})
    columns = ["image_id", "dataset", "diagnosis", *(f"{score}_{side}" for score in COMPARED_SCORES for side in "ab")]
    images = both[[column for column in columns if column in both]].dropna(subset=["dice_a", "dice_b"])
    if images.empty:
        raise UserError(f"{a.name} and {b.name} have no image that has a score in both. Compare other results.")
    return PairedImages(images, len(left) - len(both), len(right) - len(both), len(both) - len(images))


def image_scores(per_image: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each image, scores averaged over its classes. Absent classes are left out.

    An absent class is neither in the mask nor in the prediction. In older tables it has a score of 1.
    """
    absent = absent_classes(per_image)
    return average_classes(per_image.assign(**{score: per_image[score].mask(absent) for score in COMPARED_SCORES}))


def describe_unscored(pairs: PairedImages) -> str:
    """Return a sentence about the number of images that are left out, or an empty string if there are none."""
    if not pairs.unscored:
        return ""
    return (
        f"{pairs.unscored} of the {pairs.unscored + len(pairs.images)} images are left out, because at least one of "
        "the results has no score for them: the mask and its prediction contain only background."
    )


def compare_scores(pairs: PairedImages, settings: EvaluateConfig) -> dict[str, ScoreDifference]:
    """Return the difference of each score. The settings give the number of bootstrap samples and their seed."""
    return {score: _score_difference(score, pairs.images, settings) for score in COMPARED_SCORES}


def compare_data_sets(pairs: PairedImages, settings: EvaluateConfig) -> dict[str, dict[str, ScoreDifference]]:
    """Return what `compare_scores` returns, for each data set by its name. It is empty unless there are several."""
    if "dataset" not in pairs.images or pairs.images.dataset.nunique() < 2:
        return {}
    return {
        str(name): compare_scores(pairs._replace(images=images), settings)
        for name, images in pairs.images.groupby("dataset")
    }


def _score_difference(score: str, images: pd.DataFrame, settings: EvaluateConfig) -> ScoreDifference:
    a, b = images[f"{score}_a"], images[f"{score}_b"]
    difference = (b - a).round(DECIMALS)
    not_zero = difference[difference != 0]
    summary = distribution(difference, settings)
    return ScoreDifference(
        score=score,
        a=float(a.mean()),
        b=float(b.mean()),
        mean=summary["mean"],
        low=summary["low"],
        high=summary["high"],
        p=float(wilcoxon(not_zero).pvalue) if len(not_zero) else 1.0,
        better=int((difference > 0).sum()),
        worse=int((difference < 0).sum()),
        equal=int((difference == 0).sum()),
    )


def bonferroni(p: float, n_comparisons: int) -> float:
    """Return p corrected for the number of comparisons, up to 1."""
    return min(1.0, p * n_comparisons)


def is_significant(difference: ScoreDifference, n_comparisons: int) -> bool:
    """Return whether the corrected p is below ALPHA."""
    return bonferroni(difference.p, n_comparisons) < ALPHA


def verdict(a: str, b: str, dice: ScoreDifference, n_comparisons: int) -> str:
    """Return two sentences: by how much B is better or worse than A, and whether that is significant."""
    if dice.equal == dice.images:
        return f"{b} and {a} have the same Dice on all {dice.images} images. No difference."
    change = f"is {'better' if dice.mean > 0 else 'worse'} than {a} by {abs(dice.mean):.4f} Dice"
    if abs(dice.mean) < SMALLEST_SHOWN / 2:
        change = f"differs from {a} by less than {SMALLEST_SHOWN} Dice"
    # If B is worse, this is the interval of the amount by which it is worse.
    low, high = (dice.low, dice.high) if dice.mean > 0 else (-dice.high, -dice.low)
    p = format_p(bonferroni(dice.p, n_comparisons))
    p = p if p.startswith("<") else f"= {p}"
    correction = f" after correction for {n_comparisons} comparisons" if n_comparisons > 1 else ""
    return (
        f"{b} {change} (95 % interval {low:.4f} to {high:.4f}, Wilcoxon p {p}{correction}, {dice.images} images). "
        f"{_describe_significance(dice, n_comparisons)}"
    )


def _describe_significance(dice: ScoreDifference, n_comparisons: int) -> str:
    name = "corrected p" if n_comparisons > 1 else "p"
    if not is_significant(dice, n_comparisons):
        return f"Not significant ({name} ≥ {ALPHA})."
    if dice.low <= 0 <= dice.high:
        return (
            f"Significant ({name} < {ALPHA}), although the interval of the mean includes 0: {dice.better} images are "
            f"better, {dice.worse} worse."
        )
    return f"Significant ({name} < {ALPHA})."


def format_p(p: float) -> str:
    """Return p with four decimals, or "< 0.0001"."""
    return f"< {SMALLEST_SHOWN}" if p < SMALLEST_SHOWN else f"{p:.4f}"


def count_comparisons(workspace: Workspace, *results: NamedResult) -> int:
    """Return the number of different results that one result can be compared with, at least 1.

    These are the committed default, the published results, the DVC experiments and the given results. Removed results
    can't be counted.
    """
    tables = [result.per_image for result in results]
    for other in other_results(workspace):
        try:
            pair_results(results[0], other)
        except UserError:  # it has other images, so it can't be compared
            continue
        tables.append(other.per_image)
    return max(1, count_distinct(tables) - 1)


def count_distinct(tables: list[pd.DataFrame]) -> int:
    """Return how many of these per_image.csv differ in the scores of an image. Other columns don't count."""
    columns = ["image_id", *COMPARED_SCORES]
    return len({image_scores(rows)[columns].sort_values(columns).to_csv(index=False) for rows in tables})
