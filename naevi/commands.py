"""Git and DVC, called as a user would."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from naevi.refusal import Refusal


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
