"""Read rar archives. Compressed ones are unpacked to a temporary folder by an external program."""

import shutil
import stat
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import rarfile

from naevi.datasets.members import ENCRYPTED, LINK, Files, Member, NameFilter, check_members, read_members
from naevi.errors import UserError

# In the order in which they are tried: libarchive fails on some old solid archives, unar on few.
UNPACKERS = {
    "bsdtar": "-x -f {archive} -C {folder}",
    "unar": "-quiet -no-directory -no-recursion -output-directory {folder} {archive}",
    "unrar": "x -idq -p- {archive} {folder}/",
    "7z": "x -bd -o{folder} {archive}",
}


def read_rar(source: Path, is_selected: NameFilter) -> Files:
    """Yield name and content of each selected member of a rar archive.

    Raises UserError if a member fails a check, and if the archive is compressed and no program can unpack it.
    """
    try:
        archive = rarfile.RarFile(source, errors="strict")
    except rarfile.RarCannotExec as error:  # a compressed comment
        raise _no_unpacker_error(source) from error
    members = [_rar_member(archive, info) for info in archive.infolist() if not info.is_dir()]
    if archive.needs_password() and not members:
        members = [Member("the list of files", 0, ENCRYPTED, bytes)]
    selected = list(check_members(source, members, is_selected))
    if all(archive.getinfo(member.name).compress_type == rarfile.RAR_M0 for member in selected):
        yield from ((member.name, member.read()) for member in selected)
        return
    with tempfile.TemporaryDirectory() as folder:
        unpacked = _unpack_rar(source, Path(folder))
        files = (_file_member(unpacked, path) for path in sorted(unpacked.rglob("*")) if not path.is_dir())
        yield from read_members(source, files, is_selected)


def _rar_member(archive: rarfile.RarFile, info: rarfile.RarInfo) -> Member:
    problem = LINK if info.file_redir or not info.is_file() else ENCRYPTED if info.needs_password() else ""
    return Member(info.filename, info.file_size, problem, partial(archive.read, info))


def _file_member(folder: Path, path: Path) -> Member:
    name, status = path.relative_to(folder).as_posix(), path.lstat()
    return Member(name, status.st_size, "" if stat.S_ISREG(status.st_mode) else LINK, path.read_bytes)


def _unpack_rar(source: Path, folder: Path) -> Path:
    """Unpack a rar archive and return the subfolder of `folder` with its files.

    The whole archive is unpacked, because each file of a solid one needs all files before it.
    """
    programs = [program for program in UNPACKERS if shutil.which(program)]
    if not programs:
        raise _no_unpacker_error(source)
    for program in programs:
        target = folder / program
        target.mkdir()
        arguments = [word.format(archive=source.absolute(), folder=target) for word in UNPACKERS[program].split()]
        process = subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if process.returncode == 0:
            return target
    output = " ".join(process.stdout.decode(errors="replace").split())[-200:]
    raise UserError(
        f"{source} can't be unpacked by {' or '.join(programs)} ({output}). "
        "Unpack it and use the folder instead, or delete it and download it again."
    )


def _no_unpacker_error(source: Path) -> UserError:
    return UserError(
        f"{source} is a rar archive, and none of {', '.join(UNPACKERS)} is installed to unpack it. Install one "
        "(apt install libarchive-tools, brew install libarchive), or unpack it and use the folder instead."
    )
