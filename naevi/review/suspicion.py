"""Give each image a suspicion, 0..1, and its reasons."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from naevi.images.files import Pixels
from naevi.review import reasons
from naevi.review.evidence import TURNS
from naevi.review.expectation import assign_folds, expected_foreground, sigmoid
from naevi.review.pixels import SIDE
from naevi.review.planted import find_mistakes
from naevi.review.reasons import Reason

MIN_IMAGES = 12  # with a lesion; with fewer, masks aren't compared with images
NOT_COMPARED = (
    f"The masks weren't compared with the images. This needs at least {MIN_IMAGES} images whose masks contain a "
    "lesion, and no more than half of them in one group."
)
SOME_NOT_COMPARED = (
    "{number} mask(s) weren't compared with the images, because they contain only background or only foreground at the "
    "size of the comparison."
)
MISTAKES = 0.02  # assumed share of wrong masks, the prior of each mask's probability
FLAGGED = 0.2  # lowest probability of a mistake that is a reason
EXPLAINED = 0.5  # lowest share of the misfit that an alternative must remove to be named
RARE = 0.05  # a property of more images than this share is normal for the data set, not a reason

# Suspicion by reason, for reasons that follow from tables.
CERTAIN, LIKELY, HINT = 0.97, 0.6, 0.05
TINY_FACTOR, MINUTE_FACTOR, HUGE_FRACTION = 20, 200, 0.97
SHAPE_FACTOR, PIXELS_FACTOR = 1.25, 4

Scores = dict[Reason, NDArray[np.float64]]


def image_checks(
    reviewed: Pixels,
    image_table: pd.DataFrame,
    pairs: pd.DataFrame,
    vanished: pd.DataFrame,
    orientation: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return a row for each image of the image table, in its order. Equal data gives equal rows.

    image_id
    fit             Dice of the mask and the foreground expected from the other images; empty if it isn't computed
    mistake         probability of a mistake in the mask, 0..1; empty if it isn't computed
    a column for each reason: its contribution to the suspicion, 0..1
    suspicion       0..1
    reasons         their names, joined by "; "
    details         more about the reasons, as sentences
    beside          the id of the image whose mask seems to be swapped with this one's, if any

    `reviewed` has the pixels, see `naevi.preprocessing.prepare.Prepared`. `pairs` has near-duplicates (first, second,
    correlation), `vanished` lesions that are too small for the training size (image_id, class, pixels, pixels_at_size),
    `orientation` decisions about EXIF tags (image_id, text).
    """
    ids = image_table.image_id.tolist()
    masks = _check_masks(reviewed[..., :3], reviewed[..., 3] > 0, image_table)
    scores, details, beside = _mask_reasons(masks, ids)
    for reason, (score, text) in {
        reasons.VANISHED: _vanished(ids, vanished),
        reasons.ORIENTATION: _orientation(ids, orientation),
        reasons.DUPLICATE: _duplicates(ids, pairs),
    }.items():
        scores[reason] = score
        details = [f"{old} {new}".strip() for old, new in zip(details, text, strict=True)]
    scores |= _table_reasons(image_table, scores[reasons.VANISHED])
    suspicion = 1 - np.prod([1 - score for score in scores.values()], axis=0)
    suspicion = np.maximum(suspicion, np.nan_to_num(masks.mistake.to_numpy()))
    names = [[reason.name for reason in reasons.REASONS if scores[reason][row] > 0] for row in range(len(ids))]
    columns = {reason.name: scores[reason] for reason in reasons.REASONS}
    return (
        pd.DataFrame({"image_id": ids, "fit": masks.dice, "mistake": masks.mistake, **columns, "suspicion": suspicion})
        .round(4)
        .assign(reasons=["; ".join(each) for each in names], details=details, beside=beside)
    )


def number_flagged(checks: pd.DataFrame) -> int:
    """Return the number of images with a reason. `checks` is the result of `image_checks`."""
    return int((checks.reasons != "").sum())


def not_compared(checks: pd.DataFrame) -> str:
    """Return a sentence about masks that weren't compared with images, or "" if all were.

    `checks` is the result of `image_checks`.
    """
    number = int(checks.mistake.isna().sum())
    if number == len(checks):
        return NOT_COMPARED
    return SOME_NOT_COMPARED.format(number=number) if number else ""


def count_reasons(checks: pd.DataFrame) -> list[tuple[Reason, int]]:
    """Return the reasons that occur, in their order, and the number of images with each."""
    numbers = [(reason, int((checks[reason.name] > 0).sum())) for reason in reasons.REASONS]
    return [(reason, number) for reason, number in numbers if number]


def _check_masks(images: Pixels, foreground: NDArray[np.bool_], image_table: pd.DataFrame) -> pd.DataFrame:
    """Return the evidence for each mask and the probability of a mistake; empty for masks without foreground.

    Nothing is computed for few images, or if a fold has most of them, because the others would be too few to compare.
    """
    table = pd.DataFrame({"dice": np.nan, "mistake": np.nan}, index=range(len(images)))
    usable = np.flatnonzero(foreground.any(axis=(1, 2)) & ~foreground.all(axis=(1, 2)))
    groups = image_table.get("group", image_table.image_id).iloc[usable].tolist()
    folds = assign_folds(groups)
    if len(usable) < MIN_IMAGES or np.bincount(folds).max() > len(usable) / 2:
        return table
    square = (image_table.height == image_table.width).to_numpy()[usable]
    log_odds = expected_foreground(images[usable], foreground[usable], groups)
    masks = foreground[usable].astype(np.float32)
    evidence = find_mistakes(images[usable], log_odds, masks, square, folds)
    evidence["mistake"] = sigmoid(evidence["mistake"].to_numpy() + np.log(MISTAKES / (1 - MISTAKES)))
    evidence["partner"] = usable[evidence.partner]
    return evidence.set_index(usable).reindex(table.index)


