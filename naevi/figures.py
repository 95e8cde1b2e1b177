"""What the report shows as pictures: overlays of image, mask and prediction, and plots of what was measured.

Colors are Okabe and Ito's, which color-blind people can tell apart (https://jfly.uni-koeln.de/color/).
"""

import base64
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from naevi import calibration
from naevi.images import Pixels, read_image, read_mask, resize_mask

ORANGE, SKY, GREEN = "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"

# Errors are covered, what was found is only outlined: the eye goes to what is wrong, and the lesion stays visible.
OUTCOMES = {"found": (GREEN, 0.0), "missed": (YELLOW, 0.5), "false": (BLUE, 0.5)}  # color, how much of it covers

DIAGNOSES = {"common": SKY, "atypical": ORANGE, "melanoma": VERMILION}
OTHERS = (PURPLE, BLUE, GREEN, YELLOW, ORANGE, SKY, VERMILION)  # of other diagnoses; they repeat after seven
LINES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)  # of folds; they repeat after six
INK = "#202124"  # text and axes; in an SVG it becomes the page's own color, light or dark

GROUPS = ("worst", "median", "best")
EACH = 12  # images of each group
WIDTH = 512  # px, at most
LINE = 2  # px


@dataclass(frozen=True)
class Picture:
    """A tested image, shrunk for people to see.

    image and overlay: uint8 (H, W, 3), W at most WIDTH; score: the image's row of per_image.csv with group and rank.
    """

    score: dict[str, object]
    image: Pixels
    overlay: Pixels

    @property
    def name(self) -> str:
        """A file name: rank by Dice, from 001 for the worst, and id; MLflow takes no `/` in it."""
        safe = re.sub(r"[^\w.-]", "_", str(self.score["image_id"]))
        return f"{self.score['rank']:03}_{safe}.png"


def chosen(per_image: pd.DataFrame) -> pd.DataFrame:
    """The EACH worst, most median and best rows by Dice; none twice, and fewer where there are fewer than 3 * EACH.

    With columns group, rank (by Dice, from 1, the worst) and doubt (by confidence, from 1, the least confident).
    `per_image` has one row per image.
    """
    order = per_image.sort_values(["dice", "image_id"], ignore_index=True)
    order["doubt"] = order.confidence.rank(method="first").astype(int)
    number = max(1, min(EACH, len(order) // 3))
    middle = (len(order) - number) // 2
    starts = dict(zip(GROUPS, (0, middle, len(order) - number), strict=True))
    ranked = order.assign(rank=order.index + 1)
    parts = [ranked.iloc[max(0, start) : start + number].assign(group=group) for group, start in starts.items()]
    return pd.concat(parts).drop_duplicates("image_id").reset_index(drop=True)


def pictures(scores: pd.DataFrame, raw: Path, predictions: Path) -> list[Picture]:
    """One picture for each row of `scores`, from raw/images, raw/masks and predictions."""
    found = []
    for score in scores.to_dict("records"):
        file = f"{score['image_id']}.png"
        image = shrink_image(read_image(raw / "images" / file))
        masks = (shrink_mask(read_mask(path)) for path in (raw / "masks" / file, predictions / file))
        found.append(Picture({str(key): value for key, value in score.items()}, image, overlay(image, *masks)))
    return found


def overlay(image: Pixels, mask: Pixels, prediction: Pixels) -> Pixels:
    """The image, uint8 (H, W, 3), with the border of what was found and the areas that were missed or false.

    Mask and prediction are uint8 (H, W) of classes; what was taken for another class than its own counts as missed.
    Each area ends in a line of its own, within it and LINE wide, but not where the frame ends it.
    """
    there, right = mask > 0, mask == prediction
    areas = {"found": there & right, "missed": there & ~right, "false": ~there & ~right}
    picture = image.astype(np.float32)
    for name, (color, cover) in OUTCOMES.items():
        area = areas[name]
        border = area & ~binary_erosion(area, iterations=LINE, border_value=1)
        alpha = np.where(border, 1.0, cover * area).astype(np.float32)[..., None]
        picture += alpha * (np.array(_rgb(color), np.float32) - picture)
    return np.rint(picture).astype(np.uint8)


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color[1:]))


def shrink_image(image: Pixels) -> Pixels:
    """The image, uint8 (H, W, 3), at most WIDTH wide."""
    return np.asarray(Image.fromarray(image).resize(_size(image), Image.Resampling.LANCZOS))


def shrink_mask(mask: Pixels) -> Pixels:
    """The mask, uint8 (H, W) of classes, at most WIDTH wide."""
    return resize_mask(mask, _size(mask), int(mask.max()) + 1)


