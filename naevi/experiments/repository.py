"""Run git and DVC as a user would, and remove lock files that DVC left corrupt."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from naevi.digests import file_digest
from naevi.errors import UserError
from naevi.workspace import Workspace

FOLDER = ".dir"  # the end of a folder's MD5, which is the MD5 of its listing
# DVC's lists of the processes that read and write each path: one for the workspace, one for experiments.
DVC_RWLOCKS = (".dvc/tmp/rwlock", ".dvc/tmp/exps/rwlock")


def run_command(*command: str, folder: Path, show: bool = False, without: tuple[str, ...] = ()) -> str:
    """Run a command in a folder and return its output, or show the output at once if `show` is set.

    Its environment is that of `program_environment`.
    Raises UserError if it fails.
    """
    completed = subprocess.run(
        command,
        cwd=folder,
        env=program_environment(without),
        stdout=None if show else subprocess.PIPE,
        encoding="utf-8",  # git's encoding in every locale
        errors="replace",
        check=False,
    )
    if completed.returncode:
        raise UserError(f"`{shlex.join(command)}` failed with exit code {completed.returncode}. See its output above.")
    return completed.stdout or ""


def program_environment(without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the environment of a command, without some variables. Programs of this Python environment come first."""
    environment = {key: value for key, value in os.environ.items() if key not in without}
    return environment | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}


def bytes_at(workspace: Workspace, revision: str, path: str) -> bytes | None:
    """Return the content of a file at a revision of git, or None if the revision doesn't have the file."""
    # Not `git show`, which prints an error for a missing file.
    entry = run_command("git", "ls-tree", revision, "--", path, folder=workspace.root).split()
    if not entry:
        return None
    command = ["git", "cat-file", "blob", entry[2]]
    return subprocess.run(command, cwd=workspace.root, stdout=subprocess.PIPE, check=True).stdout


def text_at(workspace: Workspace, revision: str, path: str) -> str | None:
    """Return the text of a file at a revision of git, or None if the revision doesn't have the file."""
    content = bytes_at(workspace, revision, path)
    return None if content is None else content.decode("utf-8", errors="replace")


def list_experiments(workspace: Workspace) -> dict[str, dict[str, str]]:
    """Return the revisions of all DVC experiments by name, grouped by the commit that they started from, sorted."""
    from dvc.exceptions import NotDvcRepoError  # the import takes half a second
    from dvc.repo import Repo

    try:
        with Repo(str(workspace.root)) as repository:
            experiments = repository.experiments.ls(all_commits=True)
            return {baseline: dict(sorted(experiments[baseline])) for baseline in sorted(experiments)}
    except NotDvcRepoError:
        return {}


def experiment_revisions(workspace: Workspace) -> list[tuple[str, str]]:
    """Return name and revision of each DVC experiment, whatever commit it started from."""
    return [experiment for group in list_experiments(workspace).values() for experiment in group.items()]


def cache_folder(workspace: Workspace) -> Path:
    """Return the folder of DVC's cache, in which the path of each file is its MD5."""
    from dvc.exceptions import NotDvcRepoError  # the import takes half a second
    from dvc.repo import Repo

    try:
        with Repo(str(workspace.root)) as repository:
            return Path(repository.cache.local.path)
    except NotDvcRepoError as error:
        raise UserError(
            f"{workspace.root} is not a DVC repository, so it has no cache. Change to a clone of the repository."
        ) from error


def cached_file(cache: Path, md5: str) -> Path:
    """Return the path of a file in DVC's cache."""
    return cache / md5[:2] / md5[2:]


def cached_listing(cache: Path, md5: str) -> dict[str, str] | None:
    """Return the MD5 of each file of a folder by its relative path. The MD5 of the folder is that of its listing.

    None if the listing is damaged or not in the cache.
    """
    listing = cached_file(cache, md5)
    if not listing.is_file() or file_digest(listing, "md5") + FOLDER != md5:
        return None
    return {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}


def unlock(workspace: Workspace) -> None:
    """Remove DVC's rwlock files if they are corrupt, and print which.

    A process that is killed while it writes one leaves it corrupt, and DVC then never runs again
    (https://github.com/treeverse/dvc/issues/7615).
    """
    from dvc.lock import make_lock  # the import takes half a second

    for file in (workspace.root / path for path in DVC_RWLOCKS):
        if not file.exists():
            continue
        with make_lock(f"{file}.lock"):  # DVC locks it too, so a file that is being written isn't touched
            try:
                json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                file.unlink()
                print(f"naevi: removed {file}, which a killed process left corrupt.")