def _mask_reasons(masks: pd.DataFrame, ids: list[str]) -> tuple[Scores, list[str], list[str]]:
    """Return the score of each reason that compares mask and image, details, and the ids of the swapped masks."""
    scores: Scores = {
        reason: np.zeros(len(ids)) for reason in (reasons.FRAME, reasons.SWAPPED, reasons.SHIFTED, reasons.OUTLINE)
    }
    details, beside = [""] * len(ids), [""] * len(ids)
    for row, mask in enumerate(masks.to_dict("records")):
        if mask["mistake"] >= FLAGGED:
            reason, details[row] = _explain(mask, ids)
            scores[reason][row] = mask["mistake"]
            beside[row] = ids[int(mask["partner"])] if reason is reasons.SWAPPED else ""
    return scores, details, beside


def _explain(mask: dict[Any, Any], ids: list[str]) -> tuple[Reason, str]:
    """Return the reason that explains a misfit best, and a sentence about it."""
    shift = _describe_shift(mask["down"], mask["right"])
    gain, reason, sentence = {
        "turned": (
            mask["turn_gain"],
            reasons.FRAME,
            f"The mask fits better if {list(TURNS)[int(mask['turn'])]}.",
        ),
        "shifted": (mask["shift_gain"], reasons.SHIFTED, f"The mask fits better {shift}."),
        "swapped": (
            mask["swap_gain"],
            reasons.SWAPPED,
            f"The mask of {ids[int(mask['partner'])]} fits better.",
        ),
    }[mask["kind"]]
    if gain >= EXPLAINED * np.exp(mask["loss"]):
        return reason, sentence
    return reasons.OUTLINE, f"The Dice of the mask and the lesion guessed from the colors is {mask['dice']:.2f}."


def _describe_shift(down: float, right: float) -> str:
    parts = [
        f"{abs(step) / SIDE:.0%} of the {extent} further {words[int(step > 0)]}"
        for step, extent, words in ((down, "height", ("up", "down")), (right, "width", ("left", "right")))
        if step
    ]
    return " and ".join(parts)


def _vanished(ids: list[str], vanished: pd.DataFrame) -> tuple[NDArray[np.float64], list[str]]:
    sentences: dict[str, list[str]] = {}
    for row in vanished.to_dict("records"):
        sizes = f"{row['pixels']} px at native size, {row['pixels_at_size']} px at the training size"
        sentences.setdefault(str(row["image_id"]), []).append(f"{row['class']}: {sizes}.")
    return _score_listed(ids, {name: " ".join(each) for name, each in sentences.items()}, CERTAIN)


def _orientation(ids: list[str], findings: pd.DataFrame | None) -> tuple[NDArray[np.float64], list[str]]:
    texts = {} if findings is None else dict(zip(findings.image_id, findings.text, strict=True))
    return _score_listed(ids, texts, LIKELY)


def _score_listed(ids: list[str], texts: dict[str, str], score: float) -> tuple[NDArray[np.float64], list[str]]:
    """Return `score` for the images in `texts` and 0 for the others, and the texts in the order of `ids`."""
    return np.array([score * (name in texts) for name in ids]), [texts.get(name, "") for name in ids]


def _duplicates(ids: list[str], pairs: pd.DataFrame) -> tuple[NDArray[np.float64], list[str]]:
    """Return scores from LIKELY (for the least similar near-duplicates) to CERTAIN (for copies), and details."""
    best: dict[str, tuple[float, str]] = {}
    for first, second, correlation in pairs[["first", "second", "correlation"]].itertuples(index=False):
        for name, other in ((first, second), (second, first)):
            best[name] = max(best.get(name, (-1.0, "")), (float(correlation), other))
    lowest = float(pairs.correlation.min()) if len(pairs) else 0.0
    scale = (CERTAIN - LIKELY) / max(1 - lowest, 1e-6)
    scores = [CERTAIN - scale * (1 - best[name][0]) if name in best else 0.0 for name in ids]
    texts = {name: f"Nearly the same as {other}, correlation {value:.4f}." for name, (value, other) in best.items()}
    return np.array(scores), [texts.get(name, "") for name in ids]


def _table_reasons(image_table: pd.DataFrame, vanished: NDArray[np.float64]) -> Scores:
    """Return the scores of the reasons that follow from the image table: areas, the border and sizes."""
    fraction = image_table.lesion_fraction
    pixels, shape = image_table.height * image_table.width, image_table.width / image_table.height
    middle = fraction[fraction > 0].median()
    odd = (_factor(shape) > SHAPE_FACTOR) | (_factor(pixels) > PIXELS_FACTOR)
    found: dict[Reason, tuple[pd.Series, float]] = {
        reasons.EMPTY: (_if_rare(fraction == 0), LIKELY),
        reasons.TINY: (_if_rare((fraction > 0) & (fraction < middle / TINY_FACTOR) & (vanished == 0)), HINT),
        reasons.HUGE: (_if_rare(fraction > HUGE_FRACTION), HINT),
        reasons.BORDER: (_if_rare(image_table.touches_frame), HINT),
        reasons.SIZE: (_if_rare(odd), HINT),
    }
    return {reason: score * flags.to_numpy(dtype=np.float64) for reason, (flags, score) in found.items()}


def _factor(values: pd.Series) -> pd.Series:
    """Return how many times each value is larger or smaller than the median."""
    ratio = values / values.median()
    return ratio.where(ratio >= 1, 1 / ratio)


def _if_rare(flags: pd.Series) -> pd.Series:
    """Return the flags, or no flags if there are so many that they are normal for the data set."""
    return flags & bool(flags.sum() <= max(1, RARE * len(flags)))
