"""Comparison: numbers worked out by hand, chance known as chance, and the three forms it is told in."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from naevi import comparison, config, paths, results, sides, summary, tables
from naevi.comparison import Comparison, Difference
from naevi.config import EvaluateConfig
from naevi.images import write_image, write_mask
from naevi.refusal import Refusal
from naevi.sides import Side
from tests import pipeline
from tests.conftest import ROOT

WHO = ("-c", "user.name=naevi", "-c", "user.email=naevi@localhost", "-c", "commit.gpgsign=false")


def git(folder: Path, *command: str) -> str:
    done = subprocess.run(["git", *WHO, *command], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def per_image(dice: list[float], **columns: object) -> pd.DataFrame:
    """An early per_image.csv: images i0, i1, …, with these Dice scores, and columns of one's own."""
    ids = [f"i{place}" for place in range(len(dice))]
    iou = [each / (2 - each) for each in dice]
    return pd.DataFrame(
        {"image_id": ids, "dataset": "ph2", "diagnosis": "common", "fold": 0, "dice": dice, "iou": iou} | columns
    )


@pytest.fixture(scope="session")
def settings(config_with: Callable) -> EvaluateConfig:
    return config_with({}).evaluate


@pytest.fixture
def told(settings: EvaluateConfig) -> Callable[..., Comparison]:
    """A comparison of two tables, as `main` makes it."""

    def make(a: pd.DataFrame, b: pd.DataFrame, looks: int = 1, names: tuple[str, str] = ("A", "B")) -> Comparison:
        left, right = Side(names[0], a), Side(names[1], b)
        pairs = comparison.paired(left, right)
        return Comparison(left, right, pairs, comparison.compared(pairs, settings), looks, settings.resamples)

    return make


def sentence(found: Comparison) -> str:
    return comparison.verdict(found.a.name, found.b.name, found.differences["dice"], found.looks)


# By hand


def test_differences_are_those_of_each_image(told: Callable) -> None:
    a, b = per_image([0.5, 0.6, 0.7, 0.8, 0.95]), per_image([0.51, 0.62, 0.73, 0.84, 0.9])

    found = told(a, b.iloc[::-1]).differences["dice"]  # in another order

    assert (found.a, found.b) == pytest.approx((0.71, 0.72))
    assert found.mean == pytest.approx(0.01)
    assert (found.better, found.worse, found.equal, found.images) == (4, 1, 0, 5)
    # Ranks 1 to 4 are positive and 5 is negative. 10 of the 32 ways to give signs have a sum of at most 5 on one side:
    # none, each of 1 to 5 alone, 1 and 2, 1 and 3, 1 and 4, 2 and 3.
    assert found.p == pytest.approx(2 * 10 / 32)


def test_an_image_that_stays_the_same_has_no_rank(told: Callable) -> None:
    a = per_image([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9])
    b = per_image([0.11, 0.22, 0.33, 0.44, 0.55, 0.66, 0.9])

    found = told(a, b).differences["dice"]

    assert (found.better, found.worse, found.equal) == (6, 0, 1)
    assert found.p == pytest.approx(2 / 64)  # six positive ranks: one of 64 ways, and the opposite


def test_differences_that_are_equal_on_paper_are_ties(told: Callable) -> None:
    """0.9 - 0.8 and 0.3 - 0.2 differ in the 17th digit."""
    found = told(per_image([0.8, 0.2, 0.8]), per_image([0.9, 0.3, 0.7])).differences["dice"]

    assert found.mean == pytest.approx(0.1 / 3)
    # Three ranks of 2: sums on one side are 0, 2 (three ways), 4 (three ways) and 6, so at most 2 is half of all.
    assert found.p == pytest.approx(1)


