"""Dice and IoU over the commits of a branch and the DVC experiments that started from them, as a Markdown table."""

import json
import re
from typing import NamedTuple

from naevi import commands, paths
from naevi.refusal import some

COMMITS = 20  # shown unless told
HEAD = ["revision", "what", "Dice [95 % interval]", "IoU [95 % interval]", "change of Dice"]
NOTE = (
    "Intervals are over images. A commit's change is from the one below it, an experiment's (↳) from the commit above; "
    "make compare says whether one can be told from chance."
)


class Point(NamedTuple):
    """A commit or an experiment, and what its metrics.json says; `problem` where that is missing or spoilt."""

    revision: str
    what: str
    dice: float | None
    scores: tuple[str, str]
    problem: str


def text_at(revision: str, path: str) -> str | None:
    """A file that git keeps, as of a revision; None where that has no such file."""
    # Not `git show`, which complains on stderr of what is missing.
    found = commands.run("git", "ls-tree", revision, "--", path).split()
    return commands.run("git", "cat-file", "blob", found[2]) if found else None


def experiments() -> dict[str, dict[str, str]]:
    """The DVC experiments of this repository: commit they started from → name → revision, sorted."""
    from dvc.exceptions import NotDvcRepoError  # dvc takes half a second to import
    from dvc.repo import Repo

    try:
        with Repo() as repository:
            found = repository.experiments.ls(all_commits=True)
            return {base: dict(sorted(found[base])) for base in sorted(found)}
    except NotDvcRepoError:
        return {}


def table(commits: int = COMMITS) -> str:
    """The newest commits of the branch that changed metrics.json, each with the experiments that started from it.

    An experiment stands under the commit whose figures its own starting point had; its change of Dice is from those.
    A commit's is from the one below it. Experiments that started elsewhere are named under the table.
    """
    path = paths.METRICS.as_posix()
    log = commands.run("git", "log", "--first-parent", "--format=%H %s", "--", path).splitlines()
    subjects = {revision: subject for revision, _, subject in (line.partition(" ") for line in log)}
    changed = list(subjects)
    points = {revision: point(revision, subjects[revision]) for revision in changed[: commits + 1]}
    shown = changed[:commits]
    started, elsewhere = _by_commit(set(shown), experiments())
    rows = []
    for revision, older in zip(shown, [*changed[1:], None], strict=False):
        rows.append(_row(points[revision], points[older] if older else None))
        for name, experiment in started.get(revision, {}).items():
            rows.append(_row(point(experiment, f"↳ {name}"), points[revision]))
    notes = [markdown(HEAD, rows), NOTE] if rows else [f"No commit of this branch has {path}, which `dvc repro` makes."]
    if left := len(changed) - len(shown):
        notes.append(f"{left} older not shown: make history COMMITS={len(changed)}.")
    if elsewhere:
        notes.append(f"Experiments that started from other commits: {some(elsewhere)}.")
    return "\n\n".join(notes) + "\n"


def point(revision: str, what: str) -> Point:
    """What a revision's metrics.json says."""
    path = paths.METRICS.as_posix()
    text = text_at(revision, path)
    if text is None:
        return Point(revision, what, None, ("", ""), f"no {path}")
    try:
        found = json.loads(text)
        dice, iou = (
            f"{part['mean']:.4f} [{part['low']:.4f}, {part['high']:.4f}]" for part in (found["dice"], found["iou"])
        )
        return Point(revision, what, float(found["dice"]["mean"]), (dice, iou), "")
    except (ValueError, KeyError, TypeError):  # cut off, without a mean, with text for a number
        return Point(revision, what, None, ("", ""), f"{path} can't be read")


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns also stand straight in a terminal; the first two hold text, the others numbers."""
    cells = [[cell(text) for text in row] for row in [head, *rows]]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(_aligned, row, widths, range(len(row)))) + " |" for row in cells]
    rule = [("-" * width) if place < 2 else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def cell(text: str) -> str:
    """Text for a cell of a Markdown table, where a bar or a new line would begin another."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return re.sub(r"<(?=\S)", "&lt;", text)  # nor is it HTML


def _aligned(text: str, width: int, place: int) -> str:
    return text.ljust(width) if place < 2 else text.rjust(width)


def _row(point: Point, before: Point | None) -> list[str]:
    change = ""
    if before and point.dice is not None and before.dice is not None:
        change = f"{point.dice - before.dice:+.4f}"
    scores = (point.problem, "") if point.problem else point.scores
    return [point.revision[:7], point.what, *scores, change]


def _by_commit(shown: set[str], experiments: dict[str, dict[str, str]]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Experiments by the shown commit whose metrics.json they started with; and the names of the others."""
    started: dict[str, dict[str, str]] = {}
    since: list[str] = []  # commits that left metrics.json as it was
    elsewhere = dict(experiments)
    for commit in commands.run("git", "rev-list", "--first-parent", "HEAD").split():
        since.append(commit)
        if commit in shown:
            for base in since:
                started.setdefault(commit, {}).update(elsewhere.pop(base, {}))
            since = []
    return started, [name for found in elsewhere.values() for name in found]