def _size(pixels: Pixels) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    new = min(width, WIDTH)
    return new, max(1, round(height * new / width))


def jpeg(pixels: Pixels, *, lines: bool) -> bytes:
    """A JPEG of uint8 (H, W, 3); with thin colored `lines`, which would bleed, its colors are at full resolution."""
    buffer = io.BytesIO()
    look = {"quality": 85, "subsampling": "4:4:4"} if lines else {"quality": 80, "subsampling": "4:2:0"}
    Image.fromarray(pixels).save(buffer, format="JPEG", optimize=True, **look)
    return buffer.getvalue()


def data_uri(pixels: Pixels, *, lines: bool) -> str:
    """The JPEG as a page holds it in itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels, lines=lines)).decode()


class Dot(NamedTuple):
    """A line of a dot plot: name, Dice, its interval where it has one, color. Without a Dice it heads those below."""

    name: str
    dice: float | None = None
    low: float | None = None
    high: float | None = None
    color: str = BLUE


def dots(rows: list[Dot], mean: float, title: str = "") -> Figure:
    """Dice of each row, the first on top, with intervals as bars; the mean as a line through all."""
    with _style():
        figure = Figure(figsize=(5.2, 0.55 + 0.24 * len(rows) + (0.25 if title else 0)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(mean, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        for place, row in enumerate(rows):
            if row.dice is not None:
                ends = [row.dice if end is None else end for end in (row.low, row.high)]
                axes.plot(ends, [place, place], color=row.color, linewidth=2.2)
                axes.plot(row.dice, place, marker="o", markersize=5.5, color=row.color)
        names = axes.set_yticks(range(len(rows)), [_plain(row.name) for row in rows])
        for tick, row in zip(names, rows, strict=True):
            tick.label1.set_fontweight("bold" if row.dice is None else "normal")
        axes.tick_params(axis="y", length=0)
        axes.yaxis.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set(xlabel="mean Dice", title=title, ylim=(len(rows) - 0.4, -0.6))
        return figure


def reliability(curve: pd.DataFrame, title: str = "") -> Figure:
    """What part of the pixels of a probability is of the class, one line a class; on the diagonal all is right."""
    with _style():
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 2)), label="perfect")
        for index, (name, rows) in enumerate(curve.groupby("class", sort=False)):
            axes.plot(
                rows.probability, rows.observed, marker="o", color=LINES[index % len(LINES)], label=_plain(str(name))
            )
        axes.set(xlabel="probability that the model gives", ylabel="part of such pixels", title=title)
        axes.legend(loc="upper left")
        return figure


def thresholds(curve: pd.DataFrame, chosen_threshold: float | None, title: str = "") -> Figure:
    """Sensitivity, precision and Dice of all pixels together by threshold, means over the classes."""
    means = curve.groupby("threshold")[["sensitivity", "precision"]].mean()
    together = (means.sensitivity + means.precision).where(lambda total: total > 0, 1)
    lines = {
        "Dice": (2 * means.sensitivity * means.precision / together, BLUE, "-"),
        "sensitivity": (means.sensitivity, ORANGE, (0, (5, 2))),
        "precision": (means.precision, GREEN, (0, (2, 1.5))),
    }
    with _style():
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        for name, (values, color, dashes) in lines.items():
            axes.plot(means.index, values, color=color, linestyle=dashes, label=name)
        if chosen_threshold is not None:
            axes.axvline(chosen_threshold, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="the one used")
        axes.set(xlabel="threshold", ylabel="of the pixels of all images", title=title)
        axes.legend(loc="lower left")
        return figure


def confidence(per_image: pd.DataFrame, title: str = "") -> Figure:
    """The Dice that was expected of each image against the one that it has, by diagnosis."""
    marks = ("o", "s", "^", "D", "v", "P")
    with _style():
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        names = in_order(per_image.diagnosis)
        for index, (name, color) in enumerate(zip(names, _colors(names), strict=True)):
            rows = per_image[per_image.diagnosis == name]
            axes.plot(
                rows.confidence,
                rows.dice,
                linestyle="",
                marker=marks[index % len(marks)],
                markersize=4,
                alpha=0.8,
                color=color,
                label=_plain(name),
            )
        axes.set(xlabel="confidence (the Dice that it expects)", ylabel="Dice of an image", title=title)
        figure.legend(loc="outside upper left", ncols=4)  # beside the axes: marks may lie anywhere in them
        return figure


def risk_coverage(curve: pd.DataFrame, per_image: pd.DataFrame, title: str = "") -> Figure:
    """Mean Dice of the images that are kept, by confidence, and as well as could be: by Dice itself."""
    best = calibration.risk_coverage(per_image.dice, per_image.dice)
    with _style():
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.plot(100 * best.coverage, best.dice, color=GREEN, linestyle=(0, (5, 2)), label="best possible")
        axes.plot(100 * curve.coverage, curve.dice, color=BLUE, label="the most confident")
        mean = float(per_image.dice.mean())
        axes.axhline(mean, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="chance")
        axes.set(xlabel="per cent of the images kept", ylabel="their mean Dice", title=title)
        axes.legend(loc="best")
        return figure


def histogram(per_image: pd.DataFrame, title: str = "") -> Figure:
    """How many images have which Dice, by diagnosis; the mean as a line."""
    names = in_order(per_image.diagnosis)
    with _style():
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.hist(
            [per_image.dice[per_image.diagnosis == name].to_numpy() for name in names],
            bins=_bins(per_image.dice),
            stacked=True,
            label=[_plain(name) for name in names],
            color=_colors(names),
            rwidth=0.92,
        )
        mean = float(per_image.dice.mean())
        axes.axvline(mean, color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label=f"mean {mean:.3f}")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
        axes.set(xlabel="Dice of an image", ylabel="images", title=title)
        figure.legend(loc="outside upper left", ncols=4)  # beside the axes: bars may stand anywhere in them
        return figure


def in_order(diagnoses: Iterable[str]) -> list[str]:
    """The diagnoses, each once, from common to melanoma; others follow by name."""
    present = set(diagnoses)
    return [name for name in DIAGNOSES if name in present] + sorted(present - set(DIAGNOSES))


def _colors(names: list[str]) -> list[str]:
    """A color for each diagnosis of `in_order`."""
    known = sum(name in DIAGNOSES for name in names)
    return [DIAGNOSES.get(name, OTHERS[(index - known) % len(OTHERS)]) for index, name in enumerate(names)]


def _plain(name: str) -> str:
    """A user's name as a plot shows it as it is: matplotlib takes dollars for formulas and hides `_` in front."""
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def _bins(dice: pd.Series) -> list[float]:
    """Edges from below the lowest Dice to 1, in steps that a reader can name; whole hundredths, so equal everywhere."""
    low = min(float(dice.min()), 0.9)
    step = 1 if low >= 0.8 else 2 if low >= 0.5 else 5
    return [edge / 100 for edge in range(100 - step * int(-(-(100 - 100 * low) // step)), 101, step)]


def learning_curves(curves: pd.DataFrame, title: str = "") -> Figure:
    """Loss on training images and Dice on validation images by epoch, one line a model."""
    with _style():
        figure = Figure(figsize=(5.2, 4.8), layout="constrained")
        loss, dice = figure.subplots(2, sharex=True)
        for index, (name, rows) in enumerate(curves.groupby("model", sort=False)):
            everything = str(name) == "all"
            look = {
                "color": INK if everything else LINES[index % len(LINES)],
                "linestyle": (0, (3, 2)) if everything else "-",
                "marker": "." if len(rows) < 4 else "",
                "label": "all" if everything else f"fold {name}",
            }
            loss.plot(rows.epoch, rows.train_loss, **look)
            if not everything:
                dice.plot(rows.epoch, rows.val_dice, **look)
        _log_if_wide(loss, curves.train_loss.to_numpy(dtype=float))
        loss.set(ylabel="training loss", title=title)
        dice.set(ylabel="validation Dice", xlabel="epoch")
        dice.xaxis.set_major_locator(MaxNLocator(integer=True))
        loss.legend(ncols=2)
        return figure


def _log_if_wide(axes: Axes, values: NDArray[np.float64]) -> None:
    """A log axis where the values span a decade: the first epochs would flatten all that follows."""
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")


def png(figure: Figure) -> bytes:
    """The figure as PNG, without a date or a version: equal figures, equal bytes."""
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element for a page: text as shapes, in the page's text color; ids begin with `name`."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with _style():
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)


@contextmanager
def _style() -> Iterator[None]:
    """The looks of a plot, whatever the user's own matplotlibrc says; drawing and saving both need it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "naevi",
                "font.size": 10,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.axisbelow": True,
                "axes.grid": True,
                "grid.alpha": 0.15,
                "lines.linewidth": 1.4,
                "legend.frameon": False,
                "legend.fontsize": 9,
                "text.color": INK,
                "axes.edgecolor": INK,
                "axes.labelcolor": INK,
                "xtick.color": INK,
                "ytick.color": INK,
                "grid.color": INK,
            }
        )
        yield
