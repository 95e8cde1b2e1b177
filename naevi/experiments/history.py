"""Dice and IoU over the commits of a branch and their DVC experiments, as a Markdown table."""

import json
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from naevi.errors import UserError, first_ten
from naevi.experiments.published import format_score
from naevi.experiments.repository import bytes_at, list_experiments, run_command
from naevi.experiments.revisions import data_set_at, file_at, record_at
from naevi.rendering.tables import Table, markdown_table
from naevi.results.data_sets import UNKNOWN_DATA_SET, DataSet, data_set_labels, is_same
from naevi.results.per_image import parse_per_image, table_source
from naevi.workspace import Workspace

TABLE_HEAD = ["revision", "what", "Dice [95 % interval]", "IoU [95 % interval]", "change of Dice"]
TEXT_COLUMNS = 2
NOTE = (
    "Intervals are over images. The change is relative to the commit below, and for an experiment (↳) to the commit "
    "above. Use make compare to see whether a change is significant."
)
DATA_SETS_NOTE = "With several data sets, the change is relative to the next commit below with the same data set."


class HistoryPoint(NamedTuple):
    """The scores of a commit or an experiment; `problem` says why there are none."""

    revision: str
    what: str
    dice: float | None
    scores: tuple[str, str]
    problem: str
    data_set: DataSet


def history_table(workspace: Workspace, commits: int) -> str:
    """Return the newest commits of the branch that changed metrics.json, with the experiments that started from each.

    An experiment is listed below the commit with the same metrics.json as the experiment's baseline. Experiments with
    another baseline are named below the table.
    """
    path = workspace.relative(workspace.metrics)
    log = run_command("git", "log", "--first-parent", "--format=%H %s", "--", path, folder=workspace.root)
    subjects = {revision: subject for revision, _, subject in (line.partition(" ") for line in log.splitlines())}
    changed = list(subjects)

    @cache
    def point(revision: str) -> HistoryPoint:
        return _history_point(workspace, revision, subjects[revision])

    shown = changed[:commits]
    by_commit, elsewhere = _experiments_by_commit(workspace, set(shown))
    rows: list[tuple[HistoryPoint, HistoryPoint | None]] = []
    for index, revision in enumerate(shown):
        rows.append((point(revision), _earlier(point(revision), map(point, changed[index + 1 :]))))
        for name, experiment in by_commit.get(revision, {}).items():
            tried = _history_point(workspace, experiment, f"↳ {name}")
            rows.append((tried, _earlier(tried, [point(revision)])))
    if rows:
        parts = _table_parts(rows)
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
    data_set = UNKNOWN_DATA_SET
    try:
        record = record_at(workspace, revision)
        text = file_at(workspace, revision, workspace.metrics, record)
        if text is None:
            return HistoryPoint(revision, what, None, ("", ""), f"no {path}", data_set)
        data_set = data_set_at(workspace, revision, record) if record else _table_data_set(workspace, revision)
        metrics = json.loads(text)
        scores = format_score(metrics["dice"]), format_score(metrics["iou"])
        return HistoryPoint(revision, what, float(metrics["dice"]["mean"]), scores, "", data_set)
    except UserError as error:  # a file that differs from dvc.lock
        return HistoryPoint(revision, what, None, ("", ""), str(error).partition(". ")[0], data_set)
    except (ValueError, KeyError, TypeError):  # incomplete JSON, a missing mean, text instead of a number
        return HistoryPoint(revision, what, None, ("", ""), f"{path} can't be read", data_set)


def _table_data_set(workspace: Workspace, revision: str) -> DataSet:
    """Return the data set of a result without a record, from its table."""
    path = workspace.relative(workspace.per_image)
    try:
        return DataSet(table_source(parse_per_image(revision, path, bytes_at(workspace, revision, path))))
    except UserError:  # no table, or a table of an early version
        return UNKNOWN_DATA_SET


def _earlier(point: HistoryPoint, candidates: Iterable[HistoryPoint]) -> HistoryPoint | None:
    """Return the first candidate with the same data set."""
    return next((other for other in candidates if is_same(point.data_set, other.data_set)), None)


def _table_parts(rows: list[tuple[HistoryPoint, HistoryPoint | None]]) -> list[str]:
    """Return the table and its notes for pairs of a result and the result that it is compared with."""
    labels = data_set_labels([point.data_set for point, _ in rows])
    several = len(set(labels)) > 1
    head = [*TABLE_HEAD[:TEXT_COLUMNS], *["data set"] * several, *TABLE_HEAD[TEXT_COLUMNS:]]
    cells = []
    for label, (point, before) in zip(labels, rows, strict=True):
        change = ""
        if before and point.dice is not None and before.dice is not None:
            change = f"{point.dice - before.dice:+.4f}"
        scores = (point.problem, "") if point.problem else point.scores
        cells.append([point.revision[:7], point.what, *[label] * several, *scores, change])
    return [markdown_table(Table(head, cells), TEXT_COLUMNS + several), NOTE, *[DATA_SETS_NOTE] * several]


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
