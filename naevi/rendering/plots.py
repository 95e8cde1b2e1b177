"""Plots of the report."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from naevi.rendering.colors import BLUE, GREEN, ORANGE, PURPLE, SKY, TEXT_COLOR, VERMILION, YELLOW
from naevi.rendering.style import escape_label, new_plot, plot_style

DIAGNOSES = {"common": SKY, "atypical": ORANGE, "melanoma": VERMILION}
OTHER_COLORS = (PURPLE, BLUE, GREEN, YELLOW, ORANGE, SKY, VERMILION)  # of other diagnoses, repeated after seven
LINE_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)  # of folds and classes, repeated after six
MARKERS = ("o", "s", "^", "D", "v", "P")  # of diagnoses, repeated after six
DASHED, LONG_DASHES, SHORT_DASHES, DOTTED = (0, (4, 2)), (0, (5, 2)), (0, (2, 1.5)), (0, (1, 2))


class DotPlotRow(NamedTuple):
    """A row of a dot plot: name, Dice, its interval if it has one, color. A row without a Dice is a heading."""

    name: str
    dice: float | None = None
    low: float | None = None
    high: float | None = None
    color: str = BLUE


def dot_plot(rows: list[DotPlotRow], mean: float, title: str = "") -> Figure:
    """Return the Dice of each row as a dot, its interval as a bar, and the mean as a vertical line."""
    with plot_style():
        figure, axes = new_plot(0.55 + 0.24 * len(rows) + (0.25 if title else 0))
        axes.axvline(mean, color=TEXT_COLOR, linewidth=1.2, linestyle=DASHED)
        for position, row in enumerate(rows):
            if row.dice is not None:
                ends = [row.dice if end is None else end for end in (row.low, row.high)]
                axes.plot(ends, [position, position], color=row.color, linewidth=2.2)
                axes.plot(row.dice, position, marker="o", markersize=5.5, color=row.color)
        ticks = axes.set_yticks(range(len(rows)), [escape_label(row.name) for row in rows])
        for tick, row in zip(ticks, rows, strict=True):
            tick.label1.set_fontweight("bold" if row.dice is None else "normal")
        axes.tick_params(axis="y", length=0)
        axes.yaxis.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set(xlabel="mean Dice", title=title, ylim=(len(rows) - 0.4, -0.6))
        return figure


def reliability_plot(curve: pd.DataFrame, title: str = "") -> Figure:
    """Return the observed frequency of each class by predicted probability, one line for each class."""
    with plot_style():
        figure, axes = new_plot(3.4)
        axes.plot([0, 1], [0, 1], color=TEXT_COLOR, linewidth=1, linestyle=DASHED, label="perfect")
        for index, (name, rows) in enumerate(curve.groupby("class", sort=False)):
            axes.plot(
                rows.probability,
                rows.observed,
                marker="o",
                color=LINE_COLORS[index % len(LINE_COLORS)],
                label=escape_label(str(name)),
            )
        axes.set(xlabel="predicted probability", ylabel="observed frequency", title=title)
        axes.legend(loc="upper left")
        return figure


def threshold_plot(curve: pd.DataFrame, chosen_threshold: float | None, title: str = "") -> Figure:
    """Return sensitivity, precision and Dice of all pixels pooled by threshold, as means over the classes."""
    means = curve.groupby("threshold")[["sensitivity", "precision"]].mean()
    total = (means.sensitivity + means.precision).where(lambda total: total > 0, 1)
    lines: dict[str, tuple[pd.Series, str, Any]] = {
        "Dice": (2 * means.sensitivity * means.precision / total, BLUE, "-"),
        "sensitivity": (means.sensitivity, ORANGE, LONG_DASHES),
        "precision": (means.precision, GREEN, SHORT_DASHES),
    }
    with plot_style():
        figure, axes = new_plot(3.4)
        for name, (values, color, dashes) in lines.items():
            axes.plot(means.index, values, color=color, linestyle=dashes, label=name)
        if chosen_threshold is not None:
            axes.axvline(chosen_threshold, color=TEXT_COLOR, linewidth=1, linestyle=DOTTED, label="threshold used")
        axes.set(xlabel="threshold", ylabel="score of all pixels pooled", title=title)
        axes.legend(loc="lower left")
        return figure


def confidence_plot(per_image: pd.DataFrame, title: str = "") -> Figure:
    """Return the Dice of each image against its confidence, one marker for each diagnosis."""
    with plot_style():
        figure, axes = new_plot(3.4)
        names = order_diagnoses(per_image.diagnosis)
        for index, (name, color) in enumerate(zip(names, diagnosis_colors(names), strict=True)):
            rows = per_image[per_image.diagnosis == name]
            axes.plot(
                rows.confidence,
                rows.dice,
                linestyle="",
                marker=MARKERS[index % len(MARKERS)],
                markersize=4,
                alpha=0.8,
                color=color,
                label=escape_label(name),
            )
        axes.set(xlabel="confidence (expected Dice)", ylabel="Dice of an image", title=title)
        figure.legend(loc="outside upper left", ncols=4)  # outside, because marks can be anywhere in the axes
        return figure


def risk_coverage_plot(curve: pd.DataFrame, best: pd.DataFrame, per_image: pd.DataFrame, title: str = "") -> Figure:
    """Return the mean Dice of the images that are kept, ranked by confidence, by true Dice, and at random.

    `curve` and `best` are risk-coverage curves with columns coverage and dice. `best` ranks images by their true Dice.
    """
    with plot_style():
        figure, axes = new_plot(3.4)
        axes.plot(100 * best.coverage, best.dice, color=GREEN, linestyle=LONG_DASHES, label="upper bound")
        axes.plot(100 * curve.coverage, curve.dice, color=BLUE, label="by confidence")
        mean = float(per_image.dice.mean())
        axes.axhline(mean, color=TEXT_COLOR, linewidth=1, linestyle=DOTTED, label="at random")
        axes.set(xlabel="images kept, %", ylabel="mean Dice of these images", title=title)
        axes.legend(loc="best")
        return figure


def dice_histogram(per_image: pd.DataFrame, title: str = "") -> Figure:
    """Return the number of images by Dice, stacked by diagnosis, and the mean as a vertical line."""
    names = order_diagnoses(per_image.diagnosis)
    with plot_style():
        figure, axes = new_plot(2.9)
        axes.hist(
            [per_image.dice[per_image.diagnosis == name].dropna().to_numpy() for name in names],
            bins=histogram_bins(per_image.dice),
            stacked=True,
            label=[escape_label(name) for name in names],
            color=diagnosis_colors(names),
            rwidth=0.92,
        )
        mean = float(per_image.dice.mean())
        axes.axvline(mean, color=TEXT_COLOR, linewidth=1.2, linestyle=DASHED, label=f"mean {mean:.3f}")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
        axes.set(xlabel="Dice of an image", ylabel="images", title=title)
        figure.legend(loc="outside upper left", ncols=4)  # outside, because bars can be anywhere in the axes
        return figure


def learning_curve_plot(curves: pd.DataFrame, title: str = "") -> Figure:
    """Return the loss on training images and the Dice on validation images by epoch, one line for each model."""
    with plot_style():
        figure = Figure(figsize=(5.2, 4.8), layout="constrained")
        loss, dice = figure.subplots(2, sharex=True)
        for index, (name, rows) in enumerate(curves.groupby("model", sort=False)):
            is_all = str(name) == "all"
            look: dict[str, Any] = {
                "color": TEXT_COLOR if is_all else LINE_COLORS[index % len(LINE_COLORS)],
                "linestyle": (0, (3, 2)) if is_all else "-",
                "marker": "." if len(rows) < 4 else "",
                "label": "all" if is_all else f"fold {name}",
            }
            loss.plot(rows.epoch, rows.train_loss, **look)
            if not is_all:  # it has no validation part
                dice.plot(rows.epoch, rows.val_dice, **look)
        _use_log_scale_if_wide(loss, curves.train_loss.to_numpy(dtype=float))
        loss.set(ylabel="training loss", title=title)
        dice.set(ylabel="validation Dice", xlabel="epoch")
        dice.xaxis.set_major_locator(MaxNLocator(integer=True))
        loss.legend(ncols=2)
        return figure


def _use_log_scale_if_wide(axes: Axes, values: NDArray[np.float64]) -> None:
    # If values span a decade, the first epochs would flatten the rest of a linear plot.
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")


def order_diagnoses(diagnoses: Iterable[str]) -> list[str]:
    """Return the distinct diagnoses: common, atypical, melanoma, then others by name."""
    present = set(diagnoses)
    return [name for name in DIAGNOSES if name in present] + sorted(present - set(DIAGNOSES))


def diagnosis_colors(names: list[str]) -> list[str]:
    """Return a color for each diagnosis of `order_diagnoses`."""
    n_known = sum(name in DIAGNOSES for name in names)
    return [
        DIAGNOSES.get(name, OTHER_COLORS[(index - n_known) % len(OTHER_COLORS)]) for index, name in enumerate(names)
    ]


def histogram_bins(dice: pd.Series) -> list[float]:
    """Return bin edges from below the lowest Dice up to 1, in steps of 0.01, 0.02 or 0.05."""
    low = min(float(dice.min()), 0.9)
    step = 1 if low >= 0.8 else 2 if low >= 0.5 else 5
    return [edge / 100 for edge in range(100 - step * int(-(-(100 - 100 * low) // step)), 101, step)]
