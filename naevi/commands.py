"""Git and DVC, called as a user would; and what a kill leaves of DVC's own files."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from naevi.refusal import Refusal

# Where DVC notes which process reads and writes what: in the workspace, and for experiments.
RWLOCKS = (Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/exps/rwlock"))


def run(
    *command: str,
    folder: Path = Path(),
    show: bool = False,
    without: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> str:
    """Run a command in a folder and return what it printed; with `show` it is shown instead, as it comes.

    It finds this environment's programs first; the environment variables in `without` are hidden from it, those in
    `environment` are added. Raises Refusal when it fails.
    """
    kept = {key: value for key, value in os.environ.items() if key not in without}
    path = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
    done = subprocess.run(
        command,
        cwd=folder,
        env=kept | path | (environment or {}),
        stdout=None if show else subprocess.PIPE,
        encoding="utf-8",  # git's, whatever the locale is
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise Refusal(f"`{shlex.join(command)}` ended with exit code {done.returncode}; what it said stands above.")
    return done.stdout or ""


def unlock(folder: Path = Path()) -> None:
    """Remove DVC's notes on who reads and writes what where a kill tore them, and say so.

    Killed while it writes them, DVC refuses to run ever after (https://github.com/treeverse/dvc/issues/7615).
    """
    from dvc.lock import make_lock  # dvc takes half a second to import

    for file in filter(Path.exists, [folder / file for file in RWLOCKS]):
        with make_lock(f"{file}.lock"):  # as DVC itself does, so a file that is just being written is left alone
            try:
                json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                file.unlink()
                print(f"naevi: removed {file}, which a kill had torn.")
