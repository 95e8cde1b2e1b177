"""Find the image that a mask belongs to by its name, and join several masks of one image."""

import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

import numpy as np

from naevi.datasets.conversion import Converted, Files, delete_png
from naevi.datasets.decoding import Note
from naevi.datasets.layout import Key, safe_name
from naevi.errors import UserError, first_ten
from naevi.images.files import VOID, Pixels, is_foreground, read_mask, write_mask

JOINED = Note("Images with several masks, which are joined", "data.masks.several")
OVERLAPPING = Note(
    "Images whose masks give a pixel different classes, of which the one with the highest value counts",
    "data.masks.several",
)
# For masks without a `matching`, such as those that `naevi validate` gets: of image x, x_segmentation, x_mask_1, …
ENDING = re.compile(r"(?<=.)_(segmentation|mask|lesion)(_\d+)?$", re.IGNORECASE)


def assign_masks(found: Files, several: str, owners: Mapping[str, str]) -> Files:
    """Return the files with each mask by the key of its image.

    `owners` has the name of each mask's image by the name of the mask. Those of other masks are found by their names.
    Several masks of one image are duplicates if `several` is refuse. Otherwise they are joined, see `join_classes`.

    Raises UserError if they differ in size.
    """
    names, keys = {name for _, name in found.images}, {image.name: key for key, image in found.images.items()}
    by_image: dict[Key, list[Converted]] = {}
    for key, mask in found.masks.items():
        owner = keys.get(owners.get(mask.name, "")) or image_key(key, mask.name, names)
        by_image.setdefault(owner, []).append(mask)
    joined = {key: masks for key, masks in by_image.items() if len(masks) > 1}
    if several == "refuse":
        duplicates = [" and ".join(mask.name for mask in masks) for masks in joined.values()]
        found.duplicates.extend(f"{text} (or set data.masks.several to union or classes)" for text in duplicates)
    else:
        by_image |= {key: [_join(masks)] for key, masks in joined.items()}
    return found._replace(masks={key: masks[0] for key, masks in by_image.items()})


def image_key(mask: Key, path: str, names: Collection[str]) -> Key:
    """Return the key of the image that a mask with this key and path belongs to. `names` are those of the images.

    Equal names come first: the mask left_lesion is that of an image left_lesion if there is one, otherwise of left. A
    folder with the name of an image holds masks of this image.
    """
    part, name = mask
    stripped, folder = ENDING.sub("", name), safe_name(PurePosixPath(path).parent.name)
    return part, next((candidate for candidate in (name, stripped, folder) if candidate in names), stripped)


def _join(masks: list[Converted]) -> Converted:
    first, *others = masks
    if len({mask.size for mask in masks}) > 1:
        raise UserError(
            f"The masks of one image must have the same size to be joined, but these differ: "
            f"{first_ten(mask.name for mask in masks)}. Remove some of them."
        )
    classes, overlap = read_mask(first.path), False
    for mask in others:
        more = read_mask(mask.path)
        overlap |= bool((is_foreground(classes) & is_foreground(more) & (classes != more)).any())
        classes = join_classes(classes, more)
        delete_png(mask)
    write_mask(first.path, np.ascontiguousarray(classes))
    return first._replace(
        notes=[*sorted({note for mask in masks for note in mask.notes}), JOINED, *[OVERLAPPING] * overlap],
        undeclared=tuple(sorted({value for mask in masks for value in mask.undeclared})),
        one_value=False,
        changed=max(mask.changed for mask in masks),
        void=float((classes == VOID).mean()),
    )


def join_classes(first: Pixels, second: Pixels) -> Pixels:
    """Return the union of two masks (H, W). The higher class index wins, then VOID, then the background."""
    joined = np.where(second == VOID, first, np.where(first == VOID, second, np.maximum(first, second)))
    void = (first == VOID) | (second == VOID)
    return np.where(void & (joined == 0), np.uint8(VOID), joined)
