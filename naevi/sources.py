"""Where bytes come from: folders, archives and addresses, read in a stream, so that nothing is unpacked to disk.

Archives come from strangers: one that could reach out of its place or fill the memory is refused, not read.
"""

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import rarfile

from naevi import fetching, paths
from naevi.refusal import REMEDIES, Refusal, reason

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".rar")

# What an archive may unpack to: PH2 has pictures of 1.3 MiB and is 2.3 times as large as its tar.xz.
MIB = 2**20
MOST_OF_A_MEMBER = 512 * MIB
MOST_TIMES = 100  # the archive's own size, asked only of one that unpacks to more than MOST_IN_ALL
MOST_IN_ALL = 1024 * MIB
MOST_OF_A_TAR_HEADER = MIB  # a long name or extended attributes, which tarfile takes into memory whole

HIDDEN = re.compile(r"(^|/)(\.[^/]|__MACOSX/)")
OUTSIDE = re.compile(r"(^|/)\.\.(/|$)|^/|^[A-Za-z]:|\\")
PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)", re.IGNORECASE)

# In the order of trial: libarchive gives up on solid rar archives of old, unar on few.
UNPACKERS = {
    "bsdtar": "-x -f {archive} -C {folder}",
    "unar": "-quiet -no-directory -no-recursion -output-directory {folder} {archive}",
    "unrar": "x -idq -p- {archive} {folder}/",
    "7z": "x -bd -o{folder} {archive}",
}

Files = Iterator[tuple[str, bytes]]
Wanted = Callable[[str], bool]

# Why a member can't be read.
LINK = "a link or a device"
LOCKED = "which is locked"
PACKED = "which isn't packed by deflate"


class Member(NamedTuple):
    """What an archive holds but folders; `size` is what it claims, `fault` why it can't be read, if it can't."""

    name: str
    size: int
    fault: str
    read: Callable[[], bytes]


def locate(addresses: Sequence[str], missing: str) -> Path:
    """The folder or archive to take files from: NAEVI_SOURCE, else data/external/, else the first address that answers.

    Raises Refusal for a NAEVI_SOURCE that isn't there, and with the sentence `missing` where nothing else is.
    """
    named = os.environ.get("NAEVI_SOURCE")
    if named and re.match("https?://", named):
        return _fetched(named)
    if named:
        if not Path(named).exists():
            raise Refusal(
                f"NAEVI_SOURCE names {named}, which doesn't exist; name a folder or an archive ({', '.join(ARCHIVES)})."
            )
        return Path(named)
    if any(not path.name.startswith(".") and path.suffix != fetching.PART for path in paths.EXTERNAL.glob("*")):
        return paths.EXTERNAL
    for address in addresses:
        try:
            return _fetched(address)
        except Refusal as refusal:
            print(refusal, file=sys.stderr)
    raise Refusal(missing)


def _fetched(address: str) -> Path:
    path = fetching.fetch(address, paths.EXTERNAL)
    if PAGE.match(_head(path)):
        path.unlink()  # or it would be taken for the archive the next time
        raise Refusal(f"{address} gives a web page (a login, a list of links), not an archive; {fetching.WAY_ON}.")
    return path


def files(source: Path, wanted: Wanted) -> Files:
    """Name and bytes of each wanted file under a folder or in an archive, archives in folders included.

    Names are paths in a folder and members' names in an archive, in a fixed order: by name in a folder, as they lie in
    an archive. One file at a time is in memory; only rar archives are unpacked to disk, for as long as they are read.
    Hidden files and folders (.x, ._x of macOS) and __MACOSX are passed over.

    Raises Refusal for an archive that can't be read, is locked with a password, holds links, devices or names that lead
    out of it, or unpacks to far more than it should.
    """
    if not source.is_dir():
        yield from _archive_files(source, wanted)
        return
    for path in _walk(source):
        if HIDDEN.search(path.relative_to(source).as_posix()):
            continue
        if path.name.lower().endswith(ARCHIVES):
            yield from _archive_files(path, wanted)
        elif wanted(str(path)):
            yield str(path), path.read_bytes()


def _walk(folder: Path) -> Iterator[Path]:
    """The files under a folder by name, through links at its top and no others: those could lead in circles."""
    for top in sorted(folder.iterdir()):
        yield from (path for path in (sorted(top.rglob("*")) if top.is_dir() else [top]) if path.is_file())


def _archive_files(source: Path, wanted: Wanted) -> Files:
    try:
        yield from _reader(source)(source, wanted)
    except Exception as error:  # a spoilt archive makes the libraries raise anything, AssertionError included
        if isinstance(error, Refusal) or getattr(error, "errno", None) in REMEDIES:
            raise
        raise Refusal(
            f"{source} can't be read to its end as an archive ({reason(error)}); delete it, then fetch it again."
        ) from error


def _reader(source: Path) -> Callable[[Path, Wanted], Files]:
    """What reads the archive, by its first bytes: names lie."""
    head = _head(source)
    for magic, reader in READERS.items():
        if head.startswith(magic):
            return reader
    if head[257:262] == b"ustar":
        return partial(_tar, io.FileIO)
    if PAGE.match(head):
        raise Refusal(
            f"{source} is a web page (a login, a list of links), not an archive; delete it, then fetch the archive."
        )
    raise Refusal(f"{source} is none of the archives that are known here ({', '.join(ARCHIVES)}); name a folder.")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _checked(source: Path, members: Iterable[Member], wanted: Wanted) -> Iterator[Member]:
    """The wanted members; each member, wanted or not, is judged before it or what follows is read."""
    most, total = max(MOST_TIMES * source.stat().st_size, MOST_IN_ALL), 0
    for member in members:
        total += member.size
        is_wanted = wanted(member.name) and not HIDDEN.search(member.name)
        faults = {
            "a name that leads out of the archive": OUTSIDE.search(member.name),
            member.fault: member.fault,
            f"more than {MOST_OF_A_MEMBER // MIB} MiB unpacked": is_wanted and member.size > MOST_OF_A_MEMBER,
            f"with which it unpacks to {total // MIB} MiB, far more than archives of images do": total > most,
        }
        for what in filter(faults.get, faults):
            key = "with its password and name the folder" if what == LOCKED else "and name the folder, if you trust it"
            raise Refusal(f"{source} holds {member.name!r}, {what}; unpack it {key}.")
        if is_wanted:
            yield member


