"""Run the whole pipeline on synthetic images, in a repository of its own, so the committed results don't change."""

import shutil
from pathlib import Path

from ruamel.yaml import YAML

from naevi.config import PH2_MANIFEST
from naevi.errors import UserError
from naevi.experiments.repository import run_command, unlock
from naevi.workspace import Workspace

DEMO_FOLDER = ".demo"
DEMO_PARAMETERS = [
    "data.source=phantoms",
    f"data.path={PH2_MANIFEST}",  # a file that every clone has, whatever the data set of this workspace is
    "preprocess.size=128",
    "split.folds=3",
    "train.epochs=12",
    "cv.models=[0, 1, 2, all]",
]


def run_demo(workspace: Workspace) -> None:
    """Create the demo repository, run its pipeline, and print where the results are."""
    demo = Workspace(workspace.root / DEMO_FOLDER)
    make_demo(workspace, demo.root, DEMO_PARAMETERS)
    unlock(demo)
    _run(demo.root, "dvc", "repro")
    commit(demo.root, "Run the demo")
    print(
        f"\nThe images are synthetic, not of patients. Report: {demo.report_html.resolve()}\n"
        f"Runs in MLflow: make demo-ui   (cd {demo.root}; naevi ui)\n"
        f"An experiment: cd {demo.root}; dvc exp run -S model.architecture=segnet; dvc exp show"
    )


def make_demo(workspace: Workspace, folder: Path, parameters: list[str]) -> None:
    """Copy a workspace without its results into `folder`, a git repository of its own, and set parameters there.

    Files that git ignores are not copied. What an earlier demo left (DVC's cache, MLflow's store) is kept.
    """
    folder.mkdir(exist_ok=True)
    # The demo makes its own results, but the report compares them with the published ones.
    excluded = (workspace.relative(workspace.lock), "reports/", workspace.relative(workspace.split))
    included = f"{workspace.relative(workspace.results)}/"
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in run_command(*command, folder=workspace.root).split("\0"):
        source = workspace.root / name
        if name and source.is_file() and (name.startswith(included) or not name.startswith(excluded)):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    set_parameters(Workspace(folder).params, parameters)
    if not (folder / ".git").exists():
        _run(folder, "git", "init", "--quiet")
    commit(folder, "Set up the demo")


def commit(folder: Path, message: str) -> None:
    """Commit everything in a demo repository, because DVC experiments start from commits."""
    _run(folder, "git", "add", "--all")
    identity = ("-c", "user.name=naevi demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")
    _run(folder, "git", *identity, "commit", "--quiet", "--allow-empty", "--message", message)


def set_parameters(path: Path, assignments: list[str]) -> None:
    """Set values in a YAML file from assignments such as train.lr=0.001 or cv.models=[0,1]. Comments are kept.

    Raises UserError for a parameter that the file doesn't have.
    """
    yaml = YAML()
    document = yaml.load(path.read_text(encoding="utf-8"))
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        *sections, key = name.split(".")
        values = document
        for section in sections:
            values = values.get(section) if isinstance(values, dict) else None
        if not equals or not isinstance(values, dict) or key not in values:
            raise UserError(f"{assignment!r} can't be set, because {path} has no parameter {name}.")
        values[key] = YAML(typ="safe").load(value)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def _run(folder: Path, *command: str) -> None:
    # The demo has its own store, whatever the user's environment sets.
    run_command(*command, folder=folder, show=True, without=("DVC_ROOT", "MLFLOW_TRACKING_URI"))
