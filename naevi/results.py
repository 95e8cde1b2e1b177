"""Published results: a named setting, what it overrides, and what it measured; and the table of them in the README."""

from pathlib import Path
from typing import Any

from dvc import api

from naevi import commands, paths, summary
from naevi.refusal import Refusal

FILES = (paths.METRICS, paths.PER_IMAGE)
DEFAULT = "default"
# What decides a result, beside the data that dvc.lock names.
DECIDING = ("naevi", "stages", "params.yaml", "dvc.yaml", "dvc.lock", "requirements.lock", "data")
README = Path("README.md")
BEGIN, END = "<!-- results: written by `make table` -->\n", "<!-- end of results -->\n"


def publish(name: str, assignments: list[str]) -> None:
    """Run the experiment with these assignments (train.lr=0.001, …) and keep its figures under reports/results/<name>.

    It runs beside the workspace, which stays as it is. Raises Refusal when it fails, and where code, parameters or lock
    are not committed: the overrides would then not say what was run.
    """
    changed = commands.run("git", "status", "--porcelain", "--", *DECIDING).split()[1::2]
    if changed:
        raise Refusal(f"a published result is one of a commit, but these are not committed: {', '.join(changed)}.")
    commands.unlock()
    experiment = f"result-{name}"
    settings = [part for assignment in assignments for part in ("--set-param", assignment)]
    if experiment in commands.run("dvc", "exp", "list", "--name-only").split():
        commands.run("dvc", "exp", "remove", experiment)  # --force would also run again what is up to date
    commands.run("dvc", "exp", "run", "--temp", "--name", experiment, *settings, show=True)
    folder = paths.RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        (folder / file.name).write_text(api.read(file.as_posix(), rev=experiment), encoding="utf-8")
    (folder / "overrides.txt").write_text("".join(f"{line}\n" for line in assignments), encoding="utf-8")


def overrides(name: str) -> list[str]:
    """The assignments that a published result was made with."""
    return (paths.RESULTS / name / "overrides.txt").read_text(encoding="utf-8").splitlines()


def names() -> list[str]:
    """The published results, in alphabetical order."""
    return sorted(path.parent.name for path in paths.RESULTS.glob("*/overrides.txt"))


def table() -> str:
    """A Markdown table of the committed default and the published results, best Dice first."""
    found = {DEFAULT: summary.read(paths.METRICS)}
    found |= {name: summary.read(paths.RESULTS / name / paths.METRICS.name) for name in names()}
    rows = sorted(found.items(), key=lambda item: -float(item[1]["dice"]["mean"]))
    lines = [
        "| result | Dice [95 % interval] | IoU [95 % interval] | 5th percentile of Dice | validation Dice | images |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_line(name, figures) for name, figures in rows]
    return "\n".join(lines) + "\n"


def write_table() -> None:
    """Put the table between its two marks in the README."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + table() + END + after, encoding="utf-8")


def _line(name: str, figures: dict[str, Any]) -> str:
    dice, iou = (f"{f['mean']:.4f} [{f['low']:.4f}, {f['high']:.4f}]" for f in (figures["dice"], figures["iou"]))
    tail = f"{figures['dice']['p05']:.3f} | {figures['val']['dice']:.4f} | {figures['images']}"
    return f"| {name} | {dice} | {iou} | {tail} |"
