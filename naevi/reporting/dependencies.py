"""The versions of the packages that naevi depends on."""

import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from naevi.workspace import Workspace

CODE_REPOSITORY = Path(__file__).parents[2]  # has no lock file if naevi was installed from a wheel


class Dependencies(NamedTuple):
    """Packages as name==version, and where the versions are from."""

    source: str
    packages: list[str]


def find_lock_file(workspace: Workspace) -> Path | None:
    """Return the lock file of the workspace, otherwise that of the repository with this code, or None."""
    candidates = (workspace.requirements_lock, CODE_REPOSITORY / workspace.requirements_lock.name)
    return next(filter(Path.exists, candidates), None)


def read_dependencies(lock_file: Path | None) -> Dependencies:
    """Return the locked versions. Without a lock file, return the installed versions of the direct dependencies."""
    if lock_file is None:
        return Dependencies("installed, direct dependencies only", _installed_packages())
    lines = lock_file.read_text(encoding="utf-8").splitlines()
    return Dependencies(
        lock_file.name, [match[0] for line in lines if (match := re.match(r"[^\s#]+==[^\s;\\]+", line))]
    )


def _installed_packages() -> list[str]:
    try:
        requirements = [line for line in requires("naevi") or [] if "extra ==" not in line]
    except PackageNotFoundError:  # the code was neither cloned nor installed
        return []
    names = {match[0] for line in requirements if (match := re.match(r"[\w.-]+", line))}
    return sorted(f"{name}=={version(name)}" for name in names)
