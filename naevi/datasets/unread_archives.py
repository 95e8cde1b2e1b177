"""Recognize archives that aren't read: parts of a split one, and formats without a reader."""

import re
from pathlib import Path, PurePosixPath

# x.zip.001 and x.tar.xz.aa are pieces of one file. Only the program that made them can join parts of other kinds.
PIECE = re.compile(
    r"(?P<whole>.+\.(?:zip|7z|rar|tar|tgz|txz|tbz2?|tar\.\w+))\.(?:\d{2,3}|part\w+|a?a[a-z])", re.IGNORECASE
)
PART = re.compile(r".+\.(?:z\d\d|r\d\d|part\d+\.rar)", re.IGNORECASE)
OTHER_FORMATS = (".7z", ".zst", ".tzst", ".lz", ".lzma", ".tar.z", ".cab", ".arj", ".ace", ".lzh", ".iso", ".dmg")
ONE_OF_SEVERAL = (
    "is a part of an archive. Unpack all parts together, for example with 7-Zip, and use the folder instead."
)
END_OF_ZIP, LARGEST_END = b"PK\x05\x06", 22 + 2**16 - 1  # the signature and the largest size of a zip's last record


def why_unread(name: str) -> str:
    """Return what is wrong with an archive with this name and what to do, or "" if nothing is."""
    name = PurePosixPath(name).name
    if piece := PIECE.fullmatch(name):
        whole = piece["whole"]
        return (
            f"is a piece of the archive {whole}. Join all pieces with `cat {whole}.* > {whole}`, unpack it and use the "
            "folder instead."
        )
    if PART.fullmatch(name):
        return ONE_OF_SEVERAL
    if name.lower().endswith(OTHER_FORMATS):
        return "is an archive of a format that isn't read. Unpack it and use the folder instead."
    return ""


def is_last_part(source: Path) -> bool:
    """Return whether a zip is the last of several parts. Its last record has the number of parts before it."""
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - LARGEST_END))
        tail = file.read()
    end = tail.rfind(END_OF_ZIP)
    number = int.from_bytes(tail[end + 4 : end + 6], "little")
    return end >= 0 and 0 < number < 2**16 - 1  # the largest number stands for that in another record, of a zip64
