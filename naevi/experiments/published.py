"""Published results in reports/results, and the table of them in the README."""

from typing import Any

from naevi.errors import UserError
from naevi.experiments.repository import list_experiments, run_command, text_at, unlock
from naevi.files import read_json, write_text
from naevi.rendering.tables import Table, compact_markdown_table
from naevi.workspace import Workspace

DEFAULT = "default"
# What determines a result. dvc.lock contains the hashes of the data.
RESULT_SOURCES = ("naevi", "stages", "params.yaml", "dvc.yaml", "dvc.lock", "requirements.lock", "data")
BEGIN_MARK, END_MARK = "<!-- results: written by `make update-readme` -->\n", "<!-- end of results -->\n"
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
    """Run the experiment with assignments such as train.lr=0.001, and keep its scores in reports/results/<name>.

    It runs in a temporary folder, so the workspace doesn't change. Raises UserError if it fails, or if code,
    parameters or lock files have uncommitted changes: the overrides would then not describe the result.
    """
    status = run_command("git", "status", "--porcelain", "--", *RESULT_SOURCES, folder=workspace.root)
    if changed := [line[3:] for line in status.splitlines()]:
        raise UserError(
            f"only committed code and parameters can be published. Commit these first: {', '.join(changed)}."
        )
    unlock(workspace)
    experiment = experiment_name(name)
    settings = [part for assignment in assignments for part in ("--set-param", assignment)]
    if experiment in run_command("dvc", "exp", "list", "--name-only", folder=workspace.root).split():
        # Not `exp run --force`, which also runs stages that are up to date.
        run_command("dvc", "exp", "remove", experiment, folder=workspace.root)
    run_command("dvc", "exp", "run", "--temp", "--name", experiment, *settings, folder=workspace.root, show=True)
    head = run_command("git", "rev-parse", "HEAD", folder=workspace.root).strip()
    revision = list_experiments(workspace)[head][experiment]
    files = {}
    for file in (workspace.metrics, workspace.per_image):
        text = text_at(workspace, revision, workspace.relative(file))
        if text is None:
            raise UserError(f"the experiment {experiment} has no {file.name}, so it can't be published.")
        files[file.name] = text
    files["overrides.txt"] = "".join(f"{assignment}\n" for assignment in assignments)
    folder = workspace.results / name
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, text in files.items():
        write_text(folder / file_name, text)


def published_names(workspace: Workspace) -> list[str]:
    """Return the names of the published results, sorted."""
    return sorted(path.parent.name for path in workspace.results.glob("*/overrides.txt"))


def results_table(workspace: Workspace) -> str:
    """Return a Markdown table of the committed default and the published results, best Dice first."""
    files = {DEFAULT: workspace.metrics}
    files |= {name: workspace.results / name / workspace.metrics.name for name in published_names(workspace)}
    scores = {name: read_json(file) for name, file in files.items()}
    best_first = sorted(scores.items(), key=lambda result: -float(result[1]["dice"]["mean"]))
    return compact_markdown_table(Table(TABLE_HEAD, [_row(name, values) for name, values in best_first])) + "\n"


def update_readme(workspace: Workspace) -> None:
    """Replace the table between its two marks in the README; raises UserError if a mark is missing."""
    readme = workspace.root / "README.md"
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN_MARK)
    _, end, after = rest.partition(END_MARK)
    if not begin or not end:
        raise UserError(
            f"{readme} has no place for the table. Add the lines {BEGIN_MARK.strip()} and {END_MARK.strip()}."
        )
    write_text(readme, before + begin + results_table(workspace) + end + after)


def format_score(score: dict[str, float]) -> str:
    """Return a score of metrics.json with its interval, such as 0.9489 [0.9431, 0.9542]."""
    return f"{score['mean']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"


def _row(name: str, scores: dict[str, Any]) -> list[str]:
    intervals = [format_score(scores[name]) for name in ("dice", "iou")]
    return [name, *intervals, f"{scores['dice']['p05']:.3f}", f"{scores['val']['dice']:.4f}", str(scores["images"])]
