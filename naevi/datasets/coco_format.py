"""The COCO format: what masks need of its JSON files, and how to draw polygons and run-length encoding (RLE)."""

import codecs
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle_tools
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from naevi.datasets.decoding import MAX_SIDE_PX
from naevi.errors import UserError, shorten
from naevi.images.files import Pixels

MIN_COORDINATES = 6  # of a polygon with an area


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)  # keys that aren't needed are ignored


Id = int | str
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]


class RunLengths(_Section):
    """RLE: the lengths of runs outside and inside, by column. Compressed if they are text."""

    size: tuple[int, int]  # height and width
    counts: str | list[Annotated[int, Field(ge=0)]]


Segmentation = RunLengths | list[list[float]] | None  # a polygon is a list of x and y in turn, in px


class CocoImage(_Section):
    """An image in a COCO file."""

    id: Id
    file_name: Annotated[str, Field(min_length=1)]
    width: Side
    height: Side


class Annotation(_Section):
    """An annotated object. Captions have no category."""

    image_id: Id
    category_id: Id | None = None
    segmentation: Segmentation = None


class Category(_Section):
    """A class, as a COCO file names it."""

    id: Id
    name: str


class CocoFile(_Section):
    """The parts of a COCO file that masks need."""

    images: list[CocoImage]
    annotations: list[Annotation]
    categories: list[Category]


def parse_coco(name: str, content: bytes) -> CocoFile | None:
    """Return the content of a COCO file with categories; None for any other JSON file, COCO's captions included.

    Raises UserError if it is malformed.
    """
    if b'"images"' not in content or b'"annotations"' not in content:  # saves time with many files of other formats
        return None
    try:
        coco = CocoFile.model_validate_json(content.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        problem, *others = error.errors()
        # Other formats aren't an object, or lack one of the lists.
        if any(len(other["loc"]) < 2 and other["type"] != "json_invalid" for other in [problem, *others]):
            return None
        place = ".".join(map(str, problem["loc"])) or "the file"
        raise UserError(
            f"{name} has COCO annotations that can't be read ({shorten(place)}: {shorten(problem['msg'])}). "
            "Export it again, or remove it."
        ) from error
    is_captions = coco.annotations and all(annotation.category_id is None for annotation in coco.annotations)
    return None if is_captions else coco


def has_outline(outline: Segmentation) -> bool:
    """Return whether an annotation has an outline that can be drawn."""
    return isinstance(outline, RunLengths) or bool(_polygons(outline))


def _polygons(outline: list[list[float]] | None) -> list[list[float]]:
    return [polygon for polygon in outline or [] if len(polygon) >= MIN_COORDINATES]


def draw_outline(outline: Segmentation, height: int, width: int) -> NDArray[np.bool_]:
    """Return the area (height, width) of polygons or RLE. Raises ValueError if it doesn't fit the size."""
    if isinstance(outline, RunLengths):
        return _draw_run_lengths(outline, height, width)
    polygons = _polygons(outline)
    for polygon in polygons:
        if len(polygon) % 2:
            raise ValueError("a polygon has an x without a y")
        for side, coordinates in ((width, polygon[::2]), (height, polygon[1::2])):
            if min(coordinates) < -side or max(coordinates) > 2 * side:  # the memory needed grows with its edges
                raise ValueError(f"a polygon is far outside the image of {width} x {height} px")
    area: Pixels = rle_tools.decode(rle_tools.merge(rle_tools.frPyObjects(polygons, height, width)))
    return area.astype(bool)


def _draw_run_lengths(outline: RunLengths, height: int, width: int) -> NDArray[np.bool_]:
    if outline.size != (height, width):
        raise ValueError(f"its RLE has {outline.size[1]} x {outline.size[0]} px, but the image {width} x {height} px")
    # pycocotools would leave pixels undefined that no run covers.
    if isinstance(outline.counts, str):  # incomplete run lengths are different ones when they are encoded again
        encoded = {"size": outline.size, "counts": outline.counts.encode()}
        complete = rle_tools.encode(rle_tools.decode(encoded))["counts"] == encoded["counts"]
    else:
        complete = sum(outline.counts) == height * width
        encoded = rle_tools.frPyObjects(outline.model_dump(), height, width) if complete else {}
    if not complete:
        raise ValueError("its run lengths don't cover the image")
    area: Pixels = rle_tools.decode(encoded)
    return area.astype(bool)
