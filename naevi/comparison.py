"""Two results compared image by image, and whether their difference can be told from chance.

What decides is the Wilcoxon signed-rank p, multiplied by the number of comparisons that the experiment set has had
(Bonferroni): below LEVEL, the difference is more than chance explains. Of differences that got random signs it flags
5 %, as it should. To ask in addition that the interval leaves out 0 flagged only 2 to 3 %, since a few large changes,
as segmentation has them, make the two disagree; so the sentence says where the interval holds 0.

Both speak of chance over images. How much another seed of the training would move either result, they don't know.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from scipy.stats import wilcoxon

from naevi import commands, history, metrics, paths, sides, summary
from naevi.config import EvaluateConfig, load_config
from naevi.images import Pixels, read_image, read_mask
from naevi.refusal import Refusal, some
from naevi.sides import Side

SCORES = {"dice": "Dice", "iou": "IoU"}
LEVEL = 0.05
MOST = 6  # images each way
SUFFIXES = (".md", ".html")


class Pairs(NamedTuple):
    """The images that two results share.

    images: image_id, those of dataset and diagnosis that are known, and dice_a, dice_b, iou_a, iou_b; only_a, only_b:
    how many images one has and the other has not.
    """

    images: pd.DataFrame
    only_a: int
    only_b: int


@dataclass(frozen=True)
class Difference:
    """One score of both, and of B less A: mean, 95 % interval over images, Wilcoxon's two-sided p, images."""

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
        """How many were compared."""
        return self.better + self.worse + self.equal


@dataclass(frozen=True)
class Comparison:
    """All that is told of two results; looks is the number of comparisons that the experiment set has had."""

    a: Side
    b: Side
    pairs: Pairs
    differences: dict[str, Difference]
    looks: int
    resamples: int


# The middle: tables in, numbers and words out


def paired(a: Side, b: Side) -> Pairs:
    """The images of both, in the order of A. An older per_image.csv may lack columns; an image's classes are averaged.

    Raises Refusal where the two are of other data, have no image in common, or were scored against other masks.
    """
    left, right = _images(a), _images(b)
    if "dataset" in left and "dataset" in right and set(left.dataset) != set(right.dataset):
        of = [" and ".join(sorted(set(each.dataset))) for each in (left, right)]
        raise Refusal(f"{a.name} is of {of[0]} and {b.name} of {of[1]}: name two results of one data set.")
    both = left.merge(right, on="image_id", suffixes=("_a", "_b"))
    if both.empty:
        of = [f"{each.name} ({some(table.image_id[:2])}, …)" for each, table in ((a, left), (b, right))]
        raise Refusal(f"{of[0]} and {of[1]} have no image in common: name two results of the same images.")
    if {"tp_a", "fn_a", "tp_b", "fn_b"} <= set(both):
        other = both.image_id[both.tp_a + both.fn_a != both.tp_b + both.fn_b]
        if len(other):
            raise Refusal(
                f"{a.name} and {b.name} were scored against other masks ({len(other)} of {len(both)}: {some(other)}): "
                "name two results of the same masks."
            )
    both = both.rename(columns={"dataset_a": "dataset", "diagnosis_a": "diagnosis"})
    kept = ["image_id", "dataset", "diagnosis", *(f"{score}_{part}" for score in SCORES for part in "ab")]
    return Pairs(both[[name for name in kept if name in both]], len(left) - len(both), len(right) - len(both))


def compared(pairs: Pairs, settings: EvaluateConfig) -> dict[str, Difference]:
    """The difference of each score; the interval has the settings' number of bootstrap samples, and their seed."""
    return {score: _difference(score, pairs.images, settings) for score in SCORES}


