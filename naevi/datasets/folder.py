"""Read a user's own images: a folder or archive with images/, masks/ and, optionally, labels.csv."""

import re
from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize

import pandas as pd

from naevi.datasets.labels import IMAGE_SUFFIX, UNLABELLED, describe_unmatched, read_labels
from naevi.errors import UserError, first_ten
from naevi.images import (
    IMAGE_SUFFIXES,
    read_image,
    read_mask_values,
    undeclared_values,
    values_to_classes,
    write_image,
    write_mask,
)

# {folder} is data/external.
NO_IMAGES = (
    "Your images were not found. Either:\n"
    "  NAEVI_SOURCE=<folder or archive> make repro\n"
    "  put the folder or archive into {folder}/, then run make repro\n"
    "It contains images/<id>.png, masks/<id>.png (or other image formats) and, optionally, labels.csv."
)
MAX_NAME_BYTES = 200  # of a file name. File systems allow 255, and names of figures have a prefix.

_MASK_ENDING = re.compile(r"(?<=.)_(segmentation|mask|lesion)$", re.IGNORECASE)  # mask names of ISIC and PH2


def file_role(name: str) -> str:
    """Return the role of a file by its path: images or masks (its last folder with such a name), labels, or nothing."""
    *folders, file = Path(name.lower()).parts
    if file == "labels.csv":
        return "labels"
    return next((folder for folder in reversed(folders) if folder in ("images", "masks")), "")


def import_folder(files: Iterable[tuple[str, str, bytes]], folder: Path, values: list[int]) -> pd.DataFrame:
    """Write folder/images/<id>.png (RGB) and folder/masks/<id>.png (class indices) at native size; return the labels.

    A file is its role (images, masks or labels), name and content. One at a time is in memory. `values` has the value
    of each class in masks. An image id is the file name without its suffix.

    The labels have the columns image_id (rising), diagnosis ("unlabelled" without labels.csv) and, if labels.csv has
    them, group (text), and split (train, val, test) or fold (0, 1, …).

    Raises UserError if files can't be read, if masks have undeclared values, if images and masks aren't pairs of one
    size, and if labels.csv doesn't match them. The message lists all files with the problem.
    """
    names: dict[str, dict[str, str]] = {"images": {}, "masks": {}, "labels": {}}
    sizes: dict[str, dict[str, str]] = {"images": {}, "masks": {}}
    undeclared: dict[str, list[int]] = {}
    duplicates, unusable, table = [], [], b""
    for role in sizes:
        (folder / role).mkdir(parents=True, exist_ok=True)
    for role, name, data in files:
        image_id = "" if role == "labels" else _image_id(role, name)
        if image_id in names[role]:
            duplicates.append(f"{names[role][image_id]} and {name}")
            continue
        names[role][image_id] = name
        if role == "labels":
            table = data
            continue
        try:
            sizes[role][image_id], unknown = _convert(role, name, data, folder / role / f"{image_id}.png", values)
        except UserError as error:
            unusable.append(str(error))
            continue
        if unknown:
            undeclared[name] = unknown
    _check_files(names, duplicates, unusable)
    _check_values(undeclared, values)
    _check_sizes(sizes)
    ids = sorted(sizes["images"])
    if not names["labels"]:
        return pd.DataFrame({"image_id": ids, "diagnosis": UNLABELLED})
    return read_labels(names["labels"][""], table, ids)


def _image_id(role: str, name: str) -> str:
    stem = normalize("NFC", Path(name).stem)  # macOS may store an umlaut as two characters
    return _MASK_ENDING.sub("", stem) if role == "masks" else stem


def _convert(role: str, name: str, data: bytes, path: Path, values: list[int]) -> tuple[str, list[int]]:
    """Write an image or a mask; return its size as text, and its undeclared values."""
    if not path.name.isprintable():
        raise UserError(f"{name!r} has an unprintable character in its name. Rename it.")
    if len(path.name.encode()) > MAX_NAME_BYTES:
        raise UserError(f"{name} has a name of more than {MAX_NAME_BYTES} bytes. Shorten it.")
    if not IMAGE_SUFFIX.search(name):
        raise UserError(f"{name} doesn't have the suffix of an image ({', '.join(IMAGE_SUFFIXES)}). Remove it.")
    if role == "images":
        pixels, undeclared = read_image(data, name), []
        write_image(path, pixels)
    else:
        mask_values = read_mask_values(data, values, name)
        pixels, undeclared = values_to_classes(mask_values, values), undeclared_values(mask_values, values)
        write_mask(path, pixels)
    return f"{pixels.shape[1]}x{pixels.shape[0]} px", undeclared


def _check_files(names: dict[str, dict[str, str]], duplicates: list[str], unusable: list[str]) -> None:
    if duplicates:
        raise UserError(
            "Each image and each mask must be one file, and there can be only one labels.csv. "
            f"Keep one of {first_ten(duplicates)}."
        )
    if unusable:
        lines = unusable[:10] + ["…"] * (len(unusable) > 10)
        raise UserError("\n  ".join([f"{len(unusable)} file(s) can't be used as images or masks:", *lines]))
    if not names["images"]:
        raise UserError(
            "No images were found. Put them into a folder images/, and their masks into a folder masks/ beside it, "
            "with the same names. An optional labels.csv belongs beside both."
        )
    unmatched = describe_unmatched({"mask": names["masks"], "image": names["images"]})
    if unmatched:
        raise UserError(
            f"{unmatched}. A mask in masks/ must have the name of its image in images/. The formats may differ, and "
            "_segmentation, _mask or _lesion may follow the name."
        )


def _check_values(undeclared: dict[str, list[int]], values: list[int]) -> None:
    unknown = sorted(set().union(*undeclared.values()))
    if unknown:
        shown = ", ".join(map(str, unknown[:20])) + ", … (JPEG and resizing blur masks)" * (len(unknown) > 20)
        raise UserError(
            f"{len(undeclared)} mask(s) contain undeclared values: {shown} in {first_ten(undeclared)}. "
            f"data.classes has {', '.join(map(str, values))}. Add the values to data.classes or fix the masks."
        )


def _check_sizes(sizes: dict[str, dict[str, str]]) -> None:
    different = [
        f"{image_id} ({size}, its mask {sizes['masks'][image_id]})"
        for image_id, size in sorted(sizes["images"].items())
        if sizes["masks"][image_id] != size
    ]
    if different:
        raise UserError(
            f"An image and its mask must have the same size. These differ: {first_ten(different)}. "
            "Fix them or remove them."
        )