def _read(source: Path, members: Iterator[Member], wanted: Wanted) -> Files:
    for member in _checked(source, members, wanted):
        yield member.name, member.read()


def _zip(source: Path, wanted: Wanted) -> Files:
    with zipfile.ZipFile(source) as archive:
        members = (_zip_member(archive, info) for info in archive.infolist() if not info.is_dir())
        yield from _read(source, members, wanted)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    faults = {
        LINK: stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG),  # 0 where it wasn't packed on Unix
        LOCKED: info.flag_bits & 1,
        PACKED: info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),  # zipfile bounds no others
    }

    def read() -> bytes:
        # In pieces: read() without a number unpacks all that is there before it cuts at the size that was claimed.
        with archive.open(info) as file:
            return b"".join(iter(lambda: file.read(MIB), b""))

    return Member(info.filename, info.file_size, next(filter(faults.get, faults), ""), read)


class _TarInfo(tarfile.TarInfo):
    """A header of a tar, refused where tarfile would stop as if all were well (spoilt) or fill the memory (vast)."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):  # all zeros are the regular end
                raise tarfile.ReadError(str(error)) from error
            raise
        if not info.isfile() and info.size > MOST_OF_A_TAR_HEADER:
            raise tarfile.ReadError(f"a header of {info.size} bytes")
        return info


def _tar(opened: Callable[[Path], Any], source: Path, wanted: Wanted) -> Files:
    with opened(source) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=MIB, tarinfo=_TarInfo) as archive:
            yield from _read(source, (_tar_member(archive, info) for info in archive if not info.isdir()), wanted)
        stream.read(MIB)  # to the end, where gzip keeps its checksum


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    def read() -> bytes:
        file = archive.extractfile(info)
        return file.read() if file else b""

    return Member(info.name, info.size, "" if info.isfile() else LINK, read)


def _rar(source: Path, wanted: Wanted) -> Files:
    try:
        archive = rarfile.RarFile(source, errors="strict")
    except rarfile.RarCannotExec as error:  # for a packed comment
        raise _no_unpacker(source) from error
    listed = [_rar_member(archive, info) for info in archive.infolist() if not info.is_dir()]
    if archive.needs_password() and not listed:
        listed = [Member("the list of its files", 0, LOCKED, bytes)]
    members = list(_checked(source, listed, wanted))
    if all(archive.getinfo(member.name).compress_type == rarfile.RAR_M0 for member in members):
        yield from ((member.name, member.read()) for member in members)
        return
    with tempfile.TemporaryDirectory() as folder:
        unpacked = _unpacked(source, Path(folder))
        within = (_file_member(unpacked, path) for path in sorted(unpacked.rglob("*")) if not path.is_dir())
        yield from _read(source, within, wanted)


def _rar_member(archive: rarfile.RarFile, info: rarfile.RarInfo) -> Member:
    fault = LINK if info.file_redir or not info.is_file() else LOCKED if info.needs_password() else ""
    return Member(info.filename, info.file_size, fault, partial(archive.read, info))


def _file_member(folder: Path, path: Path) -> Member:
    name, status = path.relative_to(folder).as_posix(), path.lstat()
    return Member(name, status.st_size, "" if stat.S_ISREG(status.st_mode) else LINK, path.read_bytes)


def _unpacked(source: Path, folder: Path) -> Path:
    """Where the whole rar archive is unpacked, a folder in `folder`: in solid ones each file needs all before it."""
    tools = [tool for tool in UNPACKERS if shutil.which(tool)]
    if not tools:
        raise _no_unpacker(source)
    for tool in tools:
        (folder / tool).mkdir()
        words = [word.format(archive=source.absolute(), folder=folder / tool) for word in UNPACKERS[tool].split()]
        done = subprocess.run(
            [tool, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode == 0:
            return folder / tool
    said = " ".join(done.stdout.decode(errors="replace").split())[-200:]
    raise Refusal(
        f"{source} can't be unpacked by {' or '.join(tools)} ({said}); "
        "unpack it and name the folder, or delete it and fetch it again."
    )


def _no_unpacker(source: Path) -> Refusal:
    return Refusal(
        f"{source} is a rar archive, which takes one of {', '.join(UNPACKERS)} to unpack; install one "
        "(apt install libarchive-tools, brew install libarchive), or unpack it and name the folder."
    )


# By the first bytes. A zip without files begins with its directory.
READERS: dict[bytes, Callable[[Path, Wanted], Files]] = {
    b"PK\x03\x04": _zip,
    b"PK\x05\x06": _zip,
    b"Rar!\x1a\x07": _rar,
    b"\x1f\x8b": partial(_tar, gzip.GzipFile),
    b"BZh": partial(_tar, bz2.BZ2File),
    b"\xfd7zXZ\x00": partial(_tar, lzma.LZMAFile),
}
