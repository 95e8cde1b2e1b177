"""Where bytes come from: folders and archives, read in a stream, so that nothing is unpacked to disk."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path

from naevi import paths
from naevi.images import SUFFIXES
from naevi.refusal import Refusal

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz")


def locate() -> Path:
    """The folder or archive to take images from: NAEVI_SOURCE, else data/external/; raises Refusal with the ways on."""
    named = os.environ.get("NAEVI_SOURCE")
    if named:
        if not Path(named).exists():
            raise Refusal(
                f"NAEVI_SOURCE names {named}, which doesn't exist; name a folder or an archive ({', '.join(ARCHIVES)})."
            )
        return Path(named)
    if paths.EXTERNAL.is_dir() and any(paths.EXTERNAL.iterdir()):
        return paths.EXTERNAL
    raise Refusal(
        "the PH2 images are not here yet, and the ways on are:\n"
        "  NAEVI_SOURCE=<PH2 archive or folder> make repro\n"
        f"  put the archive or folder into {paths.EXTERNAL}/, then make repro\n"
        "  make demo   (the whole pipeline on generated images)\n"
        "PH2 is free for research and education: https://www.fc.up.pt/addi/ph2%20database.html"
    )


def pictures(source: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each picture under a folder or in an archive, archives in folders included, in a fixed order.

    Raises Refusal for an archive that can't be read.
    """
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and path.name.lower().endswith(SUFFIXES):
                yield str(path), path.read_bytes()
            elif path.is_file() and path.name.lower().endswith(ARCHIVES):
                yield from pictures(path)
        return
    try:
        if zipfile.is_zipfile(source):
            yield from _zip_pictures(source)
        else:
            yield from _tar_pictures(source)
    except (tarfile.TarError, zipfile.BadZipFile, LZMAError, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise Refusal(
            f"{source} can't be read to its end as a zip or tar archive ({error}); fetch it again."
        ) from error


def _zip_pictures(source: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if name.lower().endswith(SUFFIXES):
                yield name, archive.read(name)


def _tar_pictures(source: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(source, mode="r|*") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() and member.name.lower().endswith(SUFFIXES) else None
            if stream:
                yield member.name, stream.read()