def test_the_interval_is_that_of_a_plain_bootstrap(config_with: Callable) -> None:
    rng = np.random.default_rng(1)
    before, change = rng.uniform(0.6, 0.9, 80), rng.normal(0.01, 0.03, 80).round(6)
    many = config_with({"evaluate.resamples": 10_000}).evaluate
    pairs = comparison.paired(Side("A", per_image([*before])), Side("B", per_image([*(before + change)])))

    found = comparison.compared(pairs, many)["dice"]

    means = [rng.choice(change, len(change)).mean() for _ in range(10_000)]
    low, high = np.percentile(means, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_the_images_that_changed_most_are_found_each_way(told: Callable) -> None:
    a = per_image([0.5] * 16)
    b = per_image([0.5, *(0.5 + step / 100 for step in range(1, 9)), *(0.5 - step / 100 for step in range(1, 8))])

    most = comparison.most_changed(told(a, b).pairs)

    assert most["rose"].image_id.tolist() == ["i8", "i7", "i6", "i5", "i4", "i3"]
    assert most["fell"].image_id.tolist() == ["i15", "i14", "i13", "i12", "i11", "i10"]
    assert most["rose"].change.tolist() == [0.08, 0.07, 0.06, 0.05, 0.04, 0.03]


def test_classes_of_an_image_are_averaged(told: Callable) -> None:
    a, b = per_image([0.5, 0.6]), per_image([0.6, 0.8])
    two = [pd.concat([each.assign(**{"class": "x"}), each.assign(**{"class": "y"}, dice=1.0)]) for each in (a, b)]

    found = told(*two).differences["dice"]

    assert found.images == 2
    assert found.mean == pytest.approx(0.075)


# Chance


def test_a_result_against_itself_shows_no_difference(told: Callable) -> None:
    rows = per_image([0.5, 0.9, 0.7])

    found = told(rows, rows, looks=3)

    for difference in found.differences.values():
        assert (difference.mean, difference.low, difference.high, difference.p) == (0, 0, 0, 1)
        assert not comparison.told_from_chance(difference, 1)
    assert sentence(found) == "B and A have the same Dice on each of 3 images: no difference."
    assert comparison.text(found).count("most") == 0


@pytest.mark.parametrize("name", ["lesson-12-segnet", "lesson-12-unet"])
def test_of_200_sign_flipped_trials_about_5_percent_are_flagged(name: str, told: Callable) -> None:
    """Differences of real results, whose signs are chance: no other seed was tried."""
    default, other = (tables.read(ROOT / file / "per_image.csv") for file in ("reports", paths.RESULTS / name))
    both = default.merge(other, on="image_id", suffixes=("_a", "_b"))
    change = (both.dice_b - both.dice_a).to_numpy()
    rng = np.random.default_rng(0)

    def flagged() -> bool:
        found = told(per_image([0.5] * len(change)), per_image([*(0.5 + change * rng.choice([-1, 1], len(change)))]))
        return comparison.told_from_chance(found.differences["dice"], 1)

    assert 0.02 <= np.mean([flagged() for _ in range(200)]) <= 0.09


def test_the_best_of_ten_chance_finds_is_seldom_flagged(told: Callable) -> None:
    rng = np.random.default_rng(0)
    base = per_image([0.5] * 30)
    sets = [[told(base, per_image([*(0.5 + rng.normal(0, 0.05, 30))])) for _ in range(10)] for _ in range(30)]

    def any_flagged(found: list[Comparison], looks: int) -> bool:
        return any(comparison.told_from_chance(each.differences["dice"], looks) for each in found)

    assert np.mean([any_flagged(each, 1) for each in sets]) > 0.2  # ten looks without correction: 40 % is expected
    assert np.mean([any_flagged(each, 10) for each in sets]) <= 0.125  # 5 % is expected


def test_the_published_segnet_is_told_from_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)

    comparison.main("lesson-12-segnet", results.DEFAULT)

    printed = capsys.readouterr().out
    assert "default is better than lesson-12-segnet by 0." in printed
    assert "200 images): more than chance explains." in printed
    assert " comparisons in this experiment set < 0.0001" in printed


# In words

WORSE = Difference("dice", 0.9, 0.88, -0.02, -0.03, -0.01, 0.004, 10, 90, 0)
BETTER = Difference("dice", 0.9, 0.91, 0.01, -0.001, 0.021, 0.004, 80, 20, 0)


