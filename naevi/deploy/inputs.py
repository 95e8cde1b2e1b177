"""The images that a user names, one by one or in folders and archives, and the names of what is written for them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from naevi.datasets.archives import ARCHIVE_SUFFIXES, list_files, read_files
from naevi.datasets.layout import safe_name
from naevi.datasets.unread_archives import why_unread
from naevi.errors import UserError, shorten
from naevi.images import IMAGE_SUFFIXES

File = tuple[int, str]  # the position of an image, folder or archive in what the user named, and a path


def find_files(images: Sequence[Path]) -> Iterator[tuple[File, Path | bytes]]:
    """Yield each file, with its bytes if it is in a folder or archive, otherwise with its path."""
    for position, path in enumerate(images):
        if _is_tree(path):
            for name, content in read_files(path, lambda _: True):
                yield (position, name), content
        else:
            yield (position, str(path)), path


def name_outputs(images: Sequence[Path]) -> dict[File, str]:
    """Return the name of the output, without suffix, for each file. Folders are kept, as in patient1/overview.

    In a folder or archive, the name is the path below the deepest folder that has all files. Of images that are named
    one by one, it is their own name, or if some have the same one, the path below the folder that they share.

    Raises UserError if two images would be written to the same file.
    """
    given = [(position, str(path)) for position, path in enumerate(images) if not _is_tree(path)]
    names = {file: PurePosixPath(Path(file[1]).name).stem for file in given}
    if len(set(map(file_key, names.values()))) < len(given):
        names = _below_shared_folder(given)
    for position, path in enumerate(images):
        if _is_tree(path):
            names |= _below_shared_folder([(position, name) for name in list_files(path)])
    names = {file: safe_name(name) for file, name in names.items()}
    taken: dict[str, str] = {}
    for (_, file_path), name in names.items():
        if file_path.lower().endswith(IMAGE_SUFFIXES):
            check_unique(taken, file_path, name)
    return names


def check_unique(taken: dict[str, str], path: str, name: str) -> None:
    """Add the output name of a file to those that are taken. Raises UserError if another file has it."""
    key = file_key(name)
    if key in taken:
        raise UserError(
            f"{shorten(taken[key])} and {shorten(path)} would both be written to {name}.png. Predict them separately, "
            "with a different --out for each."
        )
    taken[key] = path


def file_key(name: str) -> str:
    """Return a name as file systems see it that don't tell upper and lower case, or forms of an umlaut, apart."""
    return normalize("NFC", name).casefold()


def _is_tree(path: Path) -> bool:
    return path.is_dir() or path.name.lower().endswith(ARCHIVE_SUFFIXES) or bool(why_unread(path.name))


def _below_shared_folder(files: list[File]) -> dict[File, str]:
    """Return the path of each file below the folder that has all of them, without suffix."""
    paths = {file: PurePosixPath(Path(file[1]).as_posix()) for file in files}
    shared = os.path.commonpath([str(path.parent) for path in paths.values()]) if paths else ""
    return {file: str(path.relative_to(shared).with_suffix("")) for file, path in paths.items()}
