"""A user's own images: a folder or archive with images/, masks/ of the same names and, if any, labels.csv."""

import io
import re
from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from naevi import paths
from naevi.config import Name
from naevi.images import SUFFIXES, classes, read_image, read_levels, strange, write_image, write_mask
from naevi.refusal import Refusal, reason, some

MISSING = (
    "your images are not here yet, and the ways on are:\n"
    "  NAEVI_SOURCE=<folder or archive> make repro\n"
    f"  put the folder or archive into {paths.EXTERNAL}/, then make repro\n"
    "It holds images/<id>.png, masks/<id>.png (or other pictures) and, if any, labels.csv."
)
COLUMNS = ["image_id", "diagnosis", "group", "split", "fold"]
DIAGNOSIS = ["diagnosis", "class", "label"]  # the same, by other names
UNLABELLED = "unlabelled"
PARTS = ["train", "val", "test"]
LONGEST = 200  # bytes of a file's name; file systems take 255, and figures put a few before it

_MASK = re.compile(r"(?<=.)_(segmentation|mask|lesion)$", re.IGNORECASE)  # ISIC's and PH2's names of masks
_SUFFIX = re.compile(f"({'|'.join(map(re.escape, SUFFIXES))})$", re.IGNORECASE)


def part(name: str) -> str:
    """What a file is by its path: images or masks (the last folder called so), labels (labels.csv), else nothing."""
    *above, file = Path(name.lower()).parts
    if file == "labels.csv":
        return "labels"
    return next((folder for folder in reversed(above) if folder in ("images", "masks")), "")


def wanted(name: str) -> bool:
    """Whether a file is one that `collect` takes."""
    return part(name) != ""


def collect(files: Iterable[tuple[str, str, bytes]], folder: Path, values: list[int]) -> pd.DataFrame:
    """Write folder/images/<id>.png (RGB) and folder/masks/<id>.png (classes) at native size; return the labels.

    A file is its part (images, masks or labels), name and bytes; one at a time is held. `values` are those in masks by
    class. An id is a file's name without suffix. The labels' columns: image_id (rising), diagnosis ("unlabelled" where
    no labels.csv is) and, where labels.csv has them, group (text), and split (train, val, test) or fold (0, 1, …).

    Raises Refusal for files that can't be read, for values that no class has, for images and masks that aren't pairs
    of one size, and for a labels.csv that doesn't fit them, each with all that are wrong in this way.
    """
    names: dict[str, dict[str, str]] = {"images": {}, "masks": {}, "labels": {}}
    sizes: dict[str, dict[str, str]] = {"images": {}, "masks": {}}
    unknown: dict[str, list[int]] = {}
    doubles, spoilt, table = [], [], b""
    for kind in sizes:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for kind, name, data in files:
        image_id = "" if kind == "labels" else _id(kind, name)
        if image_id in names[kind]:
            doubles.append(f"{names[kind][image_id]} and {name}")
            continue
        names[kind][image_id] = name
        if kind == "labels":
            table = data
            continue
        try:
            sizes[kind][image_id], found = _write(kind, name, data, folder / kind / f"{image_id}.png", values)
            if found:
                unknown[name] = found
        except Refusal as refusal:
            spoilt.append(str(refusal))
    _check_files(names, doubles, spoilt)
    _check_values(unknown, values)
    _check_sizes(sizes)
    ids = sorted(sizes["images"])
    if not names["labels"]:
        return pd.DataFrame({"image_id": ids, "diagnosis": UNLABELLED})
    return _labels(names["labels"][""], table, ids)


def _id(kind: str, name: str) -> str:
    stem = normalize("NFC", Path(name).stem)  # macOS may store an umlaut as two characters
    return _MASK.sub("", stem) if kind == "masks" else stem


def _write(kind: str, name: str, data: bytes, path: Path, values: list[int]) -> tuple[str, list[int]]:
    """Write an image or a mask; return its size in words, and the values that no class has."""
    if not path.name.isprintable():
        raise Refusal(f"{name!r} has a character in its name that can't be printed; rename it.")
    if len(path.name.encode()) > LONGEST:
        raise Refusal(f"{name} has a name of more than {LONGEST} bytes; shorten it.")
    if not _SUFFIX.search(name):
        raise Refusal(f"{name} doesn't end like a picture ({', '.join(SUFFIXES)}); take it out.")
    if kind == "images":
        pixels, found = read_image(data, name), []
        write_image(path, pixels)
    else:
        levels = read_levels(data, values, name)
        pixels, found = classes(levels, values), strange(levels, values)
        write_mask(path, pixels)
    return f"{pixels.shape[1]}x{pixels.shape[0]} px", found


def _check_files(names: dict[str, dict[str, str]], doubles: list[str], spoilt: list[str]) -> None:
    if doubles:
        raise Refusal(f"each image and each mask has one file, and labels.csv is one; keep one of {some(doubles)}.")
    if spoilt:
        lines = spoilt[:10] + ["…"] * (len(spoilt) > 10)
        raise Refusal("\n  ".join([f"{len(spoilt)} file(s) can't be used as images or masks:", *lines]))
    if not names["images"]:
        raise Refusal(
            "no images were found; put them into a folder images/, their masks with the same names into masks/ "
            "beside it, and labels.csv, if any, beside both."
        )
    lacking = _lacking({"mask": names["masks"], "image": names["images"]})
    if lacking:
        raise Refusal(
            f"{lacking}; a mask in masks/ has the name of its image in images/, whatever their formats "
            "(_segmentation, _mask or _lesion may follow)."
        )


