"""The whole pipeline on phantoms, in a repository of its own beside the committed results."""

import shutil
from pathlib import Path

from naevi import commands, config, paths

FOLDER = Path(".demo")
# The committed results are PH2's; the demo makes its own. But the report looks for named results to stand beside it.
LEFT_OUT = (str(paths.LOCK), "reports/", str(paths.SPLIT))
KEPT = f"{paths.RESULTS.as_posix()}/"
SETTINGS = [
    "data.source=phantoms",
    "preprocess.size=128",
    "split.folds=3",
    "train.epochs=12",
    "cv.models=[0, 1, 2, all]",
]


def make(folder: Path = FOLDER, settings: list[str] = SETTINGS) -> None:
    """Copy what git tracks or would track into `folder`, a git repository of its own, set for phantoms.

    What an earlier demo left there (DVC's cache, MLflow's store) stays.
    """
    folder.mkdir(exist_ok=True)
    tracked = commands.run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in tracked:
        if name and Path(name).is_file() and (name.startswith(KEPT) or not name.startswith(LEFT_OUT)):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, target)
    config.override(folder / paths.PARAMS, settings)
    if not (folder / ".git").exists():
        _run(folder, "git", "init", "--quiet")
    commit(folder, "Set up the demo")


def commit(folder: Path, message: str) -> None:
    """Commit everything there; DVC experiments start from commits."""
    _run(folder, "git", "add", "--all")
    who = ("-c", "user.name=naevi demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")
    _run(folder, "git", *who, "commit", "--quiet", "--allow-empty", "--message", message)


def main() -> None:
    """Make the demo's repository, run its pipeline, and say where to look."""
    make()
    commands.unlock(FOLDER)
    _run(FOLDER, "dvc", "repro")
    commit(FOLDER, "Run the demo")
    print(
        f"\nPhantoms, not patients. The report: {(FOLDER / paths.REPORT_HTML).resolve()}\n"
        f"The runs in MLflow: make demo-ui   (cd {FOLDER}; mlflow ui --backend-store-uri sqlite:///mlflow.db)\n"
        f"Try an experiment: cd {FOLDER}; dvc exp run -S model.architecture=segnet; dvc exp show"
    )


def _run(folder: Path, *command: str) -> None:
    # The demo has its own store, whatever the user's environment names.
    commands.run(*command, folder=folder, show=True, without=("DVC_ROOT", "MLFLOW_TRACKING_URI"))
