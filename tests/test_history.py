"""History: a table over commits and experiments, in which nothing is left out in silence."""

import json
import re
from pathlib import Path
from unittest.mock import ANY

import pytest

from naevi import history, paths
from tests import pipeline
from tests.conftest import ROOT
from tests.test_comparison import bars, git


def metrics(dice: float) -> str:
    return json.dumps(
        {
            name: {"mean": value, "low": value - 0.1, "high": value + 0.1}
            for name, value in (("dice", dice), ("iou", 0.5))
        }
    )


def commit(folder: Path, message: str, text: str | None = None) -> str:
    """A commit with this metrics.json (as it was, where none is given), and its revision."""
    if text is not None:
        paths.METRICS.parent.mkdir(exist_ok=True)
        paths.METRICS.write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def branch(folder: Path) -> list[str]:
    """Revisions of three commits that changed metrics.json, with others before, between and after."""
    git(folder, "init", "--quiet")
    commit(folder, "Begin")
    first = commit(folder, "First", metrics(0.5))
    commit(folder, "Between")
    second = commit(folder, "Second | with a bar", metrics(0.75))
    third = commit(folder, "Third", metrics(0.7))
    commit(folder, "After")
    return [first, second, third]


def cells(table: str) -> list[list[str]]:
    """The rows of the Markdown table, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({bars(line) for line in lines}) == 1
    assert len({len(line) for line in lines}) == 1  # straight in a terminal too
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_commits_that_changed_the_figures_stand_newest_first(branch: list[str]) -> None:
    iou = "0.5000 [0.4000, 0.6000]"

    assert cells(history.table()) == [
        [branch[2][:7], "Third", "0.7000 [0.6000, 0.8000]", iou, "-0.0500"],
        [branch[1][:7], "Second \\| with a bar", "0.7500 [0.6500, 0.8500]", iou, "+0.2500"],
        [branch[0][:7], "First", "0.5000 [0.4000, 0.6000]", iou, ""],
    ]


def test_a_limit_is_said_and_the_change_still_known(branch: list[str]) -> None:
    table = history.table(2)

    assert [row[1] for row in cells(table)] == ["Third", "Second \\| with a bar"]
    assert cells(table)[1][4] == "+0.2500"
    assert "1 older not shown: make history COMMITS=3." in table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{cut off", "reports/metrics.json can't be read"),
        ('{"dice": {"mean": 0.5}}', "reports/metrics.json can't be read"),
        ('{"dice": {"mean": "x", "low": 0, "high": 1}}', "reports/metrics.json can't be read"),
        ("[]", "reports/metrics.json can't be read"),
        ("null", "reports/metrics.json can't be read"),
        (None, "no reports/metrics.json"),
    ],
)
def test_missing_and_spoilt_figures_are_shown_as_such(
    text: str | None, said: str, branch: list[str], folder: Path
) -> None:
    if text is None:
        paths.METRICS.unlink()
    spoilt = commit(folder, "Spoilt", text)
    good = commit(folder, "Good again", metrics(0.8))

    rows = cells(history.table())

    assert rows[0][:2] + rows[0][4:] == [good[:7], "Good again", ""]
    assert rows[1] == [spoilt[:7], "Spoilt", said, "", ""]
    assert rows[2][4] == "-0.0500"


def test_experiments_stand_under_the_figures_that_they_started_from(branch: list[str], folder: Path) -> None:
    pipeline.run(folder, "dvc", "init", "--quiet")
    base = commit(folder, "Set up DVC")  # figures as in the third
    tried = commit(folder, "An experiment", metrics(0.9))
    failed = commit(folder, "Another", "{")
    git(folder, "reset", "--quiet", "--hard", base)
    other = git(folder, "commit-tree", "HEAD^{tree}", "-m", "Of no branch")
    for start, name, revision in ((base, "tried", tried), (branch[0], "failed", failed), (other, "far", tried)):
        git(folder, "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", revision)

    table = history.table()

    rows = cells(table)
    assert [row[1] for row in rows] == ["Third", "↳ tried", "Second \\| with a bar", "First", "↳ failed"]
    assert rows[1][0] == tried[:7]
    assert rows[1][4] == "+0.2000"
    assert rows[4] == [failed[:7], "↳ failed", "reports/metrics.json can't be read", "", ""]
    assert "Experiments that started from other commits: far." in table


def test_a_branch_without_figures_says_so(folder: Path) -> None:
    git(folder, "init", "--quiet")
    commit(folder, "Begin")

    assert history.table() == "No commit of this branch has reports/metrics.json, which `dvc repro` makes.\n"


def test_the_command_prints_the_history_of_this_repository() -> None:
    printed = pipeline.run(ROOT, "python", "-m", "naevi", "history", "-n", "1")

    assert re.match(r"\| revision +\| what +\| +Dice \[95 % interval\] \|", printed)
    assert re.search(r"^\| \w{7}  \| .* \| 0\.\d{4} \[0\.\d{4}, 0\.\d{4}\] \|", printed, flags=re.MULTILINE)
    refused = pipeline.run(ROOT, "python", "-m", "naevi", "history", "-n", "0", check=False)
    assert "'0' is no number of commits: name one from 1 on" in refused


def test_spoilt_bytes_are_told_of(folder: Path) -> None:
    git(folder, "init", "--quiet")
    commit(folder, "First", metrics(0.5))
    paths.METRICS.write_bytes(b"\xff")
    commit(folder, "Größe")

    assert [row[1:3] for row in cells(history.table())] == [["Größe", f"{paths.METRICS} can't be read"], ["First", ANY]]
