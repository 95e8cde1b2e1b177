"""History: a table over commits and experiments that says what it leaves out."""

import json
import re
from pathlib import Path
from unittest.mock import ANY

import pytest

from naevi.experiments.history import history_table
from tests import pipeline
from tests.experiments.helpers import count_bars, git, per_image, write_result
from tests.helpers import HERE, ROOT


def metrics(dice: float) -> str:
    return json.dumps(
        {
            name: {"mean": value, "low": value - 0.1, "high": value + 0.1}
            for name, value in (("dice", dice), ("iou", 0.5))
        }
    )


def commit(folder: Path, message: str, text: str | None = None) -> str:
    """Commit this metrics.json, or no change of it, and return the revision."""
    if text is not None:
        HERE.metrics.parent.mkdir(exist_ok=True)
        HERE.metrics.write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def branch(folder: Path) -> list[str]:
    """Return three commits that changed metrics.json; there are others before, between and after them."""
    git(folder, "init", "--quiet")
    commit(folder, "Begin")
    first = commit(folder, "First", metrics(0.5))
    commit(folder, "Between")
    second = commit(folder, "Second | with a bar", metrics(0.75))
    third = commit(folder, "Third", metrics(0.7))
    commit(folder, "After")
    return [first, second, third]


def cells(table: str) -> list[list[str]]:
    """Return the rows of a Markdown table without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({count_bars(line) for line in lines}) == 1
    assert len({len(line) for line in lines}) == 1  # aligned in a terminal too
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_commits_that_changed_the_scores_are_listed_newest_first(branch: list[str]) -> None:
    iou = "0.5000 [0.4000, 0.6000]"

    assert cells(history_table(HERE, 20)) == [
        [branch[2][:7], "Third", "0.7000 [0.6000, 0.8000]", iou, "-0.0500"],
        [branch[1][:7], "Second \\| with a bar", "0.7500 [0.6500, 0.8500]", iou, "+0.2500"],
        [branch[0][:7], "First", "0.5000 [0.4000, 0.6000]", iou, ""],
    ]


def test_hidden_commits_are_counted_and_the_last_change_is_still_shown(branch: list[str]) -> None:
    table = history_table(HERE, 2)

    assert [row[1] for row in cells(table)] == ["Third", "Second \\| with a bar"]
    assert cells(table)[1][4] == "+0.2500"
    assert "Older commits not shown: 1. To show all, use make history COMMITS=3." in table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{cut off", "reports/metrics.json can't be read"),
        ('{"dice": {"mean": 0.5}}', "reports/metrics.json can't be read"),
        ('{"dice": {"mean": "x", "low": 0, "high": 1}}', "reports/metrics.json can't be read"),
        ("[]", "reports/metrics.json can't be read"),
        ("null", "reports/metrics.json can't be read"),
        (None, "no reports/metrics.json"),
    ],
)
def test_missing_and_corrupt_metrics_are_shown_as_such(
    text: str | None, message: str, branch: list[str], folder: Path
) -> None:
    if text is None:
        HERE.metrics.unlink()
    spoilt = commit(folder, "Spoilt", text)
    good = commit(folder, "Good again", metrics(0.8))

    rows = cells(history_table(HERE, 20))

    assert rows[0][:2] + rows[0][4:] == [good[:7], "Good again", ""]
    assert rows[1] == [spoilt[:7], "Spoilt", message, "", ""]
    assert rows[2][4] == "-0.0500"


def test_experiments_are_listed_below_the_commit_with_the_metrics_of_their_baseline(
    branch: list[str], folder: Path
) -> None:
    pipeline.run(folder, "dvc", "init", "--quiet")
    base = commit(folder, "Set up DVC")  # metrics.json as in the third
    tried = commit(folder, "An experiment", metrics(0.9))
    failed = commit(folder, "Another", "{")
    git(folder, "reset", "--quiet", "--hard", base)
    other = git(folder, "commit-tree", "HEAD^{tree}", "-m", "Of no branch")
    for start, name, revision in ((base, "tried", tried), (branch[0], "failed", failed), (other, "far", tried)):
        git(folder, "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", revision)

    table = history_table(HERE, 20)

    rows = cells(table)
    assert [row[1] for row in rows] == ["Third", "↳ tried", "Second \\| with a bar", "First", "↳ failed"]
    assert rows[1][0] == tried[:7]
    assert rows[1][4] == "+0.2000"
    assert rows[4] == [failed[:7], "↳ failed", "reports/metrics.json can't be read", "", ""]
    assert "Experiments that started from other commits: far." in table


def test_changes_are_those_within_a_data_set(folder: Path) -> None:
    """PH2, then own images, then PH2 again, then another version of the own images."""
    git(folder, "init", "--quiet")
    own = {"source": "folder", "path": "photos", "name": "moles"}
    for dice, digest, data in ((0.5, "a", {}), (0.25, "b", own), (0.75, "a", {}), (0.375, "c", own)):
        write_result(HERE, per_image([dice, dice]), digest=digest * 64, **data)
        commit(folder, f"Dice {dice}")

    table = history_table(HERE, 20)

    assert [row[1:3] + row[5:] for row in cells(table)] == [
        ["Dice 0.375", "moles (cccccccc)", ""],
        ["Dice 0.75", "ph2", "+0.2500"],
        ["Dice 0.25", "moles (bbbbbbbb)", ""],
        ["Dice 0.5", "ph2", ""],
    ]
    assert "With several data sets, the change is relative to the next commit below with the same data set." in table


def test_scores_that_the_record_of_their_commit_does_not_list_are_not_shown(folder: Path) -> None:
    git(folder, "init", "--quiet")
    write_result(HERE, per_image([0.5, 0.5]))
    commit(folder, "First")
    revision = commit(folder, "Edited", metrics(0.9))

    assert cells(history_table(HERE, 20))[0] == [
        revision[:7],
        "Edited",
        f"reports/metrics.json at {revision[:7]} isn't the file that dvc.lock lists there",
        "",
        "",
    ]


def test_a_branch_without_metrics_is_reported(folder: Path) -> None:
    git(folder, "init", "--quiet")
    commit(folder, "Begin")

    assert history_table(HERE, 20) == (
        "No commit of this branch has reports/metrics.json. Run `dvc repro` and commit the file.\n"
    )


@pytest.mark.slow
def test_the_command_prints_the_history_of_this_repository() -> None:
    printed = pipeline.run(ROOT, "python", "-m", "naevi", "history", "-n", "1")

    assert re.match(r"\| revision +\| what +\| +Dice \[95 % interval\] \|", printed)
    assert re.search(r"^\| \w{7} +\| .* \| 0\.\d{4} \[0\.\d{4}, 0\.\d{4}\] \|", printed, flags=re.MULTILINE)


def test_corrupt_bytes_are_reported(folder: Path) -> None:
    git(folder, "init", "--quiet")
    commit(folder, "First", metrics(0.5))
    HERE.metrics.write_bytes(b"\xff")
    commit(folder, "Größe")

    assert [row[1:3] for row in cells(history_table(HERE, 20))] == [
        ["Größe", f"{HERE.metrics} can't be read"],
        ["First", ANY],
    ]