def verdict(a: str, b: str, dice: Difference, looks: int) -> str:
    """One sentence: which is better by how much, after how many comparisons, and whether chance explains it."""
    if dice.equal == dice.images:
        return f"{b} and {a} have the same Dice on each of {dice.images} images: no difference."
    # Of what is worse, the interval is that of the amount by which it is.
    low, high = (dice.low, dice.high) if dice.mean > 0 else (-dice.high, -dice.low)
    what = f"is {'better' if dice.mean > 0 else 'worse'} than {a} by {abs(dice.mean):.4f} Dice"
    if abs(dice.mean) < 0.00005:
        what = f"differs from {a} by less than 0.0001 Dice"
    factor = f" times {looks} comparisons in this experiment set" if looks > 1 else ""
    p = _number(_adjusted(dice.p, looks))
    p = p if p.startswith("<") else f"= {p}"
    return (
        f"{b} {what} (95 % interval {low:.4f} to {high:.4f}, Wilcoxon p{factor} {p}, {dice.images} images): "
        f"{_judged(dice, looks)}."
    )


def told_from_chance(difference: Difference, looks: int) -> bool:
    """Whether a difference is more than chance over images explains, after so many comparisons."""
    return _adjusted(difference.p, looks) < LEVEL


def most_changed(pairs: Pairs) -> dict[str, pd.DataFrame]:
    """The images whose Dice rose and fell most from A to B, MOST each way, with a column `change`."""
    images = pairs.images.assign(change=(pairs.images.dice_b - pairs.images.dice_a).round(9))
    rose = images[images.change > 0].sort_values(["change", "image_id"], ascending=[False, True])
    fell = images[images.change < 0].sort_values(["change", "image_id"])
    return {"rose": rose.head(MOST), "fell": fell.head(MOST)}


def different(results: list[pd.DataFrame]) -> int:
    """How many of these per_image.csv differ in the scores of an image; columns that one lacks don't count."""
    scores = ["image_id", *SCORES]
    return len({summary.by_image(rows)[scores].sort_values(scores).to_csv(index=False) for rows in results})


def _images(side: Side) -> pd.DataFrame:
    return summary.by_image(side.per_image)


def _difference(score: str, images: pd.DataFrame, settings: EvaluateConfig) -> Difference:
    a, b = images[f"{score}_a"], images[f"{score}_b"]
    change = (b - a).round(9)  # the files have six digits; what lies below is no difference, and would hide ties
    moved = change[change != 0]
    found = summary.distribution(change, settings)
    return Difference(
        score=score,
        a=float(a.mean()),
        b=float(b.mean()),
        mean=found["mean"],
        low=found["low"],
        high=found["high"],
        p=float(wilcoxon(moved).pvalue) if len(moved) else 1.0,
        better=int((change > 0).sum()),
        worse=int((change < 0).sum()),
        equal=int((change == 0).sum()),
    )


def _adjusted(p: float, looks: int) -> float:
    return min(1.0, p * looks)


def _judged(dice: Difference, looks: int) -> str:
    if not told_from_chance(dice, looks):
        return "chance alone can explain it"
    if dice.low <= 0 <= dice.high:
        return (
            f"more than chance explains image by image ({dice.better} better, {dice.worse} worse), though the mean "
            "alone would not tell"
        )
    return "more than chance explains"


