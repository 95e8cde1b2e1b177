"""The images that a user names, one by one or in folders and archives, and the names of what is written for them."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from naevi.datasets import archives
from naevi.datasets.layout import file_key, safe_name
from naevi.datasets.unread_archives import why_unread
from naevi.errors import UserError, describe_file_error, shorten
from naevi.files import read_bytes
from naevi.images.files import IMAGE_SUFFIXES

File = tuple[int, str]  # the position of an image, folder or archive in what the user named, and a path


def find_files(images: Sequence[Path], is_selected: Callable[[File], bool]) -> Iterator[tuple[File, Path | bytes]]:
    """Yield each selected file with its path, or with its content if it is in an archive."""
    for position, path in enumerate(images):
        if is_tree(path):
            yield from _find_files_in(path, position, is_selected)
        elif is_selected((position, str(path))):
            yield (position, str(path)), path


def _find_files_in(
    tree: Path, position: int, is_selected: Callable[[File], bool]
) -> Iterator[tuple[File, Path | bytes]]:
    for name, source in archives.find_files(tree, lambda name: is_selected((position, name))):
        yield (position, name), source


def read_content(source: Path | bytes) -> bytes:
    """Return the content of a file. Raises UserError if it can't be read, so that the file can be skipped."""
    if not isinstance(source, Path):
        return source
    try:
        return read_bytes(source)
    except OSError as error:
        raise UserError(describe_file_error(error) or f"{source} can't be read: {error.strerror}.") from error


def name_outputs(images: Sequence[Path], out: Path) -> dict[File, str]:
    """Return the name of the output, without suffix, for each file. Folders are kept, as in patient1/overview.

    In a folder or archive, the name is the path below it. Of images that are named one by one, it is their own name, or
    if some have the same one, the path below the folder that they share. Files in the output folder `out` are left out.

    Raises UserError if two images would be written to the same file, and if `out` is one of the folders.
    """
    given = [(position, str(path)) for position, path in enumerate(images) if not is_tree(path)]
    names = {file: PurePosixPath(Path(file[1]).name).stem for file in given}
    if len(set(map(file_key, names.values()))) < len(given):
        names = _below_shared_folder(given)
    for position, path in enumerate(images):
        if is_tree(path):
            for name in _list_files(path, out):
                names[position, name] = str(PurePosixPath(archives.name_inside(path, name)).with_suffix(""))
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


def _list_files(tree: Path, out: Path) -> list[str]:
    """Return the files of a folder or archive, except those of the output folder."""
    names, folder, inner = archives.list_files(tree), tree.resolve(), out.resolve()
    if inner == folder:
        raise UserError(f"--out {out} is also the folder with the images. Choose a new name.")
    written = f"{tree / inner.relative_to(folder)}{os.sep}" if inner.is_relative_to(folder) else None
    return [name for name in names if written is None or not name.startswith(written)]


def is_tree(path: Path) -> bool:
    """Return whether a path is a folder or an archive."""
    return path.is_dir() or archives.is_archive(path.name) or bool(why_unread(path.name))


def _below_shared_folder(files: list[File]) -> dict[File, str]:
    """Return the path of each file below the folder that has all of them, without suffix."""
    paths = {file: PurePosixPath(Path(file[1]).as_posix()) for file in files}
    shared = os.path.commonpath([str(path.parent) for path in paths.values()]) if paths else ""
    return {file: str(path.relative_to(shared).with_suffix("")) for file, path in paths.items()}
