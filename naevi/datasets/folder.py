"""Read a user's own images: a folder or archive with images/, masks/ and, optionally, a table of labels."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from naevi.config import DataConfig
from naevi.datasets.conversion import (
    OTHER_PICTURES,
    Converted,
    Files,
    ReadImage,
    apply_white,
    choose_palette_reading,
    convert_files,
    delete_png,
    move_png,
)
from naevi.datasets.decoding import read_image
from naevi.datasets.depth import White
from naevi.datasets.labels import label_images
from naevi.datasets.layout import FORMULA_START, Key, unique_ids
from naevi.datasets.legend import Legend, read_legend
from naevi.datasets.mask_names import assign_masks
from naevi.datasets.mask_values import ALPHA_USED
from naevi.datasets.matching import Matching
from naevi.datasets.pairs import empty_mask, match_orientation, match_pairs, resize_masks
from naevi.errors import UserError, first_ten, list_problems
from naevi.files import write_json
from naevi.images.files import IMAGE_SUFFIXES, READING_FILE
from naevi.tables import Decision

ROLES = ("images", "masks")
NEAREST = "Masks with values between those of classes, read as the nearest class"
LEFT_VOID = "Masks with pixels of no known class, which are left out of the loss and the scores"


def is_table(name: str) -> bool:
    """Return whether a file is a table by its name."""
    return name.lower().endswith(".csv")


def is_picture(name: str) -> bool:
    """Return whether a file is a picture by its name, also of a format that isn't read."""
    return name.lower().endswith((*IMAGE_SUFFIXES, *OTHER_PICTURES))


def import_folder(
    files: Iterable[tuple[str, str, bytes]],
    folder: Path,
    data: DataConfig,
    read: ReadImage = read_image,
    matching: Matching | None = None,
) -> tuple[pd.DataFrame, list[Decision]]:
    """Write folder/images/, folder/masks/<id>.png (class indices), and reading.json. See `images.folders`.

    Each file is given by its role (images, masks or labels), name and content. One file at a time is in memory. An
    image id is its name in `matching`, or the file name without its suffix, see `layout.unique_ids`. `read` reads an
    image. Images and masks that are left out don't affect how the others are read.

    Returns the labels, see `labels.label_images`, and every decision that was made because files can be read in several
    ways.

    Raises UserError if files can't be read, if masks have undeclared values, if images and masks aren't pairs of one
    size, and if the table doesn't match them. The message lists all files with the problem.
    """
    for role in ROLES:
        (folder / role).mkdir(parents=True, exist_ok=True)
    found = convert_files(files, folder, data, read, matching.images | matching.masks if matching else {})
    found = assign_masks(found, data.masks.several, matching.owners if matching else {})
    _check_files(found)
    ids, renamed = unique_ids(found.images, found.masks)
    images, masks = _rename(found.images, ids), _rename(found.masks, ids)
    if data.masks.missing == "empty":
        masks |= {name: empty_mask(images[name], folder) for name in sorted(images.keys() - masks.keys())}
    if data.masks.sizes == "resize":
        masks = resize_masks(images, masks, data.reading.orientation)
    kept, left_out = match_pairs(images, masks, data.mismatches, data.reading.orientation)
    labels = label_images(found.tables, {image_id: images[image_id].name for image_id in kept}, data)
    used = labels.table.image_id.tolist()
    images, masks = _keep(images, used), _keep(masks, used)
    _check_alpha(masks)
    masks = choose_palette_reading(masks)
    _check_values(masks, read_legend(data))
    white = apply_white(images.values(), data.reading)
    masks, turned = match_orientation(images, masks, data.reading.orientation)
    write_json(folder / READING_FILE, {"white": white, "image_alpha": data.reading.image_alpha})
    how_read = [*_describe_reading(images, masks, used), _describe_white(images, used, white, data.reading.white)]
    changed = [
        _describe_pixels(NEAREST, {name: mask.changed for name, mask in masks.items()}, "data.masks.values"),
        _describe_pixels(LEFT_VOID, {name: mask.void for name, mask in masks.items()}, "data.masks.void"),
        *turned,
    ]
    left_out.append(Decision("Pictures in formats that aren't read, left out", found.unread, "data.mismatches"))
    return labels.table, [*how_read, *changed, *left_out, *renamed, _describe_formulas(images), *labels.decisions]


def _check_files(found: Files) -> None:
    if found.duplicates:
        raise UserError(f"Each image and each mask must be one file. Keep one of {first_ten(found.duplicates)}.")
    if found.unusable:
        head = f"{len(found.unusable)} file(s) can't be used as images or masks:"
        raise UserError(list_problems(head, _lines(found.unusable)))
    if not found.images:
        raise UserError(
            "No images were found. Put them into a folder images/, and their masks into a folder masks/ beside it, "
            "with the same names. An optional labels.csv belongs beside both."
        )