def _number(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def looks(*given: Side) -> int:
    """How many comparisons with one result the experiment set has had: its other results, those that differ.

    They are the committed default, the published results and the DVC experiments, and these sides. What was removed, or
    run and never kept, can't be counted.
    """
    found = [each.per_image for each in given]
    for other in sides.others():
        try:
            paired(given[0], other)
        except Refusal:  # it is of other images: nobody could compare it
            continue
        found.append(other.per_image)
    return max(1, different(found) - 1)


# Told: text, Markdown, HTML


def main(name_a: str, name_b: str, out: Path | None = None) -> None:
    """Compare two results by name, on stdout or in a new .md or .html, which has pictures.

    Raises Refusal for another suffix, and for an .html that git would take in.
    """
    if out is not None:
        _check(out)
    a, b = sides.side(name_a), sides.side(name_b)
    settings = load_config("evaluate").evaluate
    pairs = paired(a, b)
    found = Comparison(a, b, pairs, compared(pairs, settings), looks(a, b), settings.resamples)
    if out is None:
        print(text(found), end="")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(markdown(found) if out.suffix == ".md" else html(found, pictures(found)), encoding="utf-8")
    print(f"{verdict(a.name, b.name, found.differences['dice'], found.looks)}\n{out}")


def text(comparison: Comparison) -> str:
    """For a terminal."""
    content = _content(comparison)
    parts = [content["title"], content["verdict"], _straight(content["scores"])]
    parts += [f"{label}\n{_straight(table)}" for _, label, table in content["changed"]]
    return "\n\n".join([*parts, *content["notes"]]) + "\n"


def markdown(comparison: Comparison) -> str:
    """For a pull request; without pictures."""
    from naevi import reporting  # matplotlib takes a second

    return reporting.TEMPLATES.get_template("comparison.md.j2").render(_escaped(_content(comparison)))


def html(comparison: Comparison, pictures: dict[str, list[dict[str, Any]]]) -> str:
    """One page that needs no network, with pictures as `pictures` makes them."""
    from naevi import figures, reporting

    colors = {name: color for name, (color, _) in figures.OUTCOMES.items()}
    page = reporting.TEMPLATES.get_template("comparison.html.j2")
    return page.render(_content(comparison), pictures=pictures, colors=colors, missing=_missing(comparison, pictures))


def pictures(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """Overlays of the images that changed most, as data URIs by `rose` and `fell`; those of a side or none at all."""
    return {
        label: [_pictured(row, comparison) for row in rows.to_dict("records")]
        for label, rows in most_changed(comparison.pairs).items()
    }


def _pictured(row: dict[Any, Any], comparison: Comparison) -> dict[str, Any]:
    image_id = str(row["image_id"])
    shown: dict[str, Any] = {
        "id": image_id,
        "diagnosis": row.get("diagnosis", ""),
        "change": f"{row['change']:+.3f}",
        "sides": [],
    }
    for key, each in (("a", comparison.a), ("b", comparison.b)):
        score = f"{row[f'dice_{key}']:.3f}"
        shown["sides"].append({"name": each.name, "dice": score, **_overlay(image_id, each)})
    return shown


def _overlay(image_id: str, side: Side) -> dict[str, Any]:
    """The picture of one side; nothing where image or prediction are missing, or are not those that were scored."""
    from naevi import figures

    nothing: dict[str, Any] = {"overlay": None, "width": 0, "height": 0}
    image, mask = (paths.RAW / folder / f"{image_id}.png" for folder in ("images", "masks"))
    prediction = side.predictions(image_id) if side.predictions and image.exists() and mask.exists() else None
    if prediction is None or not _is_scored(image_id, side, read_mask(mask), prediction):
        return nothing
    pixels = figures.overlay(
        figures.shrink_image(read_image(image)), *map(figures.shrink_mask, (read_mask(mask), prediction))
    )
    return {"overlay": figures.data_uri(pixels, lines=True), "width": pixels.shape[1], "height": pixels.shape[0]}


def _is_scored(image_id: str, side: Side, mask: Pixels, prediction: Pixels) -> bool:
    """Whether mask and prediction give the Dice that the side's table has: files may be those of another run."""
    if mask.shape != prediction.shape:
        return False
    rows = side.per_image[side.per_image.image_id == image_id]
    counts = metrics.counts(mask[None], prediction[None], classes=len(rows) + 1)
    return bool(abs(metrics.scores(counts).dice.mean() - rows.dice.mean()) < 1e-5)


def _missing(comparison: Comparison, pictures: dict[str, list[dict[str, Any]]]) -> str:
    """Which pictures are not there, in a sentence; empty where all are."""
    each = [side for group in pictures.values() for picture in group for side in picture["sides"]]
    without = [name for name in (comparison.a.name, comparison.b.name) if _lacks(each, name)]
    if not without:
        return ""
    return (
        f"Not all pictures of {' and '.join(dict.fromkeys(without))} are here: predictions or images are not at hand; "
        "dvc pull or another run would bring them."
    )


def _lacks(sides: list[dict[str, Any]], name: str) -> bool:
    return any(side["name"] == name and side["overlay"] is None for side in sides)


def _content(comparison: Comparison) -> dict[str, Any]:
    """What all three forms say, numbers as text; of tables the first row is the head."""
    a, b = comparison.a.name, comparison.b.name
    gains = {"rose": f"Where {b} gained most", "fell": f"Where {b} lost most"}
    changed = most_changed(comparison.pairs)
    return {
        "title": f"{b} against {a}",
        "verdict": verdict(a, b, comparison.differences["dice"], comparison.looks),
        "scores": _scores(comparison),
        "changed": [(key, gains[key], _changed(rows, a, b)) for key, rows in changed.items() if len(rows)],
        "notes": _notes(comparison),
    }


def _escaped(value: Any) -> Any:
    """The same with every text as a Markdown table can hold it: Jinja escapes for HTML only."""
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    return history.cell(value) if isinstance(value, str) else [_escaped(each) for each in value]


def _scores(comparison: Comparison) -> list[list[str]]:
    looks = comparison.looks
    head = ["mean", comparison.a.name, comparison.b.name, "difference", "95 % interval", "Wilcoxon p"]
    head += [f"p times {looks}"] * (looks > 1) + ["better", "worse", "equal"]
    rows = [head]
    for score, name in SCORES.items():
        each = comparison.differences[score]
        row = [name, f"{each.a:.4f}", f"{each.b:.4f}", f"{each.mean:+.4f}", f"{each.low:+.4f} to {each.high:+.4f}"]
        row += [_number(each.p), *[_number(_adjusted(each.p, looks))] * (looks > 1)]
        rows.append([*row, *map(str, (each.better, each.worse, each.equal))])
    return rows


def _changed(rows: pd.DataFrame, a: str, b: str) -> list[list[str]]:
    head = ["image", *(["diagnosis"] if "diagnosis" in rows else []), f"Dice, {a}", f"Dice, {b}", "change"]
    found = [head]
    for row in rows.to_dict("records"):
        named = [str(row[name]) for name in ("image_id", "diagnosis") if name in row]
        found.append([*named, f"{row['dice_a']:.4f}", f"{row['dice_b']:.4f}", f"{row['change']:+.4f}"])
    return found


def _notes(comparison: Comparison) -> list[str]:
    pairs, looks = comparison.pairs, comparison.looks
    a, b = comparison.a.name, comparison.b.name
    notes = []
    if pairs.only_a or pairs.only_b:
        notes.append(
            f"Only the {len(pairs.images)} images that both have are compared: {pairs.only_a} more are in {a} and "
            f"{pairs.only_b} in {b}."
        )
    notes.append(
        f"The default, the published results and the DVC experiments here are {looks + 1} different results: "
        f"{looks} comparisons with one of them, so p is multiplied by {looks}. What was removed is not counted."
        if looks > 1
        else "No other result was found here, so p stays as it is."
    )
    notes.append(
        f"Each image is compared with itself. Whether p, so multiplied, is below {LEVEL} decides; the interval, of "
        f"{comparison.resamples:,} bootstrap samples of the images, says how large the difference is. Both speak of "
        "chance over images and not over training runs: by how much another seed would move either, they don't know."
    )
    return notes


def _straight(rows: list[list[str]]) -> str:
    """Columns side by side; the first is text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _check(out: Path) -> None:
    if out.suffix not in SUFFIXES:
        raise Refusal(f"a comparison can't be written as {out}: name a file that ends in {' or '.join(SUFFIXES)}.")
    if out.suffix == ".html" and out.resolve().is_relative_to(Path.cwd()):
        try:
            commands.run("git", "check-ignore", "--quiet", "--", str(out))
        except Refusal:
            raise Refusal(
                f"{out} would show images in a place that git takes in: name one that it ignores, such as "
                f"OUT=.cache/{out.name}, or one outside."
            ) from None
