"""Convert image and mask files of any format to the PNGs of data/raw, one at a time."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np

from naevi.config import DataConfig, ReadingConfig
from naevi.datasets.decoding import Note, read_image
from naevi.datasets.depth import FULL, bits_in_use
from naevi.datasets.layout import Key, part_of
from naevi.datasets.mask_values import read_mask_values
from naevi.errors import UserError
from naevi.images import IMAGE_SUFFIXES, undeclared_values, values_to_classes, write_image, write_mask

MAX_NAME_BYTES = 200  # of a file name. File systems allow 255, and the names of figures have a prefix.
SOURCE_SUFFIX = ".source"  # of copies of files that are read again when the range of all images is known

_MASK_ENDING = re.compile(r"(?<=.)_(segmentation|mask|lesion)$", re.IGNORECASE)  # mask names of ISIC and PH2


class Converted(NamedTuple):
    """An image or a mask that was written as PNG."""

    name: str  # of the file it was read from
    path: Path  # of the PNG
    size: tuple[int, int]  # height and width
    tag: int  # the EXIF orientation, 1 to 8
    notes: list[Note]
    highest: float | None = None  # of an image with more than 8 bits per channel: its largest value
    undeclared: tuple[int, ...] = ()  # of a mask: values that belong to no class
    one_value: bool = False  # of a mask, see `DecodedMask`


class Files(NamedTuple):
    """The files of a data set."""

    images: dict[Key, Converted]
    masks: dict[Key, Converted]
    tables: dict[str, bytes]  # the content of each CSV file by its name
    duplicates: list[str]
    unusable: list[str]  # messages


def convert_files(files: Iterable[tuple[str, str, bytes]], folder: Path, data: DataConfig) -> Files:
    """Write a PNG for each image and mask into `folder`; return what was read.

    Each file is given by its role (images, masks or labels), name and content. One file at a time is in memory.
    """
    found = Files({}, {}, {}, [], [])
    converted = {"images": found.images, "masks": found.masks}
    names: dict[tuple[str, Key], str] = {}
    for role, name, content in files:
        if role == "labels":
            if found.tables.setdefault(name, content) != content:
                found.duplicates.append(f"two files {name}")
            continue
        key = part_of(name), _stem(role, name)
        if (role, key) in names:
            found.duplicates.append(f"{names[role, key]} and {name}")
            continue
        names[role, key] = name
        path = folder / role / key[0] / f"{key[1]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _check_name(name, path)
            converted[role][key] = (_convert_image if role == "images" else _convert_mask)(name, content, path, data)
        except UserError as error:
            found.unusable.append(str(error))
    return found


def _stem(role: str, name: str) -> str:
    stem = normalize("NFC", Path(name).stem)  # macOS may store an umlaut as two characters
    return _MASK_ENDING.sub("", stem) if role == "masks" else stem


def _check_name(name: str, path: Path) -> None:
    if not path.name.isprintable():
        raise UserError(f"{name!r} has an unprintable character in its name. Rename it.")
    if len(path.name.encode()) > MAX_NAME_BYTES:
        raise UserError(f"{name} has a name of more than {MAX_NAME_BYTES} bytes. Shorten it.")
    if not name.lower().endswith(IMAGE_SUFFIXES):
        raise UserError(f"{name} doesn't have the suffix of an image ({', '.join(IMAGE_SUFFIXES)}). Remove this file.")


def _convert_image(name: str, content: bytes, path: Path, data: DataConfig) -> Converted:
    image = read_image(content, name, data.reading)
    write_image(path, image.pixels)
    if image.highest is not None and data.reading.white == "auto":
        path.with_suffix(SOURCE_SUFFIX).write_bytes(content)
    height, width, _ = image.pixels.shape
    return Converted(name, path, (height, width), image.tag, image.notes, highest=image.highest)


def _convert_mask(name: str, content: bytes, path: Path, data: DataConfig) -> Converted:
    values = data.values()
    mask = read_mask_values(content, name, values, data.reading)
    classes = values_to_classes(mask.values, values)
    write_mask(path, np.ascontiguousarray(classes))
    height, width = classes.shape
    undeclared = tuple(undeclared_values(mask.values, values))
    return Converted(name, path, (height, width), mask.tag, mask.notes, undeclared=undeclared, one_value=mask.one_value)


def apply_white(images: Iterable[Converted], reading: ReadingConfig) -> float:
    """Return the value that is white in images with more than 8 bits per channel.

    If data.reading.white is auto, the bits in use in all images determine it, and the images are written again.
    """
    if reading.white != "auto":
        return int(reading.white) if reading.white.is_integer() else reading.white
    deep = [image for image in images if image.highest is not None]
    white = 2 ** bits_in_use(max(image.highest or 0 for image in deep)) - 1 if deep else FULL
    known = reading.model_copy(update={"white": float(white)})
    for image in deep:
        source = image.path.with_suffix(SOURCE_SUFFIX)
        if white != FULL:  # they were written with this value
            write_image(image.path, read_image(source.read_bytes(), image.name, known).pixels)
        source.unlink()
    return white
