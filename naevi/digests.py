"""MD5 and SHA-256 of files and folders. dvc.lock lists MD5s, model.json a SHA-256."""

import hashlib
import json
from pathlib import Path

from pathspec import GitIgnoreSpec

from naevi.workspace import Workspace


def path_md5(workspace: Workspace, path: str) -> str:
    """Return the MD5 of a file or folder as DVC computes it. The MD5 of a folder is that of its listing."""
    full = workspace.root / path
    if full.is_file():
        return file_digest(full, "md5")
    listing = [{"md5": file_digest(full / name, "md5"), "relpath": name} for name in folder_files(workspace, path)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def folder_files(workspace: Workspace, path: str) -> list[str]:
    """Return the paths of a folder's files, relative to it and sorted. Those that .dvcignore matches are left out."""
    full, ignore = workspace.root / path, workspace.root / ".dvcignore"
    ignored = GitIgnoreSpec.from_lines(ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else [])
    names = sorted(file.relative_to(full).as_posix() for file in full.rglob("*") if file.is_file())
    return [name for name in names if not ignored.match_file(f"{path}/{name}")]


def file_digest(path: Path, algorithm: str) -> str:
    """Return the hexadecimal digest of a file's bytes, such as its md5 or sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
