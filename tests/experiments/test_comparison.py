"""The three formats of a comparison: text, Markdown, HTML."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from naevi.errors import UserError
from naevi.experiments.changed_images import changed_images
from naevi.experiments.comparison import comparison_html, comparison_markdown, comparison_text, write_comparison
from naevi.experiments.demo import set_parameters
from naevi.experiments.named_results import load_result
from naevi.experiments.published import DEFAULT
from naevi.workspace import Workspace
from tests.experiments.helpers import count_bars, per_image, write_result
from tests.helpers import HERE, ROOT


def test_the_published_segnet_is_significantly_worse_than_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    write_comparison(Workspace(ROOT), "lesson-12-segnet", DEFAULT)

    printed = capsys.readouterr().out
    assert "default is better than lesson-12-segnet by 0." in printed
    assert re.search(r"Wilcoxon p < 0\.0001 after correction for \d+ comparisons, 200 images\)\.", printed)
    assert "Significant (corrected p < 0.05)." in printed


def test_the_text_explains_p_and_chance(compare: Callable) -> None:
    comparison = compare(per_image([0.5, 0.6, 0.7]), per_image([0.6, 0.7, 0.6]), n_comparisons=4)

    printed = comparison_text(comparison)

    assert "has 5 different results" in printed
    assert "can be compared with 4 others, so p is multiplied by 4 (Bonferroni)." in printed
    assert "chance over images, not over training runs" in printed
    assert "Largest gains of B" in printed
    assert re.search(r"^i2 +common +0\.7000 +0\.6000 +-0\.1000$", printed, flags=re.MULTILINE)
    head = next(line for line in printed.splitlines() if line.startswith("mean"))
    assert "corrected p" in head


def test_without_other_results_p_is_not_corrected(compare: Callable) -> None:
    printed = comparison_text(compare(per_image([0.5, 0.6, 0.7]), per_image([0.6, 0.7, 0.6])))

    assert "This repository has no other results, so p is not corrected." in printed
    assert "corrected p" not in printed


def test_equal_results_have_no_changed_images(compare: Callable) -> None:
    rows = per_image([0.5, 0.9, 0.7])

    assert "Largest" not in comparison_text(compare(rows, rows))


def test_images_of_only_one_result_are_counted(compare: Callable) -> None:
    comparison = compare(per_image([0.5, 0.6, 0.7, 0.8]), per_image([0.6, 0.7]).assign(image_id=["i3", "new"]))

    assert "Only images that are in both results are compared: 1. A has 3 more and B has 1 more." in comparison_text(
        comparison
    )


def test_images_without_a_score_are_counted(compare: Callable) -> None:
    """Both classes are absent from i1, so it has no score. A has one for i0 and i2."""
    one = per_image([0.5, float("nan"), 0.7], tp=[1, 0, 1], fp=0, fn=0)
    rows = pd.concat([one.assign(**{"class": name}) for name in "xy"])

    printed = comparison_text(compare(rows, rows.assign(dice=rows.dice + 0.1)))

    assert "1 of the 3 images are left out, because at least one of the results has no score for them" in printed
    assert re.search(r"^Dice +0\.6000 +0\.7000 +\+0\.1000 ", printed, flags=re.MULTILINE)
    assert "left out" not in comparison_text(compare(per_image([0.5, 0.6]), per_image([0.5, 0.7])))


def test_a_table_may_lack_the_score_of_an_absent_class_only(repository: SimpleNamespace) -> None:
    """Of three classes, i0 lacks one. If the counts say that a class is there, its Dice must be, too."""
    rows = pd.concat([per_image([0.5, 0.6], tp=1, fp=0, fn=0, **{"class": name}) for name in "xy"], ignore_index=True)
    rows.loc[0, ["dice", "iou"]] = float("nan")
    rows.loc[0, "tp"] = 0
    write_result(HERE, rows)

    assert load_result(HERE, "workspace").per_image.dice.isna().tolist() == [True, False, False, False]
    write_result(HERE, rows.assign(tp=1))
    with pytest.raises(UserError, match=r"has rows without dice, iou\. Use another result\.$"):
        load_result(HERE, "workspace")


def test_each_of_several_data_sets_has_rows(compare: Callable) -> None:
    """B is better by 0.1 on the two images of ham, and equal on the one of ph2. So the mean difference is 0.0667."""
    several = {"dataset": ["ham", "ham", "ph2"]}

    printed = comparison_text(compare(per_image([0.5, 0.7, 0.9], **several), per_image([0.6, 0.8, 0.9], **several)))

    rows = [re.split("  +", line) for line in printed.splitlines() if re.match("Dice[, ] ", line)]
    assert [row[:5] + row[6:] for row in rows] == [
        ["Dice", "0.7000", "0.7667", "+0.0667", "+0.0000 to +0.1000", "2", "0", "1"],
        ["Dice, ham", "0.6000", "0.7000", "+0.1000", "+0.1000 to +0.1000", "2", "0", "0"],
        ["Dice, ph2", "0.9000", "0.9000", "+0.0000", "+0.0000 to +0.0000", "0", "0", "1"],
    ]
    assert "Images of each data set: ham (2), ph2 (1). p isn't corrected for the number of data sets." in printed
    assert "data set:" not in comparison_text(compare(per_image([0.5, 0.7]), per_image([0.6, 0.8])))


def test_a_diagnosis_is_shown_if_one_result_has_it(compare: Callable) -> None:
    early = per_image([0.5, 0.6, 0.7])[["image_id", "fold", "dice", "iou"]]

    assert "diagnosis" in comparison_text(compare(early, per_image([0.6, 0.7, 0.8])))
    assert "diagnosis" not in comparison_text(compare(early, early.assign(dice=0.1)))


def test_markdown_tables_have_equal_rows(compare: Callable) -> None:
    ids = {"image_id": ["a|b", "c\\|d", "<img src=x>"]}
    comparison = compare(per_image([0.5, 0.6, 0.7], **ids), per_image([0.6, 0.7, 0.6], **ids), 2, names=("x|y", "z\nw"))

    page = comparison_markdown(comparison)

    blocks = re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        assert len({count_bars(line) for line in block.splitlines()}) == 1, block
    assert "a\\|b" in page
    assert "<img" not in page
    assert page.startswith("### z w compared with x\\|y\n\n**z w is better than x\\|y by ")


def test_the_page_escapes_names_and_loads_nothing(compare: Callable) -> None:
    ids = {"image_id": ["<script>alert(1)</script>", "b", "c"]}
    comparison = compare(per_image([0.5, 0.6, 0.7], **ids), per_image([0.6, 0.7, 0.6], **ids), names=("<i>A", '"B'))

    page = comparison_html(comparison, changed_images(HERE, comparison))

    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<i>A" not in page
    assert "default-src 'none'; img-src data:;" in page
    assert not re.search(r"https?://|url\(|src=\"(?!data:)", page)
    assert page.count("no image") == 6
    assert "Run dvc pull or repeat the experiment to get them." in page


def test_the_format_follows_the_suffix_and_images_stay_out_of_git(
    repository: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_comparison(HERE, "default", "workspace", Path("new/compare.md"))
    write_comparison(HERE, "default", "workspace", Path(".cache/compare.html"))

    assert Path("new/compare.md").read_text(encoding="utf-8").startswith("### workspace compared with default\n")
    assert Path(".cache/compare.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert capsys.readouterr().out.splitlines()[1::2] == ["new/compare.md", ".cache/compare.html"]
    with pytest.raises(
        UserError,
        match=r"^compare\.html would contain images, and git doesn't ignore it\. .* as \.cache/compare\.html,",
    ):
        write_comparison(HERE, "default", "workspace", Path("compare.html"))
    with pytest.raises(
        UserError, match=r"--out compare\.pdf doesn't end in \.md or \.html\. Choose a file name that does\.$"
    ):
        write_comparison(HERE, "default", "workspace", Path("compare.pdf"))
    assert not Path("compare.html").exists()
    assert not Path("compare.pdf").exists()


def test_a_file_is_overwritten_only_by_force(repository: SimpleNamespace) -> None:
    out = Path("compare.md")
    out.write_text("mine")

    with pytest.raises(
        UserError, match=r"^--out compare\.md already exists\. Choose a new name, or overwrite it with --force\.$"
    ):
        write_comparison(HERE, "default", "workspace", out)
    assert out.read_text() == "mine"

    write_comparison(HERE, "default", "workspace", out, force=True)

    assert out.read_text(encoding="utf-8").startswith("### workspace compared with default\n")


def test_the_interval_is_that_of_the_params(repository: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    set_parameters(HERE.params, ["evaluate.resamples=123"])

    write_comparison(HERE, "default", "workspace")

    assert "from 123 bootstrap samples of the images" in capsys.readouterr().out
