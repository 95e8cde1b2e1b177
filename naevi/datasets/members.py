"""Check the members of an archive before they are read.

Archives may come from untrusted sources. One that could write outside its folder or fill the memory is an error.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from naevi.errors import UserError
from naevi.files import MAX_FILE_BYTES, MIB

# Limits of what an archive may unpack to. PH2 has images of 1.3 MiB and is 2.3 times as large as its tar.xz.
MAX_COMPRESSION_RATIO = 100  # applies only to archives that unpack to more than MIN_TOTAL_LIMIT_BYTES
MIN_TOTAL_LIMIT_BYTES = 1024 * MIB

HIDDEN = re.compile(r"(^|/)(\.[^/]|__MACOSX/)")
ESCAPING_NAME = re.compile(r"(^|/)\.\.(/|$)|^/|^[A-Za-z]:|\\")

# Why a member can't be read.
LINK = "is a link or a device"
ENCRYPTED = "is encrypted"
UNSUPPORTED_COMPRESSION = "isn't compressed with deflate"

Files = Iterator[tuple[str, bytes]]
NameFilter = Callable[[str], bool]


class Member(NamedTuple):
    """A member of an archive that isn't a folder.

    `size` is the claimed size in bytes. `problem` says why the member can't be read, or is empty.
    """

    name: str
    size: int
    problem: str
    read: Callable[[], bytes]


def read_members(source: Path, members: Iterable[Member], is_selected: NameFilter) -> Files:
    """Yield name and content of each selected member."""
    for member in check_members(source, members, is_selected):
        yield member.name, member.read()


def check_members(source: Path, members: Iterable[Member], is_selected: NameFilter) -> Iterator[Member]:
    """Yield the selected members that aren't hidden.

    Each member is checked, selected or not, before it or the next one is read. Raises UserError if a check fails.
    """
    limit = max(MAX_COMPRESSION_RATIO * source.stat().st_size, MIN_TOTAL_LIMIT_BYTES)
    total = 0
    for member in members:
        total += member.size
        selected = not HIDDEN.search(member.name) and is_selected(member.name)
        problem = _find_problem(member, selected, total, limit)
        if problem:
            advice = (
                "Unpack it with its password and use the folder instead."
                if problem == ENCRYPTED
                else "If you trust the archive, unpack it and use the folder instead."
            )
            raise UserError(f"{source} contains {member.name!r}, which {problem}. {advice}")
        if selected:
            yield member


def _find_problem(member: Member, selected: bool, total: int, limit: int) -> str:
    """Return why a member must not be read, or an empty text."""
    if ESCAPING_NAME.search(member.name):
        return "has a path outside the archive"
    if member.problem:
        return member.problem
    if selected and member.size > MAX_FILE_BYTES:
        return f"is larger than {MAX_FILE_BYTES // MIB} MiB"
    if total > limit:
        return f"brings the unpacked size to {total // MIB} MiB, far more than archives of images have"
    return ""
