"""Learn what mistakes look like in a data set: plant some in its masks, and tell these from the given masks."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from naevi.images.files import Pixels
from naevi.review.edges import Masks
from naevi.review.evidence import TURNS, TURNS_OF_ANY_SHAPE, LogOdds, mask_evidence, move_mask
from naevi.review.expectation import fit_logistic
from naevi.review.swaps import Swaps

SEED = 1
MAX_PLANTED = 600  # images of each kind
SHIFTS = (0.12, 0.5)  # of the diameter of a disk with the lesion's area
NAMES = ["turn", "down", "right", "partner"]  # columns that name an alternative and are not evidence
KINDS = ("turned", "shifted", "swapped")

Values = NDArray[np.float64]


def find_mistakes(
    images: Pixels, log_odds: LogOdds, masks: Masks, square: NDArray[np.bool_], folds: NDArray[np.int64]
) -> pd.DataFrame:
    """Return the evidence for each mask, the most probable kind of mistake in it, and the log-odds that it has one.

    Arguments are as for `mask_evidence`. A mistake planted in an image is never used for images of the same fold. Added
    columns: kind (one of KINDS) and mistake (the log-odds if half of the masks had a mistake of this kind).
    """
    with threadpool_limits(1):  # sums in BLAS depend on its number of threads
        swaps = Swaps(log_odds, masks)
        given = mask_evidence(images, log_odds, masks, square).join(swaps.evidence(np.arange(len(masks)), masks))
        planted = plant_mistakes(images, log_odds, masks, square, swaps)
        names = [name for name in given if name not in NAMES]
        values = given[names].to_numpy()
        result = np.zeros((len(KINDS), len(masks)))
        for number, kind in enumerate(KINDS):
            wrong = planted[planted.kind == kind]
            for fold in np.unique(folds):
                kept, outside = folds != fold, folds[wrong.image] != fold
                result[number, ~kept] = _log_odds(values[kept], wrong.loc[outside, names].to_numpy(), values[~kept])
    return given.assign(kind=np.array(KINDS)[result.argmax(axis=0)], mistake=result.max(axis=0))


def _log_odds(given: Values, planted: Values, asked: Values) -> Values:
    """Return the mean log-odds of a linear model, which needs few images, and of trees, which gain from many."""
    known = np.concatenate([given, planted])
    middle, spread = known.mean(axis=0), known.std(axis=0) + 1e-6

    def standard(values: Values) -> Values:
        return np.column_stack([np.clip((values - middle) / spread, -5, 5), np.ones(len(values))])

    labels = np.arange(len(known)) >= len(given)
    prior = np.log(max(1, len(planted)) / max(1, len(given)))
    linear = standard(asked) @ fit_logistic(standard(known), labels, 1.0)
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, early_stopping=False, random_state=SEED)
    log_odds: Values = (linear + trees.fit(known, labels).decision_function(asked)) / 2 - prior
    return log_odds


def plant_mistakes(
    images: Pixels, log_odds: LogOdds, masks: Masks, square: NDArray[np.bool_], swaps: Swaps
) -> pd.DataFrame:
    """Return the evidence for masks with mistakes. Added columns: kind, and image (its index)."""
    rng = np.random.default_rng(SEED)
    rows = rng.permutation(len(masks))[:MAX_PLANTED]
    partners = rng.permutation(len(masks))[: len(rows)]
    partners = np.where(partners == rows, (rows + 1) % len(masks), partners)
    turns = list(TURNS.values())
    numbers = rng.integers(0, np.where(square[rows], len(turns), TURNS_OF_ANY_SHAPE))
    wrong = {
        "turned": np.stack([turns[turn](masks[row]) for row, turn in zip(rows, numbers, strict=True)]),
        "shifted": np.stack([_shift(masks[row], rng) for row in rows]),
        "swapped": masks[partners],
    }
    tables = []
    for kind in KINDS:
        evidence = mask_evidence(images[rows], log_odds[rows], wrong[kind], square[rows])
        others = swaps.evidence(rows, wrong[kind], partners if kind == "swapped" else None)
        tables.append(evidence.join(others).assign(kind=kind, image=rows))
    return pd.concat(tables, ignore_index=True)


def _shift(mask: Masks, rng: np.random.Generator) -> Masks:
    """Return a mask (S, S) moved by a share of its diameter in a random direction."""
    diameter, angle = 2 * np.sqrt(mask.sum() / np.pi), rng.uniform(0, 2 * np.pi)
    distance = diameter * rng.uniform(*SHIFTS)
    return move_mask(mask, round(distance * np.sin(angle)), round(distance * np.cos(angle)))
