"""Hash the files that dvc.lock names, in the workspace and in DVC's cache.

DVC reads a file again only if its time or size has changed, and it doesn't check its cache. So only this finds the
changes that a damaged disk makes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from naevi.digests import file_digest, folder_files, path_md5
from naevi.errors import UserError, first_ten
from naevi.experiments.repository import FOLDER, cache_folder, cached_file, cached_listing, run_command
from naevi.files import read_yaml
from naevi.progress import progress
from naevi.record import CODE
from naevi.workspace import Workspace

CHANGED, MISSING, ADDED, DAMAGED = "Changed", "Missing", "Not in dvc.lock", "Damaged in DVC's cache"

Wrong = dict[str, list[str]]  # names of files by the kind of problem


class LockedPath(NamedTuple):
    """A file or folder in dvc.lock."""

    path: str
    md5: str
    stage: str  # the stage that wrote it, or the first one that read it
    is_output: bool


class DataCheck(NamedTuple):
    """The outcome of `verify_data`."""

    problems: list[str]  # a line for each file or folder in dvc.lock
    files: int  # number of checked files
    absent: list[str]  # outputs that are neither in the workspace nor in DVC's cache


def verify_data(workspace: Workspace) -> DataCheck:
    """Hash every file that dvc.lock names, following links, and its copy in DVC's cache if there is one.

    Raises UserError if there is no dvc.lock or the folder isn't a DVC repository.
    """
    cache = cache_folder(workspace)
    members = {locked: _members(cache, locked) for locked in locked_paths(workspace)}
    pairs = [(name, md5) for files in members.values() for name, md5 in (files or {}).items()]
    paths = [workspace.root / name for name, _ in pairs] + [cached_file(cache, md5) for _, md5 in pairs]
    digests = _digests(path for path in dict.fromkeys(paths) if path.is_file())
    tracked = set(run_command("git", "ls-files", "-z", folder=workspace.root).split("\0"))
    problems, absent = [], []
    code: Wrong = {}
    for locked, files in members.items():
        here, there = workspace.root / locked.path, cached_file(cache, locked.md5)
        in_git = locked.path in tracked
        if locked.is_output and not in_git and not here.exists() and not there.exists():
            absent.append(locked.path)
            continue
        if files is None:
            wrong = _folder_problems(workspace, locked, there)
        else:
            wrong = _file_problems(workspace, locked, files, digests, in_git=in_git)
            damaged = [
                path for path in (cached_file(cache, md5) for md5 in files.values()) if _is_damaged(digests, path)
            ]
            wrong[DAMAGED] = [_shorten(workspace, path) for path in dict.fromkeys(damaged)]
        if locked.path.startswith(CODE):
            for kind, names in wrong.items():
                code.setdefault(kind, []).extend(names)
        elif text := _describe(wrong):
            problems.append(f"{_name(locked)}. {text} {_remedy(locked, wrong, in_git, there.exists())}")
    if text := _describe(code):
        problems.append(f"Code. {text} Run `dvc repro`, or undo the change with `git restore`.")
    return DataCheck(problems, len(digests), absent)


def locked_paths(workspace: Workspace) -> list[LockedPath]:
    """Return the files and folders in dvc.lock, each once. Folders that contain outputs are left out."""
    if not workspace.lock.exists():
        raise UserError(
            f"There is no {workspace.relative(workspace.lock)}, so no file can be checked. Run `dvc repro`."
        )
    found: dict[str, LockedPath] = {}
    stages = read_yaml(workspace.lock)["stages"]
    for kind, is_output in (("outs", True), ("deps", False)):
        for stage, entry in stages.items():
            for item in entry.get(kind, []):
                if "md5" in item:  # a dependency on another repository has none
                    found.setdefault(item["path"], LockedPath(item["path"], item["md5"], stage, is_output))
    outputs = [locked.path for locked in found.values() if locked.is_output]
    return [locked for locked in found.values() if not any(output.startswith(f"{locked.path}/") for output in outputs)]


def _members(cache: Path, locked: LockedPath) -> dict[str, str] | None:
    """Return the MD5 of each file by its path, or None for a folder whose listing is damaged or not in the cache."""
    if not locked.md5.endswith(FOLDER):
        return {locked.path: locked.md5}
    files = cached_listing(cache, locked.md5)
    return None if files is None else {f"{locked.path}/{name}": md5 for name, md5 in files.items()}


def _digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the MD5 of each file. If several paths are links to one file, it is read once."""
    paths, known = list(paths), dict[tuple[int, int], str]()
    digests = {}
    for path in progress(paths, total=len(paths), label="verify", unit="files"):
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in known:
            known[key] = file_digest(path, "md5")
        digests[path] = known[key]
    return digests


def _is_damaged(digests: dict[Path, str], cached: Path) -> bool:
    """Return whether the bytes of a file in the cache don't have the MD5 in its name."""
    return cached in digests and digests[cached] != cached.parent.name + cached.name


def _file_problems(
    workspace: Workspace, locked: LockedPath, files: dict[str, str], digests: dict[Path, str], *, in_git: bool
) -> Wrong:
    """Return the problems of a file or of the files of a folder in the workspace. `in_git` says if git tracks it.

    An output may be absent if only DVC keeps it.
    """
    here = workspace.root / locked.path
    if not here.exists():
        return {MISSING: [] if locked.is_output and not in_git else [locked.path]}
    present = {f"{locked.path}/{name}" for name in folder_files(workspace, locked.path)}
    return {
        CHANGED: [name for name, md5 in files.items() if digests.get(workspace.root / name, md5) != md5],
        MISSING: [name for name in files if workspace.root / name not in digests],
        ADDED: sorted(present - set(files)) if locked.is_output else [],
    }


def _folder_problems(workspace: Workspace, locked: LockedPath, listing: Path) -> Wrong:
    """Return the problems of a folder whose files are unknown, because its listing is damaged or absent."""
    here = workspace.root / locked.path
    changed = here.exists() and path_md5(workspace, locked.path) != locked.md5
    return {
        CHANGED: [locked.path] * changed,
        MISSING: [locked.path] * (not here.exists() and not locked.is_output),
        DAMAGED: [_shorten(workspace, listing)] * listing.exists(),
    }


def _shorten(workspace: Workspace, path: Path) -> str:
    root = workspace.root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _name(locked: LockedPath) -> str:
    return f"{locked.path} ({'written' if locked.is_output else 'read'} by {locked.stage})"


def _describe(wrong: Wrong) -> str:
    return " ".join(f"{kind}: {first_ten(names)}." for kind, names in wrong.items() if names)


def _remedy(locked: LockedPath, wrong: Wrong, in_git: bool, is_cached: bool) -> str:
    """Return how to get the recorded bytes back."""
    again = f"`dvc repro --force --single-item {locked.stage}`"
    if not locked.is_output:
        other = "with `git restore`" if in_git else "with `dvc pull`" if wrong[DAMAGED] else "from your copy"
        return f"Restore it {other}, or run `dvc repro`."
    if in_git and not wrong[DAMAGED]:
        return f"Run `git restore {locked.path}` or {again}."
    if is_cached and not wrong[DAMAGED]:
        return f"Delete these files, then run `dvc checkout {locked.path}`."
    return f"Delete these files, then run `dvc pull {locked.path}`, or without a remote {again}."
