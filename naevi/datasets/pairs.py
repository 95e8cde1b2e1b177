"""Match images and masks by id, size and EXIF orientation."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from naevi.datasets.conversion import INDICES_SUFFIX, Converted
from naevi.datasets.decoding import Note
from naevi.datasets.labels import describe_unmatched
from naevi.datasets.orientation import better_outline, turn, turn_back
from naevi.errors import UserError, first_ten
from naevi.images.files import read_image, read_mask, write_mask
from naevi.tables import Decision

SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
TAKEN_AS_EMPTY = Note("Images without a mask, which is taken as empty", "data.masks.missing")
RESIZED = Note("Masks of another size than their image, resized to it", "data.masks.sizes")
Orientation = Literal["auto", "apply", "ignore"]

OWN, OF_IMAGE = "Masks read with their own EXIF orientation", "Masks read with the EXIF orientation of their images"
# The review page shows the images of decisions that end with "check them". Sizes leave no doubt.
BY_SIZE, BY_OUTLINE = "because only then their sizes agree", "because the outline fits better; check them"
DOUBTFUL = "Masks that may be turned relative to their images (EXIF orientation), kept as viewers show them; check them"
APPLIED = "Masks with another EXIF orientation than their images, both turned as viewers show them; check them"


def match_orientation(
    images: dict[str, Converted], masks: dict[str, Converted], setting: Orientation
) -> tuple[dict[str, Converted], list[Decision]]:
    """Return the masks turned like their images, and the decisions about pairs with different EXIF orientations.

    The pairs are those of `match_pairs`. Such a mask was drawn on the turned image or on the stored pixels. The size
    decides which, otherwise the outline.
    """
    matched, decided = dict(masks), dict[str, list[str]]()
    for image_id in sorted(images):
        image, mask = images[image_id], masks[image_id]
        if image.tag == mask.tag or setting == "ignore":
            continue
        text = APPLIED
        if setting == "auto":
            matched[image_id], text = _match(image, mask)
        if text:
            decided.setdefault(text, []).append(image_id)
    return matched, [Decision(text, ids, "data.reading.orientation") for text, ids in sorted(decided.items())]


def _match(image: Converted, mask: Converted) -> tuple[Converted, str]:
    """Return the mask of an image with another EXIF orientation, written again if turned, and the decision."""
    _, turned_size = sizes = _possible_sizes(image, mask)
    fitting = [size == image.size for size in sizes]
    own = read_mask(mask.path)
    turned = np.ascontiguousarray(turn(turn_back(own, mask.tag), image.tag))
    if all(fitting):
        if np.array_equal(own, turned):
            return mask, ""
        better, reason = better_outline(read_image(image.path), own, turned), BY_OUTLINE
    else:
        better, reason = fitting.index(True), BY_SIZE
    if better is None:
        return mask, DOUBTFUL
    if better == 0:
        return mask, f"{OWN}, {reason}"
    write_mask(mask.path, turned)
    return mask._replace(size=turned_size), f"{OF_IMAGE}, {reason}"


def _possible_sizes(image: Converted, mask: Converted) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the size of a mask with its own EXIF orientation, and with that of its image."""
    height, width = mask.size
    return mask.size, (width, height) if _exchange_sides(image, mask) else mask.size


def _exchange_sides(image: Converted, mask: Converted) -> bool:
    """Return whether the EXIF orientation of only one of the two exchanges height and width."""
    return (image.tag in SIDEWAYS) != (mask.tag in SIDEWAYS)


def _fit(image: Converted, mask: Converted, orientation: Orientation) -> bool:
    """Return whether `match_orientation` can give the mask the size of its image."""
    sizes = _possible_sizes(image, mask) if orientation == "auto" else [mask.size]
    return image.size in sizes


