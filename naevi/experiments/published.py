"""Publish a result in reports/results, and write the table of published results in the README."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

from naevi.config import load_config
from naevi.datasets.locate import is_tracked
from naevi.errors import UserError
from naevi.experiments.repository import bytes_at, list_experiments, run_command, unlock
from naevi.experiments.workspace_result import read_workspace_result
from naevi.files import read_json, write_text
from naevi.record import parse_lock
from naevi.rendering.tables import Table, compact_markdown_table
from naevi.results.data_sets import DataSet, data_set_labels
from naevi.results.folders import (
    OVERRIDES,
    WITHOUT_RECORD,
    describe_record,
    read_all_published,
    write_published,
)
from naevi.workspace import Workspace

logger = logging.getLogger(__name__)

DEFAULT = "default"
# What determines a result. dvc.lock contains the hashes of the data.
RESULT_SOURCES = ("naevi", "stages", "params.yaml", "dvc.yaml", "dvc.lock", "requirements.lock", "data")
BEGIN_MARK, END_MARK = "<!-- results: written by `make update-readme` -->\n", "<!-- end of results -->\n"
MARK = "†"  # of a result without a record
TABLE_HEAD = [
    "result",
    "Dice [95 % interval]",
    "IoU [95 % interval]",
    "5th percentile of Dice",
    "validation Dice",
    "images",
]


def experiment_name(name: str) -> str:
    """Return the name of the DVC experiment that produces a published result."""
    return f"result-{name}"


def publish_result(workspace: Workspace, name: str, assignments: list[str]) -> None:
    """Run an experiment with assignments such as train.lr=0.001; keep its scores and record in reports/results/<name>.

    It runs in a temporary folder, so the workspace doesn't change. Raises UserError if it fails, if code, parameters or
    lock files have uncommitted changes (the overrides would then not describe the result), or if a file isn't the one
    that the experiment's dvc.lock lists.
    """
    status = run_command("git", "status", "--porcelain", "--", *RESULT_SOURCES, folder=workspace.root)
    if changed := [line[3:] for line in status.splitlines()]:
        raise UserError(
            f"only committed code and parameters can be published. Commit these first: {', '.join(changed)}."
        )
    _check_images(workspace, assignments)
    unlock(workspace)
    experiment = experiment_name(name)
    settings = [part for assignment in assignments for part in ("--set-param", assignment)]
    if experiment in run_command("dvc", "exp", "list", "--name-only", folder=workspace.root).split():
        # Not `exp run --force`, which also runs stages that are up to date.
        run_command("dvc", "exp", "remove", experiment, folder=workspace.root)
    run_command("dvc", "exp", "run", "--temp", "--name", experiment, *settings, folder=workspace.root, show=True)
    head = run_command("git", "rev-parse", "HEAD", folder=workspace.root).strip()
    revision = list_experiments(workspace)[head][experiment]
    record = parse_lock(_output(workspace, experiment, revision, "dvc.lock").decode("utf-8"), "dvc.lock")
    files = {}
    for file in (workspace.metrics, workspace.per_image, workspace.data_statistics):
        path = workspace.relative(file)
        content = files[file.name] = _output(workspace, experiment, revision, path)
        if hashlib.md5(content).hexdigest() != record.outs.get(path):
            raise UserError(
                f"{path} of the experiment {experiment} isn't the file that its dvc.lock lists, so it can't be "
                "published. Run the command again."
            )
    statistics = json.loads(files.pop(workspace.data_statistics.name))
    files[OVERRIDES] = "".join(f"{assignment}\n" for assignment in assignments).encode()
    write_published(workspace, name, files, describe_record(workspace, record, statistics, head))


def _check_images(workspace: Workspace, assignments: list[str]) -> None:
    """Raise UserError for own images inside the repository that neither DVC nor git tracks.

    They would be missing in the temporary folder, and DVC's message doesn't say what to do.
    """
    data = load_config(workspace, "data").data
    changed = dict(assignment.split("=", 1) for assignment in assignments if assignment.startswith("data."))
    path = changed.get("data.path", data.path)
    if changed.get("data.source", data.source) != "folder" or Path(path).is_absolute() or path.startswith(".."):
        return
    in_git = run_command("git", "ls-files", "--", path, folder=workspace.root)
    if not in_git and not is_tracked(workspace, workspace.root / path):
        raise UserError(
            f"data.path, {path}, isn't tracked, so the experiment would not have it. Run `dvc add {path}` and commit "
            f"{path}.dvc."
        )


def _output(workspace: Workspace, experiment: str, revision: str, path: str) -> bytes:
    content = bytes_at(workspace, revision, path)
    if content is None:
        raise UserError(f"the experiment {experiment} has no {path}, so it can't be published.")
    return content


class _Row(NamedTuple):
    """A result in the table."""

    name: str
    metrics: dict[str, Any]
    data_set: DataSet
    has_record: bool


def results_table(workspace: Workspace) -> str:
    """Return a Markdown table of the published results and of the result in the workspace, which is named default.

    The best Dice comes first. Results without a record are marked. Those of other data sets than the default's can't be
    compared with it. A sentence below the table names them.
    """
    data_set = read_workspace_result(workspace).data_set
    rows = [_Row(DEFAULT, read_json(workspace.metrics), data_set, has_record=True)]
    rows += [_Row(each.name, each.metrics, each.data_set, each.has_record) for each in read_all_published(workspace)]
    labels = dict(zip([row.name for row in rows], data_set_labels([row.data_set for row in rows]), strict=True))
    rows.sort(key=lambda row: -float(row.metrics["dice"]["mean"]))
    same = [row for row in rows if labels[row.name] == labels[DEFAULT]]
    cells = [[row.name + MARK * (not row.has_record), *_scores(row.metrics)] for row in same]
    others = [
        f"{row.name}{MARK * (not row.has_record)} ({f'{labels[row.name]}, ' * (labels[row.name] != row.name)}"
        f"Dice {row.metrics['dice']['mean']:.4f}, {row.metrics['images']} images)"
        for row in rows
        if labels[row.name] != labels[DEFAULT]
    ]
    table = compact_markdown_table(Table(TABLE_HEAD, cells)) + "\n"
    elsewhere = f"\nResults on other data sets: {', '.join(others)}.\n" if others else ""
    note = f"\n{MARK} {WITHOUT_RECORD}, see [comparing.md](docs/comparing.md#keep-a-result)\n"
    return table + elsewhere + ("" if all(row.has_record for row in rows) else note)


def update_readme(workspace: Workspace) -> None:
    """Replace the table between its two marks in the README; raises UserError if a mark is missing.

    The row default is the result in the workspace. Warns if it isn't committed.
    """
    readme = workspace.root / "README.md"
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN_MARK)
    _, end, after = rest.partition(END_MARK)
    if not begin or not end:
        raise UserError(
            f"{readme} has no place for the table. Add the lines {BEGIN_MARK.strip()} and {END_MARK.strip()}."
        )
    write_text(readme, before + begin + results_table(workspace) + end + after)
    metrics = workspace.relative(workspace.metrics)
    if bytes_at(workspace, "HEAD", metrics) != workspace.metrics.read_bytes():
        logger.warning(
            "%s isn't the committed one, so the row %s is a result that isn't committed yet. Commit it together with "
            "the README. If it is an experiment, run `git restore .` and `dvc checkout`.",
            metrics,
            DEFAULT,
        )


def format_score(score: dict[str, float]) -> str:
    """Return a score of metrics.json with its interval, such as 0.9489 [0.9431, 0.9542]."""
    return f"{score['mean']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"


def _scores(metrics: dict[str, Any]) -> list[str]:
    intervals = [format_score(metrics[name]) for name in ("dice", "iou")]
    return [*intervals, f"{metrics['dice']['p05']:.3f}", f"{metrics['val']['dice']:.4f}", str(metrics["images"])]
