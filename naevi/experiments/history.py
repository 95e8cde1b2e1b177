"""Dice and IoU over the commits of a branch and their DVC experiments, as a Markdown table."""

import json
from typing import NamedTuple

from naevi.errors import first_ten
from naevi.experiments.published import format_score
from naevi.experiments.repository import list_experiments, run_command, text_at
from naevi.rendering.tables import Table, markdown_table
from naevi.workspace import Workspace

TABLE_HEAD = ["revision", "what", "Dice [95 % interval]", "IoU [95 % interval]", "change of Dice"]
TEXT_COLUMNS = 2
NOTE = (
    "Intervals are over images. The change is relative to the commit below, and for an experiment (↳) to the commit "
    "above. Use make compare to see whether a change is significant."
)


class HistoryPoint(NamedTuple):
    """The scores of a commit or an experiment; `problem` says why there are none."""

    revision: str
    what: str
    dice: float | None
    scores: tuple[str, str]
    problem: str


def history_table(workspace: Workspace, commits: int) -> str:
    """Return the newest commits of the branch that changed metrics.json, with the experiments that started from each.

    An experiment is listed below the commit with the same metrics.json as the experiment's baseline. Experiments with
    another baseline are named below the table.
    """
    path = workspace.relative(workspace.metrics)
    log = run_command("git", "log", "--first-parent", "--format=%H %s", "--", path, folder=workspace.root)
    subjects = {revision: subject for revision, _, subject in (line.partition(" ") for line in log.splitlines())}
    changed = list(subjects)
    points = {revision: _history_point(workspace, revision, subjects[revision]) for revision in changed[: commits + 1]}
    shown = changed[:commits]
    by_commit, elsewhere = _experiments_by_commit(workspace, set(shown))
    rows = []
    for revision, older in zip(shown, [*changed[1:], None], strict=False):
        rows.append(_row(points[revision], points[older] if older else None))
        for name, experiment in by_commit.get(revision, {}).items():
            rows.append(_row(_history_point(workspace, experiment, f"↳ {name}"), points[revision]))
    if rows:
        parts = [markdown_table(Table(TABLE_HEAD, rows), TEXT_COLUMNS), NOTE]
    else:
        parts = [f"No commit of this branch has {path}. Run `dvc repro` and commit the file."]
    if hidden := len(changed) - len(shown):
        parts.append(f"Older commits not shown: {hidden}. To show all, use make history COMMITS={len(changed)}.")
    if elsewhere:
        parts.append(f"Experiments that started from other commits: {first_ten(elsewhere)}.")
    return "\n\n".join(parts) + "\n"


def _history_point(workspace: Workspace, revision: str, what: str) -> HistoryPoint:
    """Return the scores in metrics.json at a revision."""
    path = workspace.relative(workspace.metrics)
    text = text_at(workspace, revision, path)
    if text is None:
        return HistoryPoint(revision, what, None, ("", ""), f"no {path}")
    try:
        metrics = json.loads(text)
        scores = format_score(metrics["dice"]), format_score(metrics["iou"])
        return HistoryPoint(revision, what, float(metrics["dice"]["mean"]), scores, "")
    except (ValueError, KeyError, TypeError):  # incomplete JSON, a missing mean, text instead of a number
        return HistoryPoint(revision, what, None, ("", ""), f"{path} can't be read")


def _row(point: HistoryPoint, before: HistoryPoint | None) -> list[str]:
    change = ""
    if before and point.dice is not None and before.dice is not None:
        change = f"{point.dice - before.dice:+.4f}"
    scores = (point.problem, "") if point.problem else point.scores
    return [point.revision[:7], point.what, *scores, change]


def _experiments_by_commit(workspace: Workspace, shown: set[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return experiments by the shown commit whose metrics.json their baseline has, and the names of all others."""
    by_commit: dict[str, dict[str, str]] = {}
    unchanged: list[str] = []  # newer commits with the metrics.json of the next shown commit
    elsewhere = list_experiments(workspace)
    for commit in run_command("git", "rev-list", "--first-parent", "HEAD", folder=workspace.root).split():
        unchanged.append(commit)
        if commit in shown:
            for baseline in unchanged:
                by_commit.setdefault(commit, {}).update(elsewhere.pop(baseline, {}))
            unchanged = []
    return by_commit, [name for experiments in elsewhere.values() for name in experiments]
