"""Read COCO annotations, polygons and run-length encoding (RLE), as masks. CVAT and Label Studio export them.

Each image that a COCO file lists gets a mask, empty if it has no annotation. These masks go the same way as mask files.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from naevi.config import DataConfig, mask_number
from naevi.datasets.coco_format import CocoFile, Id, Segmentation, draw_outline, has_outline, parse_coco
from naevi.datasets.layout import file_key, safe_name, shared_start
from naevi.datasets.legend import to_rgb
from naevi.errors import UserError, first_ten, shorten
from naevi.images.files import MAX_PIXELS
from naevi.tables import Decision

OVERLAPPING = "Images with overlapping annotations of different classes, where the later one in the file counts"
WITHOUT_OUTLINE = "Images with annotations that have no outline, such as boxes, left out"


class _Listed(NamedTuple):
    """An image that a COCO file lists."""

    file: str  # the name of the COCO file
    mask: str  # the name of the mask that its annotations become
    path: str  # of the picture, "" if there is none
    size: tuple[int, int]  # height and width
    regions: list[tuple[str, Segmentation]]  # category and outline of each annotation, in the order of the file


class Annotations(NamedTuple):
    """The COCO annotations of a data set."""

    files: list[str]  # the names of the COCO files
    owners: dict[str, str]  # the path of the image of each mask by the mask's name, "" without an image
    masks: Iterator[tuple[str, bytes]]  # name and PNG of each mask, drawn one at a time
    decisions: list[Decision]  # complete when all masks are drawn


def is_json(name: str) -> bool:
    """Return whether a file can have COCO annotations by its name."""
    return name.lower().endswith(".json")


def read_annotations(files: Iterable[tuple[str, bytes]], pictures: Sequence[str], data: DataConfig) -> Annotations:
    """Return the annotations in those JSON files (name, content) that are COCO files.

    `pictures` are the paths of all pictures of the data set. Categories are classes by name, regardless of case.

    Raises UserError for malformed annotations, for categories that aren't classes, for images that two files list, and
    for annotations without an outline if data.mismatches is refuse.
    """
    coco = {name: parsed for name, content in files if (parsed := parse_coco(name, content))}
    listed = _list_images(coco, pictures)
    without_outline = [item.mask for item in listed if not _has_outlines(item)]
    if without_outline and data.mismatches == "refuse":
        raise UserError(
            f"{len(without_outline)} image(s) have COCO annotations without an outline, such as boxes: "
            f"{first_ten(without_outline)}. Draw outlines or remove these annotations, or set "
            "data.mismatches to leave-out to leave the images out."
        )
    values, decisions = _class_values(listed, data)
    overlapping: list[str] = []
    masks = _draw_masks(filter(_has_outlines, listed), values, data, overlapping)
    decisions.append(Decision(WITHOUT_OUTLINE, list(map(safe_name, without_outline)), "data.mismatches"))
    decisions.append(Decision(OVERLAPPING, overlapping, "data.path"))
    return Annotations(list(coco), {item.mask: item.path for item in listed}, masks, decisions)


def _list_images(coco: dict[str, CocoFile], pictures: Sequence[str]) -> list[_Listed]:
    by_name: dict[str, list[str]] = {}
    for path in pictures:
        by_name.setdefault(_file_key(path), []).append(path)
    listed = []
    for name, file in coco.items():
        categories: dict[Id | None, str] = {category.id: category.name.strip() for category in file.categories}
        regions: dict[Id, list[tuple[str, Segmentation]]] = {image.id: [] for image in file.images}
        for annotation in file.annotations:
            if annotation.image_id not in regions:
                raise UserError(
                    f"{name} has annotations of an image that it doesn't list, {annotation.image_id}. "
                    "Export it again, or remove it."
                )
            category = categories.get(annotation.category_id, f"number {annotation.category_id}")
            regions[annotation.image_id].append((category, annotation.segmentation))
        for image in file.images:
            path = _find_picture(image.file_name, name, by_name)
            size = (image.height, image.width)
            listed.append(_Listed(name, f"{path or image.file_name} (COCO)", path, size, regions[image.id]))
    repeated = Counter(item.mask for item in listed)
    if twice := [item for item in listed if repeated[item.mask] > 1]:
        raise UserError(
            f"COCO files list an image twice: {first_ten(f'{item.path} in {item.file}' for item in twice)}. "
            "Remove one of the files."
        )
    return listed


def _file_key(path: str) -> str:
    return file_key(PurePosixPath(path.replace("\\", "/")).name)


def _find_picture(file_name: str, coco_name: str, by_name: dict[str, list[str]]) -> str:
    """Return the path of the picture that a COCO file means, or "". `by_name` has all pictures by `_file_key`.

    Tools keep different parts of its path. Of several pictures with the name, it is the one that shares the most
    folders before the name, then one in a folder that the COCO file is named after, as in instances_train.json, then
    the one that is nearest to the COCO file.
    """
    candidates = by_name.get(_file_key(file_name), [])
    wanted = PurePosixPath(file_name.replace("\\", "/")).parts[-2::-1]
    home = PurePosixPath(coco_name)

    def fit(path: str) -> tuple[int, bool, int]:
        folders = PurePosixPath(path).parts[:-1]
        named = any(folder.casefold() in home.stem.casefold().split("_") for folder in folders)
        return shared_start([wanted, folders[::-1]]), named, shared_start([home.parts[:-1], folders])

    fits = {path: fit(path) for path in candidates}
    highest = max(fits.values(), default=None)
    best = [path for path in candidates if fits[path] == highest]
    if len(best) > 1:
        raise UserError(
            f"{coco_name} lists {shorten(file_name)}, which could be any of {first_ten(best)}. Write the folder into "
            "its file_name."
        )
    return best[0] if best else ""


def _has_outlines(item: _Listed) -> bool:
    """Return whether each annotation of an image has an outline."""
    return all(has_outline(outline) for _, outline in item.regions)


def _class_values(listed: list[_Listed], data: DataConfig) -> tuple[dict[str, int], list[Decision]]:
    """Return the mask value of each category that annotations have.

    With two classes, the only category is the foreground, whatever its name is.
    """
    classes = {name.casefold(): mask_number(value) for name, value in data.classes.items()}
    images: dict[str, list[str]] = {}
    for item in listed:
        for category in dict.fromkeys(category for category, _ in item.regions):
            images.setdefault(category, []).append(item.mask)
    unknown = {category: len(images[category]) for category in images if category.casefold() not in classes}
    if unknown and len(images) == 1 and len(classes) == 2:
        [category], foreground = images, data.names()[-1]
        text = f"Images with annotations of the only category, {shorten(category)}, read as the class {foreground}"
        return {category: data.values()[-1]}, [Decision(text, list(map(safe_name, images[category])), "data.classes")]
    if unknown:
        counts = first_ten(f"{category} ({number} image(s))" for category, number in sorted(unknown.items()))
        raise UserError(
            f"The COCO annotations have categories that aren't classes: {counts}. data.classes has "
            f"{', '.join(data.names())}. Add each of them to data.classes with a value of its own, or rename it."
        )
    return {category: classes[category.casefold()] for category in images}, []


def _draw_masks(
    listed: Iterable[_Listed], values: dict[str, int], data: DataConfig, overlapping: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield name and PNG of each mask. Add the names of those with overlapping classes to `overlapping`."""
    background, are_colors = data.values()[0], data.are_colors()
    dtype = np.dtype(np.uint32) if are_colors else np.min_scalar_type(max([background, *values.values()]))
    for item in listed:
        height, width = item.size
        if height * width > MAX_PIXELS:
            raise UserError(f"{item.mask} has {width} x {height} px, but at most {MAX_PIXELS:,} pixels are possible.")
        mask, overlaps = np.full(item.size, background, dtype), False
        for category, outline in item.regions:
            try:
                area = draw_outline(outline, height, width)
            except ValueError as error:
                raise UserError(f"{item.mask} has an annotation that can't be drawn: {error}.") from error
            below = mask[area]
            overlaps |= bool(((below != background) & (below != values[category])).any())
            mask[area] = values[category]
        if overlaps:
            overlapping.append(safe_name(item.mask))
        pixels = to_rgb(mask).astype(np.uint8) if are_colors else mask
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, format="PNG", compress_level=1)
        yield item.mask, content.getvalue()