def _check_values(unknown: dict[str, list[int]], values: list[int]) -> None:
    found = sorted(set().union(*unknown.values()))
    if found:
        shown = ", ".join(map(str, found[:20])) + ", … (JPEG and resizing blur masks)" * (len(found) > 20)
        raise Refusal(
            f"{len(unknown)} mask(s) hold values that no class has, {shown} in {some(unknown)}; data.classes has "
            f"{', '.join(map(str, values))}, so name every value there, or mend the masks."
        )


def _check_sizes(sizes: dict[str, dict[str, str]]) -> None:
    differ = [
        f"{image_id} ({size}, its mask {sizes['masks'][image_id]})"
        for image_id, size in sorted(sizes["images"].items())
        if sizes["masks"][image_id] != size
    ]
    if differ:
        raise Refusal(
            f"an image and its mask have one size, and these differ: {some(differ)}; mend them or take them out."
        )


def _lacking(sides: dict[str, Iterable[str]]) -> str:
    """Which ids are on one of two sides only: "there is no mask for a, b and no image for c", or nothing."""
    (one, ones), (other, others) = ((what, set(ids)) for what, ids in sides.items())
    told = [f"no {what} for {some(sorted(ids))}" for what, ids in ((one, others - ones), (other, ones - others)) if ids]
    return "there is " * bool(told) + " and ".join(told)


def _labels(name: str, data: bytes, image_ids: list[str]) -> pd.DataFrame:
    """The table of labels.csv, checked."""
    table = _table(name, data)
    table["image_id"] = table.image_id.str.normalize("NFC").str.replace(_SUFFIX, "", regex=True)
    double = table.image_id[table.image_id.duplicated()].unique()
    if len(double):
        raise Refusal(f"{name} has more than one row for {some(double)}; keep one.")
    lacking = _lacking({"image": image_ids, "row": table.image_id})
    if lacking:
        raise Refusal(f"{lacking} in {name}; it has one row for each image, with its name as image_id.")
    if "diagnosis" not in table:
        table["diagnosis"] = UNLABELLED
    try:
        TypeAdapter(list[Name]).validate_python(table.diagnosis.unique().tolist())
    except ValidationError as error:
        odd = some(repr(problem["input"]) for problem in error.errors())
        raise Refusal(
            f"{name} has diagnoses that can't be keys of reports, {odd}; one has letters, digits, blanks, _ and -, "
            "50 at most, and starts with none of the blanks and -."
        ) from error
    if "split" in table and not table.split.isin(PARTS).all():
        words = table.split[~table.split.isin(PARTS)].unique()
        raise Refusal(f"{name} has {some(words)} in split; it takes {', '.join(PARTS)}.")
    if "fold" in table:
        folds = table.fold.unique()
        if set(folds) != set(map(str, range(len(folds)))):
            raise Refusal(f"{name} has {some(sorted(folds))} in fold; it takes whole numbers from 0 on without gaps.")
        table["fold"] = table.fold.astype(int)
    return table.sort_values("image_id", ignore_index=True)[[column for column in COLUMNS if column in table]]


def _table(name: str, data: bytes) -> pd.DataFrame:
    """Those of COLUMNS that a CSV file has, as text, without empty cells."""
    try:
        table = pd.read_csv(
            io.BytesIO(data),
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,  # they are left out below, so that the index tells the line
            skipinitialspace=True,
            encoding="utf-8-sig",
        )
    except ValueError as error:  # pandas' errors are some, too
        raise Refusal(f"{name} is no table in UTF-8 with commas ({reason(error)}); save it as CSV UTF-8.") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise Refusal(f"{name} has rows with more cells than its first line has names; name every column there.")
    for several in (DIAGNOSIS, ["split", "fold"]):
        given = table.columns.intersection(several)
        if len(given) > 1:
            raise Refusal(f"{name} has the columns {some(given)}, of which it takes one; remove the others.")
    if "image_id" not in table:
        raise Refusal(
            f"{name} has no column image_id, but {some(table.columns)}; name the one with the images' names so, "
            "and put commas between columns."
        )
    table = table.rename(columns=dict.fromkeys(DIAGNOSIS, "diagnosis"))
    unused = table.columns.difference(COLUMNS, sort=False)
    if len(unused):
        print(f"naevi: {name} has columns that are not used: {', '.join(unused)}.")
    used: pd.DataFrame = table[table.columns.intersection(COLUMNS)].apply(lambda column: column.str.strip())
    table = used[(used != "").any(axis=1)].copy()
    for column in table:
        empty = table.index[table[column] == ""] + 2
        if len(empty):
            raise Refusal(
                f"{name} has no {column} in line {some(map(str, empty))}; fill every cell, or remove the column."
            )
    return table
