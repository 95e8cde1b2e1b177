"""The images of data/raw, data/prepared and data/predictions: a file for each, or shards if there are very many.

A shard is an uncompressed zip file with SHARD_SIZE images in the order of their names, so any program can open it. DVC
takes seconds to look at every ten thousand files, and a file system is slow with many small ones.
"""

import bisect
import hashlib
import os
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from naevi.errors import UserError, describe_error
from naevi.files import read_json, write_json
from naevi.images.files import KEPT_FORMATS, Pixels, read_image, read_mask

SHARDS_FROM = 5_000  # files in a folder
SHARD_SIZE = 1_000
SHARD_SUFFIX = ".zip"
NAME = "{:05}" + SHARD_SUFFIX
INDEX = "shards.json"  # a list of the first name in each shard
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of each file in a shard, so that equal files give equal bytes
OPEN_SHARDS = 32  # that a process keeps open
SUFFIXES = tuple(dict.fromkeys(KEPT_FORMATS.values()))


def pack_images(folder: Path) -> None:
    """Move the files of a folder into shards if there are SHARDS_FROM or more."""
    names = sorted(path.name for path in folder.iterdir())
    if len(names) < SHARDS_FROM:
        return
    starts = range(0, len(names), SHARD_SIZE)
    for number, start in enumerate(starts):
        with ZipFile(folder / NAME.format(number), "w") as shard:
            for name in names[start : start + SHARD_SIZE]:
                shard.writestr(ZipInfo(name, EPOCH), (folder / name).read_bytes())
                (folder / name).unlink()
    write_json(folder / INDEX, [names[start] for start in starts])


def stored_image(folder: Path, image_id: str) -> Pixels:
    """Return an image in a folder such as data/raw/images, uint8 (H, W, 3). Raises UserError if it can't be read."""
    for suffix in SUFFIXES:
        if (content := stored_bytes(folder, f"{image_id}{suffix}")) is not None:
            return read_image(content, str(folder / f"{image_id}{suffix}"))
    return read_image(folder / f"{image_id}{SUFFIXES[0]}")  # its message says that the file is missing


def stored_mask(folder: Path, image_id: str) -> Pixels:
    """Return a mask in a folder such as data/raw/masks, uint8 (H, W) of class indices.

    Raises UserError if it can't be read.
    """
    path = folder / f"{image_id}.png"
    content = stored_bytes(folder, path.name)
    return read_mask(path) if content is None else read_mask(content, str(path))


def is_stored(folder: Path, image_id: str) -> bool:
    """Return whether a folder has an image or mask."""
    return any(stored_bytes(folder, f"{image_id}{suffix}") is not None for suffix in SUFFIXES)


def stored_bytes(folder: Path, name: str) -> bytes | None:
    """Return the content of a file in a folder, or None if there is none. Raises UserError if its shard is damaged."""
    index = folder / INDEX
    try:
        if not index.exists():
            return (folder / name).read_bytes()
        shard = folder / shard_name(_read_index(index, *_version(index)), name)
        return _open_shard(shard, *_version(shard)).read(name)
    except (FileNotFoundError, KeyError):
        return None
    except BadZipFile as error:
        raise UserError(
            f"{folder / name} can't be read ({describe_error(error)}). Restore its shard with `dvc checkout`."
        ) from error


def shard_name(starts: list[str], name: str) -> str:
    """Return the shard that a file is in if it exists. `starts` is the content of shards.json."""
    return NAME.format(max(bisect.bisect(starts, name) - 1, 0))


def unpacked_md5(shard: Path) -> dict[str, str]:
    """Return the MD5 of each file in a shard by its name."""
    with ZipFile(shard) as files:
        return {name: hashlib.md5(files.read(name)).hexdigest() for name in files.namelist()}


def _version(path: Path) -> tuple[int, int, int]:
    """Return what changes if a file is replaced."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino


@lru_cache
def _read_index(index: Path, *version: int) -> list[str]:
    return list(map(str, read_json(index)))


@lru_cache(OPEN_SHARDS)
def _open_shard(shard: Path, *version: int) -> ZipFile:
    return ZipFile(shard)  # its reads wait for each other, so threads may share it
