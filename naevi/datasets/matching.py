"""Tell images and masks apart, and find the masks of each image, by the names of all pictures of a data set.

Names decide before any file is read. `LAYOUTS` has the ways in which data sets are published.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from naevi.config import PLACEHOLDER
from naevi.datasets.layout import part_of, safe_name, stem

# Folders of images and of masks.
IMAGES = r"(?:images?|imgs?|inputs?|originals?|photos|photographs|pictures|training_images|jpegimages|leftimg8bit)"
MASKS = (
    r"(?:masks?|labels?|annotations?|trimaps|ground[ _]?truths?|gt|gtfine|manual|segmentations?"
    r"|segmentationclass(?:aug)?<classes>)"
)
# What may follow the name of an image in the name of its mask.
ENDING = r"[ _-](?:masks?|segmentation|seg|lesion|labels?|gt|anno|annotation|matte<classes>)(?:[ _-]?\d+)?"
CLASSES = "<classes>"  # in these expressions: becomes the names of classes if each class has its own masks
ABOVE, BELOW = r"(?P<above>.*/|)", rf"(?P<below>(?!(?:.*/)?(?:{IMAGES}|{MASKS})/).+)"
# Pictures beside images that are neither images nor masks: of ISIC, PH2, VOC, Cityscapes, and of a second annotator.
COMPANIONS = re.compile(r".*_superpixels|.*_roi/.*|(.*/)?SegmentationObject/.*|.*_instanceIds|.*_2ndHO", re.IGNORECASE)


class Layout(NamedTuple):
    """How a data set names its pictures: expressions for whole paths with suffix, regardless of case.

    An image and a mask belong together if all named groups of their expressions are equal. Of several expressions for
    masks, the first one that leads to an image counts. So equal names come before names with an ending.
    """

    name: str
    image: str
    masks: tuple[str, ...]


USUAL_LAYOUT = "images/ and masks/"
ANY = r"\.\w+"  # the suffix of a picture


def _two_folders(images: str, masks: str) -> tuple[str, tuple[str, ...]]:
    """Return the expressions for images and masks with equal paths in two folders. A folder can hold several masks."""
    names = (BELOW, BELOW + ENDING, f"{BELOW}/[^/]+")
    return f"{ABOVE}{images}/{BELOW}{ANY}", tuple(f"{ABOVE}{masks}/{name}{ANY}" for name in names)


LAYOUTS = [
    Layout(
        "ISIC's folders",
        rf"(?P<above>.*)ISIC.?\d+_(?:Task1-2_)?(?P<part>\w+)_(?:Input|Data)/(?P<id>[^/]+){ANY}",
        (rf"(?P<above>.*)ISIC.?\d+_(?:Task1_)?(?P<part>\w+?)_(?:Part1_)?GroundTruth/(?P<id>[^/]+)_segmentation{ANY}",),
    ),
    Layout(
        "PH2's folders",
        rf"{ABOVE}(?P<id>[^/]+)/(?P=id)_Dermoscopic_Image/(?P=id){ANY}",
        (rf"{ABOVE}(?P<id>[^/]+)/(?P=id)_lesion/(?P=id)_lesion\.bmp",),
    ),
    Layout(
        "DRIVE's folders", rf"{ABOVE}images/(?P<id>\d+)_\w+{ANY}", (rf"{ABOVE}1st_manual/(?P<id>\d+)_?manual1{ANY}",)
    ),
    Layout("CHASE's names", rf"{ABOVE}(?P<id>Image_\d+[LR]){ANY}", (rf"{ABOVE}(?P<id>Image_\d+[LR])_1stHO{ANY}",)),
    Layout(
        "Cityscapes' folders",
        rf"{ABOVE}leftImg8bit/(?P<id>.*)_leftImg8bit{ANY}",
        (rf"{ABOVE}gtFine/(?P<id>.*)_gtFine_labelIds{ANY}",),
    ),
    Layout(
        "a folder for each image, with several masks",
        rf"{ABOVE}(?P<id>[^/]+)/images/(?P=id){ANY}",
        (rf"{ABOVE}(?P<id>[^/]+)/masks/[^/]+{ANY}",),
    ),
    Layout(USUAL_LAYOUT, *_two_folders("images", "masks")),
    Layout("two folders", *_two_folders(IMAGES, MASKS)),
    Layout(
        "two folders, whatever the folders in them",
        rf"(?:.*/)?{IMAGES}/(?!(?:.*/)?(?:{IMAGES}|{MASKS})/)(?:.*/)?(?P<id>[^/]+){ANY}",
        tuple(
            rf"(?:.*/)?{MASKS}/(?!(?:.*/)?(?:{IMAGES}|{MASKS})/)(?:.*/)?{name}{ANY}"
            for name in ("(?P<id>[^/]+)", rf"(?P<id>[^/]+){ENDING}", "(?P<id>[^/]+)/[^/]+")
        ),
    ),
    Layout(
        "a folder beside that of the images",
        rf"{ABOVE}(?P<folder>[^/]+)/(?P<id>[^/]+){ANY}",
        tuple(
            rf"{ABOVE}(?P<folder>[^/]+?)_?(?:annot|{MASKS})/{name}{ANY}"
            for name in ("(?P<id>[^/]+)", rf"(?P<id>[^/]+){ENDING}")
        ),
    ),
    Layout("masks beside their images", rf"(?P<id>.+){ANY}", (rf"(?P<id>.+){ENDING}{ANY}",)),
    Layout(
        "masks beside their images, as PNG files",
        r"(?P<id>.+)\.(?:jpe?g?|jfif|webp|bmp|tiff?|hei[cf])",
        (r"(?P<id>.+)\.png",),
    ),
]
DEFAULT = next(layout for layout in LAYOUTS if layout.name.startswith("two folders, "))

_Groups = tuple[tuple[str, str], ...]


class Matching(NamedTuple):
    """What the pictures of a data set are."""

    layout: str  # the name of the layout
    images: dict[str, str]  # the name of each image by its path: unique among the images of its part
    masks: dict[str, str]  # the same for masks
    owners: dict[str, str]  # the path of the image of each mask by the mask's path, "" without an image


def match_pictures(
    paths: Sequence[str],
    classes: Sequence[str] = (),
    layouts: Sequence[Layout] = LAYOUTS,
    annotated: Mapping[str, str] | None = None,
) -> Matching:
    """Return the images and masks among pictures, in the layout that gives the most images a mask.

    `paths` are relative to the data set. `classes` are names that masks can end with, or folders of masks have. Without
    any pair, the layout has two folders, images and masks.

    `annotated` has the owners (see `Matching`) of masks that are drawn from annotations. Their images are images in any
    layout, and so are pictures in the same folders that aren't masks.
    """
    used = [path for path in paths if not COMPANIONS.fullmatch(str(PurePosixPath(path).with_suffix("")))]
    found = {layout: _apply(layout, used, classes) for layout in layouts}
    best = max(found, key=lambda layout: len(set(found[layout].owners.values()) - {""}))
    if not any(found[best].owners.values()) and DEFAULT in found:
        best = DEFAULT
    images, owners = found[best]
    name = best.name
    if annotated:
        drawn = set(annotated.values()) - {""}
        owners = {path: owner for path, owner in owners.items() if path not in drawn}
        name = f"{name}, and COCO annotations" if any(owners.values()) else "COCO annotations"
        folders = {PurePosixPath(path).parent for path in drawn}
        in_folders = {path for path in used if path not in owners and PurePosixPath(path).parent in folders}
        images = sorted({*images, *drawn, *in_folders})
        owners |= annotated
    return Matching(name, _unique_names(images), _unique_names(list(owners)), owners)


class _Applied(NamedTuple):
    images: list[str]  # paths
    owners: dict[str, str]  # see `Matching`


def pattern_layout(images: str, masks: str) -> Layout:
    """Return the layout of two patterns, such as {patient}/{id}.jpg and {patient}/labels/{id}_*.png.

    {id} or any other name in braces is a part of a path that is equal in an image and its masks, * is any text without
    a slash, and ** any text.
    """
    return Layout("data.patterns", _to_expression(images), (_to_expression(masks),))


def _to_expression(pattern: str) -> str:
    expression, known = "", set[str]()
    for token in re.split(rf"({PLACEHOLDER.pattern}|\*+)", pattern):
        if PLACEHOLDER.fullmatch(token):
            expression += f"(?P={token[1:-1]})" if token in known else f"(?P<{token[1:-1]}>[^/]+)"
            known.add(token)
        else:
            expression += {"*": "[^/]*", "**": ".*"}.get(token, re.escape(token))
    return expression


def _apply(layout: Layout, paths: Sequence[str], classes: Sequence[str]) -> _Applied:
    names = "".join(f"|{re.escape(name)}" for name in classes)
    patterns = [pattern.replace(CLASSES, names) for pattern in (layout.image, *layout.masks)]
    image, *masks = (re.compile(pattern, re.IGNORECASE) for pattern in patterns)
    of_image = {path: _groups(match) for path in paths if (match := image.fullmatch(path))}
    by_groups: dict[_Groups, list[str]] = {}
    for path, groups in of_image.items():
        by_groups.setdefault(groups, []).append(path)
    found: dict[str, str] = {}
    for path in paths:
        keys = [_groups(match) for pattern in masks if (match := pattern.fullmatch(path))]
        owners = [by_groups[key][0] for key in keys if len(by_groups.get(key, [])) == 1]
        owners = [owner for owner in owners if owner != path and len({part_of(owner), part_of(path)} - {""}) < 2]
        if owners or (keys and path not in of_image):
            found[path] = next(iter(owners), "")
    images = [path for path in of_image if path not in found]
    return _Applied(images, {path: owner for path, owner in found.items() if owner not in found})


def _groups(match: re.Match[str]) -> _Groups:
    return tuple(sorted((name, (value or "").casefold()) for name, value in match.groupdict().items()))


def _unique_names(paths: Sequence[str]) -> dict[str, str]:
    """Return a name for each path: that of the file without suffix, or with its folders if others have the same."""
    keys = {path: (part_of(path), stem(path).casefold()) for path in paths}
    count = Counter(keys.values())
    return {
        path: safe_name(stem(path) if count[key] == 1 else "_".join([*PurePosixPath(path).parent.parts, stem(path)]))
        for path, key in keys.items()
    }