def _lines(unusable: list[tuple[str, str]]) -> list[str]:
    """Return a line for each problem and the files that have it. `unusable` has name and message of each file."""
    files: dict[str, list[str]] = {}
    for name, message in unusable:
        start = name if message.startswith(name) else ""
        files.setdefault(message.removeprefix(start), []).append(start)
    return [
        names[0] + f" and {len(names) - 1} other(s)" * (len(names) > 1) + problem for problem, names in files.items()
    ]


def _rename(converted: dict[Key, Converted], ids: dict[Key, str]) -> dict[str, Converted]:
    """Give each file the name of its id; return the files by id."""
    renamed = {}
    for key, file in converted.items():
        part, _ = key
        path = (file.path.parents[1] if part else file.path.parent) / f"{ids[key]}{file.path.suffix}"
        renamed[ids[key]] = move_png(file, path)
    for emptied in {file.path.parent for (part, _), file in converted.items() if part}:
        emptied.rmdir()
    return renamed


def _keep(converted: dict[str, Converted], used: list[str]) -> dict[str, Converted]:
    """Return the files with these ids. The others are deleted."""
    for image_id in converted.keys() - set(used):
        delete_png(converted[image_id])
    return {image_id: converted[image_id] for image_id in used}


def _check_alpha(masks: dict[str, Converted]) -> None:
    by_alpha = [mask.name for mask in masks.values() if ALPHA_USED in mask.notes]
    open_ones = [mask.name for mask in masks.values() if mask.one_value]
    if by_alpha and open_ones:
        raise UserError(
            f"{len(by_alpha)} mask(s) are in the alpha channel, such as {by_alpha[0]}. {len(open_ones)} other(s) are "
            f"opaque and of one color, so they could be all foreground or all background: "
            f"{first_ten(sorted(open_ones))}. "
            "Set data.reading.mask_alpha to use or ignore."
        )


def _check_values(masks: dict[str, Converted], legend: Legend) -> None:
    undeclared = [mask for mask in masks.values() if mask.undeclared]
    unknown = sorted(set().union(*(mask.undeclared for mask in undeclared)))
    if unknown:
        shown = ", ".join(map(legend.describe, unknown[:20])) + ", …" * (len(unknown) > 20)
        declared = ", ".join(map(legend.describe, legend.values))
        remedy = "Add the values to data.classes, or to data.masks.void if their class is unknown"
        lowest, highest = min(legend.values), max(legend.values)
        blurred = "set data.masks.values to nearest if JPEG or resizing has blurred the masks"
        # Few values are probably classes. As the nearest class, they could all become background.
        if legend.one_class:
            remedy = f"S{blurred[1:]}"
        elif sum(legend.are_colors or lowest < value < highest for value in unknown) > len(legend.values):
            remedy += f", or {blurred}"
        raise UserError(
            f"{len(undeclared)} mask(s) contain undeclared values: {shown} in "
            f"{first_ten(mask.name for mask in undeclared)}. Declared are {declared}. {remedy}."
        )


def _describe_reading(images: dict[str, Converted], masks: dict[str, Converted], used: list[str]) -> list[Decision]:
    """Return the decisions that were made while the images and masks in use were decoded."""
    ids: dict[tuple[str, str], dict[str, None]] = {}
    for image_id in used:
        for decision, parameter in images[image_id].notes + masks[image_id].notes:
            ids.setdefault((decision, parameter), {})[image_id] = None
    return [Decision(decision, list(ids[decision, parameter]), parameter) for decision, parameter in sorted(ids)]


def _describe_pixels(text: str, shares: dict[str, float], parameter: str) -> Decision:
    """Return a decision about a share of the pixels in each mask."""
    ids = [image_id for image_id, share in shares.items() if share]
    mean = sum(shares[image_id] for image_id in ids) / max(len(ids), 1)
    return Decision(f"{text} ({mean:.2%} of their pixels)", ids, parameter)


def _describe_formulas(images: dict[str, Converted]) -> Decision:
    changed = [image_id for image_id, image in images.items() if Path(image.name).name.startswith(FORMULA_START)]
    text = "Images whose names begin with =, +, - or @, as formulas do in spreadsheets, whose ids begin with _"
    return Decision(text, changed, "data.path")


def _describe_white(images: dict[str, Converted], used: list[str], white: float, setting: White) -> Decision:
    deep = [image_id for image_id in used if images[image_id].highest is not None]
    kind = f"{int(white).bit_length()} of 16 bits in use" if setting == "auto" else "more than 8 bits per channel"
    return Decision(f"Images with {kind}, white is {white:.10g}", deep, "data.reading.white")