def resize_masks(
    images: dict[str, Converted], masks: dict[str, Converted], orientation: Orientation
) -> dict[str, Converted]:
    """Return the masks, those of another size resized if they have the aspect of their image.

    The pixel nearest in the mask is taken, so no new values arise. `orientation` is the parameter of params.yaml: a
    mask without EXIF orientation may be drawn on the stored pixels of an image that has one.
    """
    resized = dict(masks)
    for image_id in sorted(images.keys() & masks.keys()):
        image, mask = images[image_id], masks[image_id]
        if _fit(image, mask, orientation):
            continue
        turned = orientation == "auto" and _exchange_sides(image, mask)
        sizes = [image.size, image.size[::-1]] if turned else [image.size]
        if size := next((size for size in sizes if _has_aspect(mask.size, size)), None):
            for path in (mask.path, mask.path.with_suffix(INDICES_SUFFIX)):
                if path.exists():
                    pixels = Image.fromarray(read_mask(path)).resize(size[::-1], Image.Resampling.NEAREST)
                    write_mask(path, np.asarray(pixels))
            resized[image_id] = mask._replace(size=size, notes=[*mask.notes, RESIZED])
    return resized


def empty_mask(image: Converted, folder: Path) -> Converted:
    """Write a mask of background into folder/masks for an image without one, and return it."""
    path = folder / "masks" / image.path.name
    write_mask(path, np.zeros(image.size, np.uint8))
    return Converted(image.name, path, image.size, image.tag, [TAKEN_AS_EMPTY])


def _has_aspect(mask: tuple[int, int], image: tuple[int, int]) -> bool:
    """Return whether the size of a mask is that of its image, scaled, within a pixel of the smaller of the two."""
    long, short = (0, 1) if image[0] > image[1] else (1, 0)
    scale = mask[long] / image[long]
    return abs(image[short] * scale - mask[short]) <= max(scale, 1)


def match_pairs(
    images: dict[str, Converted], masks: dict[str, Converted], mismatches: str, orientation: Orientation
) -> tuple[list[str], list[Decision]]:
    """Return the ids of images that have a mask of their size, sorted, and the decisions about all others.

    `mismatches` and `orientation` are parameters of params.yaml.

    Raises UserError if there are others and `mismatches` is refuse, or if no pair remains.
    """
    both = sorted(images.keys() & masks.keys())
    kept = [image_id for image_id in both if _fit(images[image_id], masks[image_id], orientation)]
    different = sorted(set(both) - set(kept))
    without_mask, without_image = sorted(images.keys() - masks.keys()), sorted(masks.keys() - images.keys())
    if mismatches == "refuse":
        _refuse_unmatched(images, masks)
        _refuse_sizes({image_id: (images[image_id], masks[image_id]) for image_id in different})
    if not kept:
        raise UserError(
            "No image has a mask with its name and size, so data.mismatches: leave-out would leave out all "
            f"{len(images)} image(s) and {len(masks)} mask(s), such as "
            f"{first_ten(without_mask + without_image + different)}. Rename or replace the masks."
        )
    left_out = {
        "Images without a mask, left out": without_mask,
        "Masks without an image, left out": without_image,
        "Images whose mask has another size, left out": different,
    }
    return kept, [Decision(text, ids, "data.mismatches") for text, ids in left_out.items()]


def _refuse_unmatched(images: Collection[str], masks: Collection[str]) -> None:
    if unmatched := describe_unmatched({"mask": masks, "image": images}):
        raise UserError(
            f"{unmatched}. A mask in masks/ must have the name of its image in images/. The formats may differ, and "
            "_segmentation, _mask or _lesion may follow the name. Rename them, set data.patterns, or set "
            "data.mismatches to leave-out. If an image without a mask shows only background, set data.masks.missing "
            "to empty."
        )


def _refuse_sizes(pairs: dict[str, tuple[Converted, Converted]]) -> None:
    if pairs:
        texts = [f"{name} ({_size(image)}, its mask {_size(mask)})" for name, (image, mask) in pairs.items()]
        raise UserError(
            f"An image and its mask must have the same size. These differ: {first_ten(texts)}. Set data.mismatches to "
            "leave-out to leave them out, or data.masks.sizes to resize for masks with the aspect of their image."
        )


def _size(converted: Converted) -> str:
    height, width = converted.size
    return f"{width}x{height} px"
