"""Read the files of folders and archives as a stream. Only rar archives are unpacked to disk."""

import bz2
import gzip
import io
import logging
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

from naevi.datasets.members import (
    ENCRYPTED,
    HIDDEN,
    LINK,
    UNSUPPORTED_COMPRESSION,
    Files,
    Member,
    NameFilter,
    read_members,
)
from naevi.datasets.rar import read_rar
from naevi.datasets.unread_archives import ONE_OF_SEVERAL, is_last_part, why_unread
from naevi.errors import REMEDIES, UserError, describe_error
from naevi.files import MIB, read_bytes

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".rar")
MAX_TAR_HEADER_BYTES = MIB  # of a long name or extended attributes, which tarfile reads into memory at once
HTML_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)", re.IGNORECASE)

logger = logging.getLogger(__name__)


def is_archive(name: str) -> bool:
    """Return whether a file is an archive by its name."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def name_inside(source: Path, name: str) -> str:
    """Return the path of a file below `source`, for a name that `find_files` yields."""
    return name.removeprefix(f"{source}/")


def read_files(source: Path, is_selected: NameFilter) -> Files:
    """Yield name and content of each selected file as `find_files` does. Raises UserError as `read_bytes` does, too."""
    for name, file in find_files(source, is_selected):
        yield name, read_bytes(file) if isinstance(file, Path) else file


def find_files(source: Path, is_selected: NameFilter) -> Iterator[tuple[str, Path | bytes]]:
    """Yield the name of each selected file in a folder or an archive, with its path or, in an archive, its content.

    Names are paths for files in a folder and member names in an archive. An archive inside a folder is like its content
    in place of it. A folder is read by name, an archive in its own order. One file at a time is in memory. Hidden files
    and folders (.x, ._x of macOS) and __MACOSX are skipped.

    Raises UserError if an archive can't be read, is encrypted, contains links, devices or paths outside it, or unpacks
    to far more than an archive of images.
    """
    if not source.is_dir():
        yield from _read_archive(source, is_selected)
        return
    for path in _walk(source):
        if HIDDEN.search(path.relative_to(source).as_posix()):
            continue
        if is_archive(path.name):
            yield from _read_inner_archive(path, is_selected)
        elif is_selected(str(path)):
            yield str(path), path


def list_files(source: Path) -> list[str]:
    """Return the names that `find_files` yields, without reading the files. A tar is decompressed to its end."""
    names: dict[str, None] = {}

    def note(name: str) -> bool:
        names[name] = None
        return False

    for _ in find_files(source, note):
        pass
    return list(names)


def _read_inner_archive(source: Path, is_selected: NameFilter) -> Files:
    """Yield the selected members of an archive in a folder. Their names begin with this folder."""
    for name, content in _read_archive(source, lambda member: is_selected(f"{source.parent}/{member}")):
        yield f"{source.parent}/{name}", content


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder by name.

    Links to folders are followed only at its top, because others could form a cycle. Each other is named in a warning.
    """
    waiting = sorted(folder.iterdir(), reverse=True)
    while waiting:  # not Path.rglob, which calls itself for each folder
        path = waiting.pop()
        if path.is_file():
            yield path
        elif path.is_dir() and (path.parent == folder or not path.is_symlink()):
            waiting += sorted(path.iterdir(), reverse=True)
        elif path.is_symlink():
            logger.warning("%s is a link to a folder or to nothing, and isn't followed.", path)
        else:
            logger.warning("%s is a device or a pipe, and isn't read.", path)


def _read_archive(source: Path, is_selected: NameFilter) -> Files:
    try:
        yield from _find_reader(source)(source, is_selected)
    except Exception as error:  # a corrupt archive makes the libraries raise anything, AssertionError included
        if isinstance(error, UserError) or getattr(error, "errno", None) in REMEDIES:
            raise
        raise UserError(
            f"{source} can't be read completely as an archive ({describe_error(error)}). "
            "Delete it and download it again."
        ) from error


def _find_reader(source: Path) -> Callable[[Path, NameFilter], Files]:
    """Return the reader for an archive by its first bytes, because the suffix may be wrong."""
    head = read_head(source)
    if why := why_unread(source.name) or (ONE_OF_SEVERAL if is_last_part(source) else ""):
        raise UserError(f"{source} {why}")
    for magic, reader in READERS.items():
        if head.startswith(magic):
            return reader
    if head[257:262] == b"ustar":
        return partial(_read_tar, io.FileIO)
    if HTML_PAGE.match(head):
        raise UserError(
            f"{source} is a web page (a login or a list of links), not an archive. Delete it and download the archive."
        )
    raise UserError(
        f"{source} is not a supported archive ({', '.join(ARCHIVE_SUFFIXES)}). Use one of these or a folder."
    )


def read_head(path: Path) -> bytes:
    """Return the first 512 bytes of a file. Raises UserError if it isn't a regular file."""
    if not path.is_file():
        raise UserError(f"{path} is a device, a pipe or a folder, not a file. Remove it or name a file.")
    with path.open("rb") as file:
        return file.read(512)


def _read_zip(source: Path, is_selected: NameFilter) -> Files:
    with zipfile.ZipFile(source) as archive:
        infos = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
        members = (_zip_member(archive, info) for info in infos)
        yield from read_members(source, members, is_selected)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    problem = ""
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):  # 0 unless it was created on Unix
        problem = LINK
    elif info.flag_bits & 1:
        problem = ENCRYPTED
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile limits the size of no others
        problem = UNSUPPORTED_COMPRESSION

    def read() -> bytes:
        # In chunks: read() without a size unpacks everything before it truncates to the claimed size.
        content = io.BytesIO()
        with archive.open(info) as file:
            shutil.copyfileobj(file, content, MIB)
        return content.getvalue()

    # PowerShell 5.1 writes backslashes, although the format requires slashes. Names are checked after this.
    return Member(info.filename.replace("\\", "/"), info.file_size, problem, read)


class _TarInfo(tarfile.TarInfo):
    """A tar header that is an error if it is corrupt or huge.

    At a corrupt header tarfile would end as if the archive were complete. A huge one would fill the memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):  # a header of zeros is the regular end
                raise tarfile.ReadError(str(error)) from error
            raise
        if not info.isfile() and info.size > MAX_TAR_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {info.size} bytes")
        return info


def _read_tar(open_stream: Callable[[Path], Any], source: Path, is_selected: NameFilter) -> Files:
    with open_stream(source) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=MIB, tarinfo=_TarInfo) as archive:
            members = (_tar_member(archive, info) for info in archive if not info.isdir())
            yield from read_members(source, members, is_selected)
        stream.read(MIB)  # to the end, where gzip stores its checksum


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    def read() -> bytes:
        file = archive.extractfile(info)
        return file.read() if file else b""

    return Member(info.name, info.size, "" if info.isfile() else LINK, read)


# By the first bytes of a file. A zip without members begins with its directory.
READERS: dict[bytes, Callable[[Path, NameFilter], Files]] = {
    b"PK\x03\x04": _read_zip,
    b"PK\x05\x06": _read_zip,
    b"Rar!\x1a\x07": read_rar,
    b"\x1f\x8b": partial(_read_tar, gzip.GzipFile),
    b"BZh": partial(_read_tar, bz2.BZ2File),
    b"\xfd7zXZ\x00": partial(_read_tar, lzma.LZMAFile),
}