@pytest.mark.parametrize(
    ("difference", "looks", "amount", "p", "judged"),
    [
        (WORSE, 1, "worse than A by 0.0200", "= 0.0040", "more than chance explains"),
        (
            WORSE,
            10,
            "worse than A by 0.0200",
            "times 10 comparisons in this experiment set = 0.0400",
            "more than chance",
        ),
        (
            WORSE,
            20,
            "worse than A by 0.0200",
            "times 20 comparisons in this experiment set = 0.0800",
            "chance alone can",
        ),
        (
            replace(WORSE, p=1e-6),
            20,
            "worse than A by 0.0200",
            "times 20 comparisons in this experiment set < 0.0001",
            "more",
        ),
        (
            BETTER,
            1,
            "better than A by 0.0100",
            "= 0.0040",
            "more than chance explains image by image (80 better, 20 worse)",
        ),
    ],
)
def test_one_sentence_tells(difference: Difference, looks: int, amount: str, p: str, judged: str) -> None:
    interval = "0.0100 to 0.0300" if difference.mean < 0 else "-0.0010 to 0.0210"

    told = comparison.verdict("A", "B", difference, looks)

    assert told.startswith(f"B is {amount} Dice (95 % interval {interval}, Wilcoxon p {p}, 100 images): {judged}")
    assert told.count(". ") == 0
    assert told.endswith(".")


def test_a_mean_that_rounds_to_nothing_is_neither_better_nor_worse() -> None:
    same = replace(BETTER, mean=0.00001, low=-0.001, high=0.001, p=0.7)

    assert comparison.verdict("A", "B", same, 1) == (
        "B differs from A by less than 0.0001 Dice (95 % interval -0.0010 to 0.0010, Wilcoxon p = 0.7000, 100 images): "
        "chance alone can explain it."
    )


def test_the_text_says_what_chance_means(told: Callable) -> None:
    found = told(per_image([0.5, 0.6, 0.7]), per_image([0.6, 0.7, 0.6]), looks=4)

    printed = comparison.text(found)

    assert "are 5 different results: 4 comparisons with one of them, so p is multiplied by 4." in printed
    assert "chance over images and not over training runs" in printed
    assert "Where B gained most" in printed
    assert re.search(r"^i2 +common +0\.7000 +0\.6000 +-0\.1000$", printed, flags=re.MULTILINE)


def bars(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line))


def test_markdown_tables_have_equal_rows(told: Callable) -> None:
    ids = {"image_id": ["a|b", "c\\|d", "<img src=x>"]}
    found = told(per_image([0.5, 0.6, 0.7], **ids), per_image([0.6, 0.7, 0.6], **ids), 2, names=("x|y", "z\nw"))

    page = comparison.markdown(found)

    blocks = re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        assert len({bars(line) for line in block.splitlines()}) == 1, block
    assert "a\\|b" in page
    assert "<img" not in page


def test_the_page_escapes_names_and_loads_nothing(told: Callable) -> None:
    ids = {"image_id": ["<script>alert(1)</script>", "b", "c"]}
    found = told(per_image([0.5, 0.6, 0.7], **ids), per_image([0.6, 0.7, 0.6], **ids), names=("<i>A", '"B'))

    page = comparison.html(found, comparison.pictures(found))

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<i>A" not in page
    assert "default-src 'none'; img-src data:;" in page
    assert not re.search(r"https?://|url\(|src=\"(?!data:)", page)
    assert page.count("no picture") == 6
    assert "dvc pull or another run would bring them" in page


def test_the_page_shows_what_both_found(folder: Path, told: Callable) -> None:
    image, mask = np.full((6, 8, 3), 200, np.uint8), np.zeros((6, 8), np.uint8)
    mask[2:4, 2:6] = 1
    half = mask.copy()
    half[3] = 0
    for part in ("images", "masks"):
        (paths.RAW / part).mkdir(parents=True)
    for image_id in ("i0", "i1"):
        write_image(paths.RAW / "images" / f"{image_id}.png", image)
        write_mask(paths.RAW / "masks" / f"{image_id}.png", mask)
    # A finds half of i0: Dice 2 * 4 / (4 + 8). Of i1, its file isn't what the table was made from.
    found = told(per_image([2 / 3, 0.9]), per_image([1, 1]))
    shown = replace(
        found, a=replace(found.a, predictions=lambda _: half), b=replace(found.b, predictions=lambda _: mask)
    )

    page = comparison.html(shown, comparison.pictures(shown))

    assert page.count('src="data:image/jpeg;base64,') == 3
    assert page.count("no picture") == 1
    assert "Not all pictures of A are here" in page
    assert "what A found, missed and found falsely: Dice 0.667" in page


