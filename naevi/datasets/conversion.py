"""Write image and mask files of any format to data/raw, one at a time: images unchanged if possible, masks as PNG."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from naevi.config import DataConfig, ReadingConfig
from naevi.datasets.decoding import DecodedImage, Note, read_image
from naevi.datasets.depth import FULL, bits_in_use
from naevi.datasets.layout import Key, check_name, part_of, safe_name, stem
from naevi.datasets.legend import Legend, class_index, read_legend
from naevi.datasets.mask_values import read_mask_values
from naevi.errors import UserError
from naevi.images.files import FORMATS, VOID, kept_suffix, write_image, write_mask

SOURCE_SUFFIX = ".source"  # of copies of files that are read again when the range of all images is known
INDICES_SUFFIX = ".indices"  # of masks read by palette indices, until it is known whether gray levels fit all masks
BY_INDEX = Note("Masks with a palette, read by its indices, because others have colors without a class", "data.classes")

# Formats that aren't read. Such a file may be an image or a mask, so it is never ignored without a word.
PHOTOGRAPHS = ".arw .avif .cr2 .cr3 .dng .jxl .nef .psd .raf .svg .tga"
SCANS = ".dcm .dicom .mha .mhd .nii .nii.gz .nrrd .npy .npz .exr .eps .pdf"
OTHER_PICTURES = tuple(f"{PHOTOGRAPHS} {SCANS}".split())

ReadImage = Callable[[bytes, str, ReadingConfig], DecodedImage]


class Converted(NamedTuple):
    """An image or a mask in data/raw."""

    name: str  # of the file it was read from
    path: Path  # where it was written. A mask is a PNG
    size: tuple[int, int]  # height and width
    tag: int  # the EXIF orientation, 1 to 8
    notes: list[Note]
    highest: float | None = None  # of an image with more than 8 bits per channel: its largest value
    undeclared: tuple[int, ...] = ()  # of a mask: values that belong to no class
    one_value: bool = False  # of a mask, see `DecodedMask`
    by_index: bool = False  # of a mask, see `DecodedMask`
    changed: float = 0  # of a mask: the share of pixels whose values were between those of classes
    void: float = 0  # of a mask: the share of pixels without a known class
    has_indices: bool = False  # of a mask: whether a file with INDICES_SUFFIX is beside the PNG


class Files(NamedTuple):
    """The files of a data set."""

    images: dict[Key, Converted]
    masks: dict[Key, Converted]
    tables: dict[str, bytes]  # the content of each CSV file by its name
    duplicates: list[str]
    unusable: list[tuple[str, str]]  # name and message
    unread: list[str]  # names of pictures in other formats, if data.mismatches leaves them out


def convert_files(
    files: Iterable[tuple[str, str, bytes]],
    folder: Path,
    data: DataConfig,
    read: ReadImage = read_image,
    names: Mapping[str, str] | None = None,
) -> Files:
    """Write each image and mask into `folder`; return what was read. `read` reads an image.

    Each file is given by its role (images, masks or labels), name and content. One file at a time is in memory. `names`
    has the names to write by the names of files; by default they are those without suffix.
    """
    found, legend = Files({}, {}, {}, [], [], []), read_legend(data)
    seen: dict[tuple[str, Key], str] = {}
    for role, name, content in files:
        if role == "labels":
            if not name.isprintable():
                found.unusable.append((name, f"{name!r} has an unprintable character in its name. Rename it."))
            elif found.tables.setdefault(name, content) != content:
                found.duplicates.append(f"two files {name}")
            continue
        key = part_of(name), (names or {}).get(name) or safe_name(stem(name))
        if (role, key) in seen:
            found.duplicates.append(f"{seen[role, key]} and {name}")
            continue
        seen[role, key] = name
        path = folder / role / key[0] / f"{key[1]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            check_name(name, path.name)
            if name.lower().endswith(OTHER_PICTURES):
                if data.mismatches == "leave-out":
                    found.unread.append(name)
                    continue
                raise UserError(
                    f"{name} is in a format that isn't read. Save it as one of {', '.join(FORMATS)}, or set "
                    "data.mismatches to leave-out."
                )
            if role == "images":
                found.images[key] = _convert_image(name, content, path, data.reading, read)
            else:
                found.masks[key] = _convert_mask(name, content, path, data, legend)
        except UserError as error:
            found.unusable.append((name, str(error)))
    return found


def _convert_image(name: str, content: bytes, path: Path, reading: ReadingConfig, read: ReadImage) -> Converted:
    image = read(content, name, reading)
    # The range of 16-bit images is only known after the last one.
    if image.highest is None and (suffix := kept_suffix(content, image.pixels)):
        path = path.with_name(path.stem + suffix)
        path.write_bytes(content)
    else:
        write_image(path, image.pixels)
    if image.highest is not None and reading.white == "auto":
        path.with_suffix(SOURCE_SUFFIX).write_bytes(content)
    height, width, _ = image.pixels.shape
    return Converted(name, path, (height, width), image.tag, image.notes, highest=image.highest)


def _convert_mask(name: str, content: bytes, path: Path, data: DataConfig, legend: Legend) -> Converted:
    mask = read_mask_values(content, name, legend, data.reading)
    levels = mask.values
    if data.masks.values == "nearest" and not mask.by_index:
        levels = legend.nearest(levels)
    classes = legend.to_classes(levels)
    if legend.one_class:
        classes = classes * np.uint8(class_index(name, data.names()))
    write_mask(path, np.ascontiguousarray(classes))
    if mask.indices is not None:
        write_mask(path.with_suffix(INDICES_SUFFIX), np.ascontiguousarray(legend.to_classes(mask.indices)))
    height, width = classes.shape
    return Converted(
        name,
        path,
        (height, width),
        mask.tag,
        mask.notes,
        undeclared=tuple(legend.undeclared(levels)),
        changed=float((levels != mask.values).mean()),
        void=float((classes == VOID).mean()),
        one_value=mask.one_value,
        by_index=mask.by_index,
        has_indices=mask.indices is not None,
    )


def move_png(converted: Converted, path: Path) -> Converted:
    """Move an image or a mask, and the files beside it that are needed until all files are known."""
    for suffix in (SOURCE_SUFFIX, INDICES_SUFFIX):
        if (beside := converted.path.with_suffix(suffix)).exists():
            beside.rename(path.with_suffix(suffix))
    return converted._replace(path=converted.path.rename(path))


def delete_png(converted: Converted) -> None:
    """Delete an image or a mask, and the files beside it."""
    converted.path.unlink()
    for suffix in (SOURCE_SUFFIX, INDICES_SUFFIX):
        converted.path.with_suffix(suffix).unlink(missing_ok=True)


def choose_palette_reading(masks: dict[str, Converted]) -> dict[str, Converted]:
    """Read all masks with a palette by its indices if gray levels don't fit one of them; return them by id.

    Otherwise, a mask with few colors could be read in another way than the other masks with the same palette.
    """
    by_index = any(mask.by_index for mask in masks.values())
    chosen = dict(masks)
    for image_id, mask in masks.items():
        if mask.has_indices and by_index:
            mask.path.with_suffix(INDICES_SUFFIX).replace(mask.path)
            chosen[image_id] = mask._replace(notes=[*mask.notes, BY_INDEX])
        elif mask.has_indices:
            mask.path.with_suffix(INDICES_SUFFIX).unlink()
    return chosen


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
