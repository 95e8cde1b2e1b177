"""Plots show the right values, and their bytes repeat."""

import re

import matplotlib
import pandas as pd
import pytest

from naevi.rendering.colors import TEXT_COLOR
from naevi.rendering.plots import (
    DotPlotRow,
    confidence_plot,
    diagnosis_colors,
    dice_histogram,
    dot_plot,
    histogram_bins,
    learning_curve_plot,
    reliability_plot,
    risk_coverage_plot,
    threshold_plot,
)
from naevi.rendering.style import to_png, to_svg


def scores(dice: list[float], diagnosis: str = "common") -> pd.DataFrame:
    """Return a per_image.csv of images a, b, c, … with these Dices; each is less confident than the one before."""
    ids = [chr(ord("a") + index) for index in range(len(dice))]
    confidence = [1 - index / 100 for index in range(len(dice))]
    return pd.DataFrame({"image_id": ids, "diagnosis": diagnosis, "dice": dice, "confidence": confidence})


def curves() -> pd.DataFrame:
    """Return the curves of two folds and `all`, three epochs each."""
    rows = [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "val_dice": None if model == "all" else 1 - 0.5 / epoch,
            "model": model,
        }
        for model in ("0", "1", "all")
        for epoch in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def test_the_histogram_counts_every_image() -> None:
    table = pd.concat([scores([0.41, 0.9, 1.0]), scores([0.95], "melanoma"), scores([0.95], "atypical")])
    figure = dice_histogram(table)
    (axes,), (legend,) = figure.axes, figure.legends

    assert sum(bar.get_height() for bars in axes.containers for bar in bars) == 5
    assert [text.get_text() for text in legend.get_texts()] == [
        "common",
        "atypical",
        "melanoma",
        "mean 0.842",
    ]


@pytest.mark.parametrize("lowest", [0.0, 0.29, 0.5, 0.57, 0.8, 0.93, 1.0])
def test_every_dice_is_within_the_bins(lowest: float) -> None:
    edges = histogram_bins(pd.Series([lowest, 1.0]))

    assert edges[0] <= lowest
    assert edges[-1] == 1
    assert 5 <= len(edges) - 1 <= 26


def test_learning_curves_show_every_model_and_the_validation_of_folds() -> None:
    loss, dice = learning_curve_plot(curves()).axes

    assert [line.get_label() for line in loss.lines] == ["fold 0", "fold 1", "all"]
    assert [line.get_label() for line in dice.lines] == ["fold 0", "fold 1"]


def test_a_dot_plot_has_a_mark_for_each_mean_and_a_bar_for_each_interval() -> None:
    rows = [DotPlotRow("heading"), DotPlotRow("ours", 0.9, 0.8, 0.95), DotPlotRow("theirs", 0.7)]
    (axes,) = dot_plot(rows, 0.9).axes

    assert [label.get_text() for label in axes.get_yticklabels()] == ["heading", "ours", "theirs"]
    mean, bar, mark, _, other = [line.get_xdata() for line in axes.lines]
    assert (list(mean), list(bar), list(mark), list(other)) == ([0.9, 0.9], [0.8, 0.95], [0.9], [0.7])


def test_reliability_has_the_diagonal_and_a_line_for_each_class() -> None:
    curve = pd.DataFrame({"probability": [0.1, 0.9, 0.5], "observed": [0.2, 0.8, 0.5], "class": ["a", "a", "b"]})
    (axes,) = reliability_plot(curve).axes

    assert [line.get_label() for line in axes.lines] == ["perfect", "a", "b"]
    assert axes.lines[1].get_ydata().tolist() == [0.2, 0.8]


def test_dice_by_threshold_follows_from_sensitivity_and_precision() -> None:
    """2 * 1 * .5 / 1.5 = 2/3, and 0 if nothing is correct."""
    curve = pd.DataFrame({"threshold": [0.0, 1.0], "sensitivity": [1.0, 0.0], "precision": [0.5, 0.0], "class": "a"})
    (axes,) = threshold_plot(curve, 0.5).axes

    assert axes.lines[0].get_ydata().tolist() == pytest.approx([2 / 3, 0])
    assert [line.get_label() for line in axes.lines] == ["Dice", "sensitivity", "precision", "threshold used"]


def test_every_image_has_a_marker_of_its_diagnosis() -> None:
    (axes,) = confidence_plot(pd.concat([scores([0.5, 0.6]), scores([0.9], "melanoma")])).axes

    assert {line.get_label(): len(line.get_xdata()) for line in axes.lines} == {"common": 2, "melanoma": 1}


def test_names_with_dollars_and_underscores_are_shown_as_they_are() -> None:
    """Matplotlib would read the first as a formula and fail, and leave the second out of the legend."""
    table = pd.concat([scores([0.5], r"$\frac$"), scores([0.9], "_b")])
    for figure in (dice_histogram(table), confidence_plot(table), dot_plot([DotPlotRow("$^$", 0.5)], 0.5)):
        assert to_svg(figure, "x").startswith("<svg")
    (legend,) = confidence_plot(table).legends
    assert len(legend.get_texts()) == 2


def test_each_diagnosis_has_a_color_of_its_own() -> None:
    assert len(set(diagnosis_colors(["common", "atypical", "melanoma", "a", "b", "c"]))) == 6


def test_risk_coverage_shows_the_curve_the_upper_bound_and_the_mean() -> None:
    curve = pd.DataFrame({"coverage": [0.5, 1.0], "dice": [0.6, 0.7]})
    best = pd.DataFrame({"coverage": [0.5, 1.0], "dice": [0.8, 0.7]})
    (axes,) = risk_coverage_plot(curve, best, scores([0.6, 0.8])).axes

    upper_bound, by_confidence, at_random = [list(line.get_ydata()) for line in axes.lines]
    assert [line.get_label() for line in axes.lines] == ["upper bound", "by confidence", "at random"]
    assert (upper_bound, by_confidence) == ([0.8, 0.7], [0.6, 0.7])
    assert at_random == pytest.approx([0.7, 0.7])
    assert list(axes.lines[0].get_xdata()) == [50, 100]


def test_plots_have_the_same_bytes_whatever_the_user_configured() -> None:
    def draw() -> tuple[bytes, str]:
        return to_png(dice_histogram(scores([0.5, 0.9]))), to_svg(learning_curve_plot(curves()), "x")

    before = draw()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": None}):
        assert draw() == before
        assert matplotlib.rcParams["font.size"] == 30


def test_an_svg_has_the_text_color_of_the_page_and_its_own_ids() -> None:
    svg = to_svg(dice_histogram(scores([0.5, 0.9])), "dice")

    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert TEXT_COLOR not in svg
    assert "<metadata" not in svg
    ids = set(re.findall(r' id="([^"]*)"', svg))
    used = set(re.findall(r'href="#([^"]*)"', svg)) | set(re.findall(r"url\(#([^)]*)\)", svg))
    assert all(name.startswith("dice-") for name in ids)
    assert used <= ids


def test_an_interval_may_begin_at_zero() -> None:
    """A row without an interval is a point."""
    rows = [DotPlotRow("low", 0.2, 0.0, 0.5), DotPlotRow("alone", 0.4)]
    bars = [line.get_xdata() for line in dot_plot(rows, 0.3).axes[0].lines[1::2]]

    assert [list(bar) for bar in bars] == [[0.0, 0.5], [0.4, 0.4]]