# What can't be compared


def test_only_images_of_both_are_compared_and_that_is_said(told: Callable) -> None:
    found = told(per_image([0.5, 0.6, 0.7, 0.8]), per_image([0.6, 0.7]).assign(image_id=["i3", "new"]))

    assert found.differences["dice"].images == 1
    assert "Only the 1 images that both have are compared: 3 more are in A and 1 in B." in comparison.text(found)


def test_other_images_are_refused(told: Callable) -> None:
    with pytest.raises(Refusal, match=r"^A \(i0, i1, …\) and B \(x, y, …\) have no image in common: name two results"):
        told(per_image([0.5, 0.6]), per_image([0.5, 0.6], image_id=["x", "y"]))


def test_other_data_are_refused(told: Callable) -> None:
    with pytest.raises(Refusal, match=r"^A is of ph2 and B of phantoms: name two results of one data set\.$"):
        told(per_image([0.5]), per_image([0.5], dataset="phantoms"))


def test_other_masks_are_refused(told: Callable) -> None:
    a = per_image([0.5, 0.5], tp=[1, 1], fn=[1, 1])

    with pytest.raises(Refusal, match=r"scored against other masks \(1 of 2: i1\): name two results of the same masks"):
        told(a, a.assign(fn=[1, 2]))


def test_columns_of_an_earlier_day_may_lack(told: Callable) -> None:
    early = per_image([0.5, 0.6, 0.7])[["image_id", "fold", "dice", "iou"]]
    late = per_image([0.6, 0.7, 0.8], brier=0.1, confidence=0.9, **{"class": "lesion"})

    assert told(early, late).differences["dice"].mean == pytest.approx(0.1)
    assert "diagnosis" in comparison.text(told(early, late))
    assert "diagnosis" not in comparison.text(told(early, early.assign(dice=0.1)))


# Where results lie


@pytest.fixture
def repository(folder: Path) -> SimpleNamespace:
    """Two commits, an experiment on the second, two published results, and a workspace that is like none of them."""
    git(folder, "init", "--quiet")
    pipeline.run(folder, "dvc", "init", "--quiet")
    (folder / ".gitignore").write_text("/.cache/\n")
    paths.PER_IMAGE.parent.mkdir()

    def commit(dice: float) -> str:
        per_image([dice, 0.9]).to_csv(paths.PER_IMAGE, index=False)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", f"Dice {dice}")
        return git(folder, "rev-parse", "HEAD")

    first, second = commit(0.1), commit(0.2)
    tried = commit(0.3)
    git(folder, "update-ref", f"refs/exps/{second[:2]}/{second[2:]}/tried", tried)
    git(folder, "reset", "--quiet", "--hard", second)
    for name, dice in (("kept", 0.3), ("other", 0.4)):  # the first is what the experiment found
        (paths.RESULTS / name).mkdir(parents=True)
        per_image([dice, 0.9]).to_csv(paths.RESULTS / name / "per_image.csv", index=False)
        (paths.RESULTS / name / "overrides.txt").touch()
    per_image([0.5, 0.9]).to_csv(paths.PER_IMAGE, index=False)
    return SimpleNamespace(folder=folder, first=first, second=second, tried=tried)


def test_every_name_finds_its_result(repository: SimpleNamespace) -> None:
    names = {
        "workspace": 0.5,
        "default": 0.2,
        "kept": 0.3,
        "other": 0.4,
        "tried": 0.3,
        "HEAD~1": 0.1,
        repository.first[:8]: 0.1,
    }

    assert {name: sides.side(name).per_image.dice[0] for name in names} == names


def test_an_unknown_name_is_refused_with_those_that_would_do(repository: SimpleNamespace) -> None:
    expected = r"^'nobody' is no result; these are: workspace, default, kept, other, tried, or any git revision\.$"
    with pytest.raises(Refusal, match=expected):
        sides.side("nobody")


