"""Archives that the tests of datasets write and read."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from naevi.datasets.archives import read_files
from naevi.errors import UserError

RNG = np.random.default_rng(0)
# Noise, so that no archive is smaller than its files. Archives are written in another order than folders are read.
FILES = {"b/IMD2.bmp": RNG.bytes(3000), "b/notes.txt": b"not an image", "a/IMD1.PNG": RNG.bytes(2000)}
IMAGES = [FILES["a/IMD1.PNG"], FILES["b/IMD2.bmp"]]
ARCHIVES = ["ph2.zip", "ph2.tar", "ph2.tar.gz", "ph2.tgz", "ph2.tar.bz2", "ph2.tar.xz", "ph2.rar"]
TRUST = "If you trust the archive, unpack it and use the folder instead."

RAR_SIGNATURE = b"Rar!\x1a\x07\x00"
RAR_STORED, RAR_COMPRESSED = 0x30, 0x33


def create_zip(files: dict[str, bytes], mode: int = 0) -> bytes:
    """Return a zip whose members have this mode of a Unix file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def create_tar(files: dict[str, bytes], compression: str = "gz", kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar whose members are of one kind."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=f"w:{compression}") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "target.bmp", len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def create_rar(
    files: dict[str, bytes], archive_flags: int = 0, file_flags: int = 0, mode: int = 0o100644, compressed: str = ""
) -> bytes:
    """Return a rar of version 4 with these flags in its headers. Only the file named `compressed` isn't stored."""

    def block(kind: int, flags: int, body: bytes) -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    content = RAR_SIGNATURE + block(0x73, archive_flags, bytes(6))
    for name, data in files.items():
        method = RAR_COMPRESSED if name == compressed else RAR_STORED
        title, size = name.replace("/", "\\").encode(), len(data)
        numbers = struct.pack("<IIBIIBBHI", size, size, 3, zlib.crc32(data), 0, 20, method, len(title), mode)
        content += block(0x74, 0x8000 | file_flags, numbers + title) + data
    return content + block(0x7B, 0x4000, b"")


COMPRESSIONS = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tar.xz": "xz"}
CREATORS: dict[str, Callable[[dict[str, bytes]], bytes]] = {".zip": create_zip, ".rar": create_rar} | {
    suffix: partial(create_tar, compression=compression) for suffix, compression in COMPRESSIONS.items()
}


def pack(files: dict[str, bytes], archive: Path) -> Path:
    """Write an archive of the files, sorted by name."""
    suffix = archive.name.removeprefix(archive.name.partition(".")[0])
    archive.write_bytes(CREATORS[suffix](dict(sorted(files.items()))))
    return archive


def is_image(name: str) -> bool:
    """Return whether a file has the suffix of an image."""
    return name.lower().endswith((".bmp", ".png"))


def names(source: Path) -> list[str]:
    """Return the names of the images."""
    return [name for name, _ in read_files(source, is_image)]


def contents(source: Path) -> list[bytes]:
    """Return the contents of the images."""
    return [data for _, data in read_files(source, is_image)]


def error_message(source: Path) -> str:
    """Return the message of the error that reading the images raises."""
    with pytest.raises(UserError) as error:
        contents(source)
    assert "\n" not in str(error.value)
    return str(error.value)
