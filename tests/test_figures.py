"""Overlays worked out by hand, which images are shown, and plots whose bytes repeat."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from naevi import figures
from naevi.images import write_image, write_mask

GREEN, YELLOW, BLUE = (0, 158, 115), (240, 228, 66), (0, 114, 178)  # Okabe and Ito's, in 0..255
GREY = (100, 100, 100)


def scores(dice: list[float], diagnosis: str = "common") -> pd.DataFrame:
    """A per_image.csv of images a, b, c, … with these Dices; each is less confident than the one before."""
    ids = [chr(ord("a") + index) for index in range(len(dice))]
    confidence = [1 - index / 100 for index in range(len(dice))]
    return pd.DataFrame({"image_id": ids, "diagnosis": diagnosis, "dice": dice, "confidence": confidence})


def curves() -> pd.DataFrame:
    """Two folds and `all`, three epochs each."""
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


def test_overlay_of_one_row() -> None:
    """The lesion is left of 12, the prediction right of 6 and left of 18; the frame ends at 20.

    0      4  6     8   10    12    14  16    18   20
    missed____found___________false___________skin
    fill   line     image line line  fill line

    A fill covers half: of grey 100, yellow leaves (240 + 100) / 2 and so on. No line on the left: the frame ends there.
    """
    mask, prediction = np.zeros((2, 1, 20), np.uint8)
    mask[:, :12] = 1
    prediction[:, 6:18] = 1
    drawn = figures.overlay(np.full((1, 20, 3), 100, np.uint8), mask, prediction)

    half_yellow, half_blue = (170, 164, 83), (50, 107, 139)
    expected = [half_yellow] * 4 + [YELLOW] * 2 + [GREEN] * 2 + [GREY] * 2 + [GREEN] * 2
    expected += [BLUE] * 2 + [half_blue] * 2 + [BLUE] * 2 + [GREY] * 2
    assert drawn.dtype == np.uint8
    assert [tuple(pixel) for pixel in drawn[0].tolist()] == expected


def test_overlay_leaves_the_image_where_nothing_ends() -> None:
    """A lesion that fills the frame and was found whole has no border; neither has a frame of skin."""
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    full, none = np.ones((8, 9), np.uint8), np.zeros((8, 9), np.uint8)

    assert (figures.overlay(image, full, full) == image).all()
    assert (figures.overlay(image, none, none) == image).all()


def test_pictures_are_shrunk_to_a_width_and_never_enlarged() -> None:
    assert figures.shrink_image(np.zeros((576, 768, 3), np.uint8)).shape == (384, 512, 3)
    assert figures.shrink_image(np.zeros((30, 40, 3), np.uint8)).shape == (30, 40, 3)


def test_a_shrunk_mask_is_lesion_where_half_of_the_pixel_is() -> None:
    """1024 columns become 512: each new pixel is two wide, and holds two, one or no pixels of the lesion."""
    mask = np.zeros((2, 1024), np.uint8)
    mask[:, :3] = 1

    assert figures.shrink_mask(mask)[0, :3].tolist() == [1, 1, 0]


def test_chosen_are_the_twelve_worst_middle_and_best() -> None:
    """40 images from .60 to .99: ranks 1..12, 15..26, 29..40."""
    table = figures.chosen(scores([(99 - index) / 100 for index in range(40)]))

    assert table.groupby("group", sort=False)["rank"].agg(list).to_dict() == {
        "worst": list(range(1, 13)),
        "median": list(range(15, 27)),
        "best": list(range(29, 41)),
    }
    assert table.dice.tolist()[0] == 0.6


def test_doubt_counts_from_the_least_confident_of_all_images() -> None:
    """Of a, b and c, c is the least confident; by Dice the order is b, c, a."""
    table = figures.chosen(scores([0.9, 0.7, 0.8]))

    assert dict(zip(table.image_id, table.doubt, strict=True)) == {"a": 3, "b": 2, "c": 1}


@pytest.mark.parametrize(("number", "expected"), [(1, "a"), (2, "ab"), (3, "abc"), (7, "abcdfg")])
def test_few_images_are_chosen_once_each(number: int, expected: str) -> None:
    table = figures.chosen(scores([0.1 * index for index in range(number)]))

    assert "".join(table.image_id) == expected


def test_ties_go_by_id() -> None:
    table = figures.chosen(scores([0.5, 0.5, 0.5]).iloc[::-1])

    assert table.image_id.tolist() == ["a", "b", "c"]


def test_the_wrong_class_counts_as_missed() -> None:
    """Of three classes: right, mistaken for another, found where nothing is, and background."""
    mask, prediction = np.array([[1, 1, 0, 0]], np.uint8), np.array([[1, 2, 2, 0]], np.uint8)
    drawn = figures.overlay(np.full((1, 4, 3), 100, np.uint8), mask, prediction)
    plain = figures.overlay(np.full((1, 4, 3), 100, np.uint8), mask > 0, np.array([[1, 0, 1, 0]], np.uint8))

    assert np.array_equal(drawn, plain)


def test_pictures_are_read_and_named_by_rank_and_id(tmp_path: Path) -> None:
    for folder in ("raw/images", "raw/masks", "predictions"):
        (tmp_path / folder).mkdir(parents=True)
    mask = np.eye(8, 600, dtype=np.uint8)
    write_image(tmp_path / "raw/images/a b.png", np.full((8, 600, 3), 100, np.uint8))
    write_mask(tmp_path / "raw/masks/a b.png", mask)
    write_mask(tmp_path / "predictions/a b.png", mask)
    rows = figures.chosen(scores([0.5]).assign(image_id="a b"))

    (picture,) = figures.pictures(rows, tmp_path / "raw", tmp_path / "predictions")

    assert picture.name == "001_a_b.png"
    assert picture.score["group"] == "worst"
    assert picture.image.shape == picture.overlay.shape == (7, 512, 3)


def test_the_histogram_counts_every_image() -> None:
    table = pd.concat([scores([0.41, 0.9, 1.0]), scores([0.95], "melanoma"), scores([0.95], "atypical")])
    figure = figures.histogram(table)
    (axes,), (legend,) = figure.axes, figure.legends

    assert sum(bar.get_height() for bars in axes.containers for bar in bars) == 5
    assert [text.get_text() for text in legend.get_texts()] == [
        "common",
        "atypical",
        "melanoma",
        "mean 0.842",
    ]


@pytest.mark.parametrize("lowest", [0.0, 0.29, 0.5, 0.57, 0.8, 0.93, 1.0])
def test_every_dice_lies_within_the_bins(lowest: float) -> None:
    edges = figures._bins(pd.Series([lowest, 1.0]))

    assert edges[0] <= lowest
    assert edges[-1] == 1
    assert 5 <= len(edges) - 1 <= 26


def test_curves_show_every_model_and_validation_of_the_folds() -> None:
    loss, dice = figures.learning_curves(curves()).axes

    assert [line.get_label() for line in loss.lines] == ["fold 0", "fold 1", "all"]
    assert [line.get_label() for line in dice.lines] == ["fold 0", "fold 1"]


def test_a_dot_plot_has_a_mark_for_each_mean_and_a_bar_for_each_interval() -> None:
    rows = [figures.Dot("heading"), figures.Dot("ours", 0.9, 0.8, 0.95), figures.Dot("theirs", 0.7)]
    (axes,) = figures.dots(rows, 0.9).axes

    assert [label.get_text() for label in axes.get_yticklabels()] == ["heading", "ours", "theirs"]
    mean, bar, mark, _, other = [line.get_xdata() for line in axes.lines]
    assert (list(mean), list(bar), list(mark), list(other)) == ([0.9, 0.9], [0.8, 0.95], [0.9], [0.7])


def test_reliability_has_the_diagonal_and_a_line_for_each_class() -> None:
    curve = pd.DataFrame({"probability": [0.1, 0.9, 0.5], "observed": [0.2, 0.8, 0.5], "class": ["a", "a", "b"]})
    (axes,) = figures.reliability(curve).axes

    assert [line.get_label() for line in axes.lines] == ["perfect", "a", "b"]
    assert axes.lines[1].get_ydata().tolist() == [0.2, 0.8]


def test_dice_by_threshold_follows_from_sensitivity_and_precision() -> None:
    """2 * 1 * .5 / 1.5 = 2/3; where nothing is right, 0."""
    curve = pd.DataFrame({"threshold": [0.0, 1.0], "sensitivity": [1.0, 0.0], "precision": [0.5, 0.0], "class": "a"})
    (axes,) = figures.thresholds(curve, 0.5).axes

    assert axes.lines[0].get_ydata().tolist() == pytest.approx([2 / 3, 0])
    assert [line.get_label() for line in axes.lines] == ["Dice", "sensitivity", "precision", "the one used"]


def test_every_image_has_a_mark_of_its_diagnosis() -> None:
    (axes,) = figures.confidence(pd.concat([scores([0.5, 0.6]), scores([0.9], "melanoma")])).axes

    assert {line.get_label(): len(line.get_xdata()) for line in axes.lines} == {"common": 2, "melanoma": 1}


def test_names_with_dollars_and_underscores_are_shown_as_they_are() -> None:
    """Matplotlib would fail on the first, which it takes for a formula, and leave the second out of the legend."""
    table = pd.concat([scores([0.5], r"$\frac$"), scores([0.9], "_b")])
    for figure in (figures.histogram(table), figures.confidence(table), figures.dots([figures.Dot("$^$", 0.5)], 0.5)):
        assert figures.svg(figure, "x").startswith("<svg")
    (legend,) = figures.confidence(table).legends
    assert len(legend.get_texts()) == 2


def test_each_diagnosis_has_a_color_of_its_own() -> None:
    assert len(set(figures._colors(["common", "atypical", "melanoma", "a", "b", "c"]))) == 6


def test_the_best_possible_order_is_that_of_dice() -> None:
    """Confidence keeps .6, then .8: means .6, .7; by Dice it would be .8, .7."""
    table = scores([0.6, 0.8])
    curve = pd.DataFrame({"coverage": [0.5, 1.0], "dice": [0.6, 0.7]})
    (axes,) = figures.risk_coverage(curve, table).axes

    best, confident, chance = [line.get_ydata() for line in axes.lines]
    assert best.tolist() == pytest.approx([0.8, 0.7])
    assert confident.tolist() == [0.6, 0.7]
    assert chance[0] == pytest.approx(0.7)


def test_plots_have_the_same_bytes_whatever_matplotlib_is_told() -> None:
    def drawn() -> tuple[bytes, str]:
        return figures.png(figures.histogram(scores([0.5, 0.9]))), figures.svg(figures.learning_curves(curves()), "x")

    before = drawn()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": None}):
        assert drawn() == before
        assert matplotlib.rcParams["font.size"] == 30


def test_an_svg_has_the_color_of_the_page_and_ids_of_its_own() -> None:
    svg = figures.svg(figures.histogram(scores([0.5, 0.9])), "dice")

    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert figures.INK not in svg
    assert "<metadata" not in svg
    ids = set(re.findall(r' id="([^"]*)"', svg))
    used = set(re.findall(r'href="#([^"]*)"', svg)) | set(re.findall(r"url\(#([^)]*)\)", svg))
    assert all(name.startswith("dice-") for name in ids)
    assert used <= ids


def test_an_interval_may_begin_at_zero() -> None:
    """And a dot without an interval is a point."""
    rows = [figures.Dot("low", 0.2, 0.0, 0.5), figures.Dot("alone", 0.4)]
    bars = [line.get_xdata() for line in figures.dots(rows, 0.3).axes[0].lines[1::2]]

    assert [list(bar) for bar in bars] == [[0.0, 0.5], [0.4, 0.4]]