def test_an_experiment_that_shares_its_name_is_refused(repository: SimpleNamespace) -> None:
    first = repository.first
    git(repository.folder, "update-ref", f"refs/exps/{first[:2]}/{first[2:]}/tried", repository.second)

    with pytest.raises(Refusal, match=r"^2 DVC experiments are named tried \(\w{7}, \w{7}\): name one by its revision"):
        sides.side("tried")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"^reports/per_image\.csv of workspace can't be read \(.*\): name another result\.$"),
        ("image_id,dice\na,1\n", r"^reports/per_image\.csv of workspace lacks fold, iou: name another result\.$"),
        (
            "image_id,fold,dice,iou\na,0,high,1\n",
            r"can't be read \(could not convert string to float: 'high'.*\): name",
        ),
        (
            "image_id,fold,dataset,dice,iou\na,0,ph2,1,1\nb,0,",
            r"^reports/per_image\.csv of workspace has rows without dataset, dice, iou: name another result\.$",
        ),
        ("image_id,fold,dice,iou\na,0,inf,1\n", r"has rows without dice: name"),
        ("image_id,fold,dice\udcff,iou\na,0,1,1\n", r"^reports/per_image\.csv of workspace lacks dice: name another"),
        (None, r"^workspace has no reports/per_image\.csv: name a result after"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(text: str | None, expected: str, folder: Path) -> None:
    if text is not None:
        paths.PER_IMAGE.parent.mkdir()
        paths.PER_IMAGE.write_text(text, encoding="utf-8", errors="surrogateescape")

    with pytest.raises(Refusal, match=expected):
        sides.side("workspace")


def test_comparisons_are_counted_once_a_result(repository: SimpleNamespace) -> None:
    default, workspace = sides.side("default"), sides.side("workspace")

    # default, the experiment (published as kept), other; and the workspace.
    assert comparison.looks(default, default) == 2
    assert comparison.looks(default, workspace) == 3
    # Of other data, and spoilt: nobody could compare them.
    per_image([0.6, 0.9], dataset="phantoms").to_csv(paths.RESULTS / "kept" / "per_image.csv", index=False)
    (paths.RESULTS / "other" / "per_image.csv").write_text("spoilt")
    assert comparison.looks(default, default) == 1


def test_predictions_that_are_gone_leave_no_picture(repository: SimpleNamespace) -> None:
    predictions = sides.side("tried").predictions

    assert predictions is not None
    assert predictions("i0") is None


def test_predictions_of_the_workspace_are_classes(repository: SimpleNamespace) -> None:
    mask = np.eye(4, dtype=np.uint8)
    paths.PREDICTIONS.mkdir(parents=True)
    write_mask(paths.PREDICTIONS / "i0.png", mask)
    write_image(paths.PREDICTIONS / "i1.png", mask * 255)  # grey, as before there were classes

    read = sides.side("workspace").predictions

    assert read is not None
    for image_id in ("i0", "i1"):
        np.testing.assert_array_equal(read(image_id), mask)
    assert read("i2") is None


def test_it_is_written_by_suffix_and_pixels_stay_out_of_git(
    repository: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison.main("default", "workspace", Path("new/compare.md"))
    comparison.main("default", "workspace", Path(".cache/compare.html"))

    assert Path("new/compare.md").read_text(encoding="utf-8").startswith("### workspace against default\n")
    assert Path(".cache/compare.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert capsys.readouterr().out.splitlines()[1::2] == ["new/compare.md", ".cache/compare.html"]
    with pytest.raises(
        Refusal, match=r"^compare\.html would show images in a place that git takes in: .* OUT=\.cache/"
    ):
        comparison.main("default", "workspace", Path("compare.html"))
    with pytest.raises(Refusal, match=r"can't be written as compare\.pdf: name a file that ends in \.md or \.html\.$"):
        comparison.main("default", "workspace", Path("compare.pdf"))


def test_the_interval_is_that_of_the_params(repository: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    config.override(paths.PARAMS, ["evaluate.resamples=123"])

    comparison.main("default", "workspace")

    assert "of 123 bootstrap samples of the images" in capsys.readouterr().out


def test_scores_of_published_results_are_those_of_their_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in results.names():
        expected = summary.read(paths.RESULTS / name / "metrics.json")["dice"]["mean"]
        assert summary.by_image(sides.side(name).per_image).dice.mean() == pytest.approx(expected, abs=1e-6)
