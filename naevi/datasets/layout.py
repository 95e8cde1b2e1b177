"""Recognize the layout of a user's data set by its paths: folders of parts (train, val, test), and image ids.

How `folder` uses this module and `labels`:

- Paths are relative to the data set, because the names of folders above it have no meaning.
- Every .csv file has the role "labels" in any folder. `labels.label_images` chooses the table, and its decisions are
  printed with all others.
- While files are read, each image or mask has a key: `part_of(path)` and its name without suffix. Two images with the
  same key are duplicates. When all keys are known, `unique_ids` returns the ids. Images and masks are matched by id.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import takewhile
from pathlib import PurePosixPath
from unicodedata import normalize

from naevi.errors import UserError, first_ten
from naevi.tables import PARTS, Decision

# Names of folders and values of a column split, in lower case.
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "holdout": "test",
}

FORMULA_START = ("=", "+", "-", "@")  # spreadsheets take cells that begin with these for formulas

MAX_NAME_BYTES = 200  # of a file name. File systems allow 255, and other files have longer names made of it

Key = tuple[str, str]  # the part of its folder (train, val, test or "") and its name without suffix


def safe_name(name: str) -> str:
    """Return a name for tables that people open: with _ before it if a spreadsheet would take it for a formula."""
    return f"_{name}" if name.startswith(FORMULA_START) else name


def printable(name: str) -> str:
    """Return the name of a file for a table, or its repr if it isn't printable or not UTF-8."""
    return safe_name(name) if name.isprintable() else repr(name)


def file_key(name: str) -> str:
    """Return a name as file systems see it that don't tell upper and lower case, or forms of an umlaut, apart."""
    return normalize("NFC", name).casefold()


def shared_start(sequences: Collection[Sequence[str]]) -> int:
    """Return how many items all sequences share at their beginning, such as folders of paths."""
    return sum(1 for _ in takewhile(lambda items: len(set(items)) == 1, zip(*sequences, strict=False)))


def stem(path: str) -> str:
    """Return the name of a file without suffix. macOS may store an umlaut as two characters, which become one."""
    return normalize("NFC", PurePosixPath(path).stem)


def check_name(name: str, written: str) -> None:
    """Raise UserError if a file can't be written under the name `written`. `name` is the name it has, for messages."""
    if not written.isprintable():
        raise UserError(f"{name!r} has an unprintable character in its name. Rename it.")
    if len(written.encode()) > MAX_NAME_BYTES:
        raise UserError(f"{name} has a name of more than {MAX_NAME_BYTES} bytes. Shorten it.")


def part_of(path: str) -> str:
    """Return the part (train, val or test) of the innermost folder with such a name, or ""."""
    folders = PurePosixPath(path.replace("\\", "/")).parts[:-1]
    return next((PART_NAMES[name.lower()] for name in reversed(folders) if name.lower() in PART_NAMES), "")


def unique_ids(images: Collection[Key], masks: Collection[Key]) -> tuple[dict[Key, str], list[Decision]]:
    """Return the id for each key of images and masks, and the images whose id differs from their name.

    An id is the name. If the name occurs in several parts, the id begins with the part: train_1 and test_1.

    Raises UserError if an id with a part is the name of another file.
    """
    several = _repeated(images) | _repeated(masks)
    # An image in train/ and a mask outside such folders are a pair. An image in train/ and a mask in test/ aren't.
    several |= _repeated([key for key in {*images, *masks} if key[0]])
    ids = {key: "_".join(key) if key[0] and key[1] in several else key[1] for key in sorted({*images, *masks})}
    names, changed = {name for _, name in ids}, {key: image_id for key, image_id in ids.items() if image_id != key[1]}
    if taken := sorted(names & set(changed.values())):
        raise UserError(
            f"Images with the same name in several of the folders train, val and test get the ids {first_ten(taken)}, "
            "which are the names of other images. Rename one of each."
        )
    text = "Images with the same name in several of the folders train, val and test, whose ids begin with the folder"
    of_images = [changed[key] for key in sorted(images) if key in changed]
    return ids, [Decision(text, of_images, "data.split_folders")] if of_images else []


def _repeated(keys: Collection[Key]) -> set[str]:
    """Return the names that occur in more than one key."""
    return {name for name, number in Counter(name for _, name in set(keys)).items() if number > 1}


def given_parts(paths: dict[str, str]) -> dict[str, str]:
    """Return the part of each image from its path; empty unless all are in parts, and some in both train and test.

    `paths` has the path inside the data set for each image id.
    """
    parts = {image_id: part_of(path) for image_id, path in paths.items()}
    return parts if {"train", "test"} <= set(parts.values()) <= set(PARTS) else {}


def folder_split(
    paths: dict[str, str], split_folders: str, column: str | None
) -> tuple[dict[str, str], list[Decision]]:
    """Return the part of each image, empty unless folders are the split, and the decision about them.

    `split_folders` is the parameter (use or ignore). `column` is the column of the table that gives a split, if any.
    """
    found = {image_id: part_of(path) for image_id, path in paths.items()}
    counts = Counter(found.values())
    if len(counts) < 2:  # one folder for all images divides nothing
        return {}, []
    parts = given_parts(paths)
    missing = [part for part in ("train", "test") if part not in counts]
    if split_folders == "ignore":
        outcome = "not used as the split"
    elif column:
        outcome = f"not used as the split, because the table has a column {column}"
    elif parts:
        outcome = "used as the split"
    elif counts[""]:
        outcome = f"not used as the split, because {counts['']} image(s) are in none of them"
    else:
        outcome = f"not used as the split, because there is no folder {missing[0]}"
    named = " and ".join(f"{part} ({counts[part]})" for part in PARTS if counts[part])
    decision = Decision(f"Images in folders {named}, {outcome}", sorted(filter(found.get, found)), "data.split_folders")
    return (parts if split_folders == "use" and not column else {}), [decision]
