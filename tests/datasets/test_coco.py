"""COCO annotations become masks, as tools export them. All images have 6 x 4 px."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from naevi.config import Config
from naevi.datasets.raw import build_raw
from naevi.errors import UserError
from naevi.images.files import read_mask, write_image
from naevi.tables import read_decisions
from tests.helpers import HERE

ConfigWith = Callable[[dict[str, Any]], Config]

POLYGON = [[1, 1, 4, 1, 4, 3, 1, 3]]  # the corners of three by two pixels
RUN_LENGTHS = [5, 2, 2, 2, 2, 2, 9]  # by column: 4 + 1 outside, 2 inside, 1 + 1 outside, …
COMPRESSED = "5220007"
RECTANGLE = ["......", ".XXX..", ".XXX..", "......"]
EMPTY = ["......"] * 4
CVAT = "annotations/instances_default.json", "images/default/{name}.png", "{name}.png"


def annotation(segmentation: Any, image: str = "a", category: int = 1, **others: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0} | others


def rle(counts: Any, size: tuple[int, int] = (4, 6)) -> dict[str, Any]:
    return {"counts": counts, "size": list(size)}


def coco(
    *annotations: dict[str, Any], names: str = "a", file_name: str = "{name}.png", **others: Any
) -> dict[str, Any]:
    """Return the content of a COCO file whose images have their names as ids."""
    images = [{"id": name, "file_name": file_name.format(name=name), "width": 6, "height": 4} for name in names]
    categories = [{"id": 1, "name": "Lesion"}, {"id": 2, "name": "hair"}]
    return {"images": images, "categories": categories, "annotations": list(annotations)} | others


def write_json(content: Any, path: str = CVAT[0]) -> None:
    file = Path("data/mine") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def write_images(*paths: str) -> None:
    """Write images of noise, each of them different."""
    for number, path in enumerate(paths):
        (Path("data/mine") / path).parent.mkdir(parents=True, exist_ok=True)
        write_image(Path("data/mine") / path, np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8))


def read(config_with: ConfigWith, **others: Any) -> dict[str, list[str]] | str:
    """Read the data set; return its masks as rows of text, in which the classes are . X Y, or the message to users."""
    settings = {"data.source": "folder", "data.path": "data/mine", "data.classes": {"skin": 0, "lesion": 255}}
    try:
        build_raw(HERE, config_with(settings | others).data)
    except UserError as error:
        return str(error)
    paths = sorted((HERE.raw / "masks").iterdir())
    return {path.stem: ["".join(".XY"[value] for value in row) for row in read_mask(path)] for path in paths}


def decisions() -> dict[str, tuple[list[str], str]]:
    return {text: (ids, parameter) for text, ids, parameter in read_decisions(HERE)}


@pytest.mark.parametrize(
    "annotated",
    [
        annotation(POLYGON),
        annotation([[1, 1, 3, 1, 3, 3, 1, 3], [3, 1, 4, 1, 4, 3, 3, 3]]),
        annotation(rle(RUN_LENGTHS)),
        annotation(rle(RUN_LENGTHS), iscrowd=1),
        annotation(rle(COMPRESSED)),
    ],
    ids=["polygon", "two parts", "RLE", "crowd", "compressed RLE"],
)
def test_outlines_are_drawn_to_the_pixel(folder: Path, config_with: ConfigWith, annotated: dict[str, Any]) -> None:
    write_images("images/default/a.png")
    write_json(coco(annotated))

    assert read(config_with) == {"a": RECTANGLE}


@pytest.mark.parametrize(
    ("file", "image", "file_name"),
    [
        CVAT,
        ("result.json", "images/{name}.png", "images/{name}.png"),
        ("result.json", "images/{name}.png", "..\\media\\upload\\{name}.png"),
        ("annotations/instances_train2017.json", "train2017/{name}.png", "{name}.png"),
        ("train/_annotations.coco.json", "train/{name}.png", "{name}.png"),
        ("{name}.json", "{name}.png", "{name}.PNG"),
    ],
    ids=["CVAT", "Label Studio", "Label Studio on Windows", "COCO", "beside the images", "one file an image"],
)
@pytest.mark.parametrize("archive", [False, True], ids=["folder", "zip"])
def test_layouts_of_tools(
    folder: Path, config_with: ConfigWith, file: str, image: str, file_name: str, archive: bool
) -> None:
    """Images without an annotation get empty masks."""
    write_images(*(image.format(name=name) for name in "ab"))
    for name in "ab" if "{name}" in file else "a":
        names = name if "{name}" in file else "ab"
        annotated = [annotation(POLYGON)] if "a" in names else []
        write_json(coco(*annotated, names=names, file_name=file_name), file.format(name=name))
    if archive:
        shutil.make_archive("data/mine", "zip", "data/mine")

    assert read(config_with, **{"data.path": "data/mine.zip"} if archive else {}) == {"a": RECTANGLE, "b": EMPTY}
    assert decisions() == {
        "Images and masks told apart by the layout: COCO annotations": (["a", "b"], "data.path"),
    }


def test_a_file_for_each_part_is_a_predefined_split(folder: Path, config_with: ConfigWith) -> None:
    """Both parts have an image of the same name. The file is named after the part that it means."""
    write_images("images/train/a.png", "images/train/b.png", "images/test/a.png")
    write_json(coco(names="ab"), "annotations/instances_train.json")
    write_json(coco(annotation(POLYGON)), "annotations/instances_test.json")

    assert read(config_with) == {"b": EMPTY, "test_a": RECTANGLE, "train_a": EMPTY}
    assert (HERE.raw / "labels.csv").read_text().splitlines()[1:] == [
        "b,unlabelled,train",
        "test_a,unlabelled,test",
        "train_a,unlabelled,train",
    ]


def test_equal_names_are_told_apart_by_folders(folder: Path, config_with: ConfigWith) -> None:
    """In two files beside their images, and in one file that names the folders."""
    paths = [f"{part}/{place}/a.png" for part in ("one", "two") for place in ("left", "right")]
    write_images(*paths)
    write_json(coco(names="a", file_name="left/{name}.png"), "one/annotations.json")
    write_json(coco(annotation(POLYGON), names="a", file_name="left/{name}.png"), "two/annotations.json")
    write_json(coco(annotation(POLYGON), names="a", file_name="one/right/{name}.png"), "rest.json")

    masks = read(config_with, **{"data.mismatches": "leave-out"})

    assert masks == {"one_left_a": EMPTY, "one_right_a": RECTANGLE, "two_left_a": RECTANGLE}


def test_what_the_file_lists_is_an_image(folder: Path, config_with: ConfigWith) -> None:
    """Also a picture with the name of a mask. Saved by a text editor of Windows, the file begins with a mark."""
    write_images("a.png", "a_mask.png")
    images = [{"id": name, "file_name": f"{name}.png", "width": 6, "height": 4} for name in ("a", "a_mask")]
    write_json("\ufeff" + json.dumps(coco(annotation(POLYGON), images=images)))

    assert read(config_with) == {"a": RECTANGLE, "a_mask": EMPTY}


def test_categories_are_classes_by_name(folder: Path, config_with: ConfigWith) -> None:
    """Values with 16 bits are possible. Of overlapping classes the later annotation counts, which is said."""
    write_images("images/default/a.png")
    write_json(coco(annotation(POLYGON), annotation([[3, 0, 5, 0, 5, 2, 3, 2]], category=2)))

    masks = read(config_with, **{"data.classes": {"skin": 10, "lesion": 255, "Hair": 60000}})

    assert masks == {"a": ["...YY.", ".XXYY.", ".XXX..", "......"]}
    text = "Images with overlapping annotations of different classes, where the later one in the file counts"
    assert decisions()[text] == (["images/default/a.png (COCO)"], "data.path")


def test_the_only_category_is_the_foreground(folder: Path, config_with: ConfigWith) -> None:
    write_images("images/default/a.png", "images/default/b.png")
    write_json(coco(annotation(POLYGON, category=2), names="ab"))

    assert read(config_with) == {"a": RECTANGLE, "b": EMPTY}
    text = "Images with annotations of the only category, hair, read as the class lesion"
    assert decisions()[text] == (["images/default/a.png (COCO)"], "data.classes")


def test_other_categories_are_refused(folder: Path, config_with: ConfigWith) -> None:
    write_images("images/default/a.png", "images/default/b.png")
    write_json(coco(annotation(POLYGON), *(annotation(POLYGON, image=name, category=2) for name in "ab"), names="ab"))

    assert read(config_with) == (
        "The COCO annotations have categories that aren't classes: hair (2 image(s)). data.classes has skin, lesion. "
        "Add each of them to data.classes with a value of its own, or rename it."
    )


def test_images_without_annotations_are_mismatches(folder: Path, config_with: ConfigWith) -> None:
    """Image b is not in the file, and c is only there. Any folder can have images if the file lists one of them."""
    write_images("clinic/a.png", "clinic/b.png", "more/d.png")
    write_json(coco(annotation(POLYGON), names="acd"))

    assert "There is no mask for b and no image for c." in read(config_with)
    assert read(config_with, **{"data.mismatches": "leave-out"}) == {"a": RECTANGLE, "d": EMPTY}
    assert decisions()["Images without a mask, left out"] == (["b"], "data.mismatches")
    assert decisions()["Masks without an image, left out"] == (["c"], "data.mismatches")


@pytest.mark.parametrize("segmentation", [[], None, [[1, 1, 4, 1]]], ids=["box", "none", "line"])
def test_boxes_are_not_masks(folder: Path, config_with: ConfigWith, segmentation: Any) -> None:
    write_images("images/default/a.png", "images/default/b.png")
    write_json(coco(annotation(segmentation, bbox=[1, 1, 3, 2]), annotation(POLYGON, image="b"), names="ab"))

    assert read(config_with) == (
        "1 image(s) have COCO annotations without an outline, such as boxes: images/default/a.png (COCO). Draw "
        "outlines or remove these annotations, or set data.mismatches to leave-out to leave the images out."
    )
    assert read(config_with, **{"data.mismatches": "leave-out"}) == {"b": RECTANGLE}
    text = "Images with annotations that have no outline, such as boxes, left out"
    assert decisions()[text] == (["images/default/a.png (COCO)"], "data.mismatches")


def test_another_size_follows_data_masks_sizes(folder: Path, config_with: ConfigWith) -> None:
    """The file was made for an image twice as large."""
    write_images("images/default/a.png")
    large = [{"id": "a", "file_name": "a.png", "width": 12, "height": 8}]
    write_json(coco(annotation([[2, 2, 8, 2, 8, 6, 2, 6]]), images=large))

    assert read(config_with) == {"a": RECTANGLE}
    assert decisions()["Masks of another size than their image, resized to it"] == (["a"], "data.masks.sizes")
    assert "These differ: a (6x4 px, its mask 12x8 px)." in read(config_with, **{"data.masks.sizes": "refuse"})


def test_masks_beside_annotations_are_joined_only_on_request(folder: Path, config_with: ConfigWith) -> None:
    write_images("images/a.png", "images/b.png")
    for name in "ab":
        write_image(Path(f"data/mine/images/{name}_mask.png"), np.eye(4, 6, dtype=np.uint8) * np.uint8(255))
    write_json(coco(annotation(POLYGON)))

    assert "images/a_mask.png and images/a.png (COCO) (or set data.masks.several to union or classes)" in read(
        config_with
    )
    masks = read(config_with, **{"data.masks.several": "union"})
    assert masks == {"a": ["X.....", ".XXX..", ".XXX..", "...X.."], "b": ["X.....", ".X....", "..X...", "...X.."]}
    assert "Images and masks told apart by the layout: masks beside their images, and COCO annotations" in decisions()


@pytest.mark.parametrize(
    "content",
    [
        {"version": "5.0", "shapes": [], "imagePath": "a.png"},
        {"images": [{"id": 1}], "annotations": {}},
        [{"images": [], "annotations": []}],
        coco({"image_id": "a", "id": 1, "caption": "a lesion"}),
        "{",
    ],
    ids=["LabelMe", "another object", "a list", "COCO's captions", "no JSON"],
)
def test_other_json_files_are_not_used(folder: Path, config_with: ConfigWith, content: Any) -> None:
    write_images("images/a.png", "masks/a.png")
    write_image(Path("data/mine/masks/a.png"), np.zeros((4, 6), np.uint8))
    write_json(content, "a.json")

    assert read(config_with) == {"a": EMPTY}
    text = "Files that are no images, masks or tables (.csv), not used"
    assert decisions() == {text: (["a.json"], "data.path")}


INCOMPLETE = "images/default/a.png (COCO) has an annotation that can't be drawn: its run lengths don't cover the image."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            json.dumps(coco(annotation(POLYGON)))[:-1],
            "annotations/instances_default.json has COCO annotations that can't be read (the file: Invalid JSON: EOF "
            "while parsing an object at line 1 column {length}). Export it again, or remove it.",
        ),
        (
            coco(images=[{"id": 1, "file_name": "a.png", "width": None, "height": 4}]),
            "annotations/instances_default.json has COCO annotations that can't be read (images.0.width: Input should "
            "be a valid integer). Export it again, or remove it.",
        ),
        (
            coco(annotation(POLYGON, image="x")),
            "annotations/instances_default.json has annotations of an image that it doesn't list, x. Export it again, "
            "or remove it.",
        ),
        (
            coco(annotation(POLYGON), names="aa"),
            "COCO files list an image twice: images/default/a.png in annotations/instances_default.json, "
            "images/default/a.png in annotations/instances_default.json. Remove one of the files.",
        ),
        (
            coco(annotation([[1, 1, 4, 1, 4, 3, 1]])),
            "images/default/a.png (COCO) has an annotation that can't be drawn: a polygon has an x without a y.",
        ),
        (
            coco(annotation([[1, 1, 4, 1, 4, 1e9]])),
            "images/default/a.png (COCO) has an annotation that can't be drawn: a polygon is far outside the image of "
            "6 x 4 px.",
        ),
        (
            coco(annotation(rle(RUN_LENGTHS, size=(6, 4)))),
            "images/default/a.png (COCO) has an annotation that can't be drawn: its RLE has 4 x 6 px, but the image "
            "6 x 4 px.",
        ),
        (coco(annotation(rle([5, 2]))), INCOMPLETE),
        (coco(annotation(rle([5, 2**40]))), INCOMPLETE),
        (coco(annotation(rle("52"))), INCOMPLETE),
        (coco(annotation(rle(""))), INCOMPLETE),
        (
            coco(annotation(rle("~~~"))),
            "images/default/a.png (COCO) has an annotation that can't be drawn: Invalid RLE mask representation.",
        ),
        (
            coco(images=[{"id": 1, "file_name": "a.png", "width": 30_000, "height": 30_000}]),
            "images/default/a.png (COCO) has 30000 x 30000 px, but at most 50,000,000 pixels are possible.",
        ),
    ],
)
def test_malformed_files_are_refused(folder: Path, config_with: ConfigWith, content: Any, message: str) -> None:
    """Otherwise, pycocotools would leave pixels undefined, or take any amount of memory."""
    write_images("images/default/a.png")
    write_json(content)

    assert read(config_with) == message.replace("{length}", str(len(content)))


def test_a_name_that_several_images_have_is_refused(folder: Path, config_with: ConfigWith) -> None:
    write_images("p1/a.png", "p2/a.png")
    write_json(coco(annotation(POLYGON)))

    assert read(config_with) == (
        "annotations/instances_default.json lists a.png, which could be any of p1/a.png, p2/a.png. Write the folder "
        "into its file_name."
    )


@pytest.mark.parametrize("classes", [{"skin": 0, "lesion": 255}, {"skin": 0, "hair": 1, "lesion": 2}])
def test_names_that_are_formulas_or_lead_elsewhere_are_safe(
    folder: Path, config_with: ConfigWith, classes: dict[str, int]
) -> None:
    """Also in the list of decisions, which people open as a spreadsheet."""
    write_images("=a.png")
    images = [{"id": "a", "file_name": "=a.png"}, {"id": "b", "file_name": "../../../b.png"}]
    annotated = [annotation(POLYGON, category=2), annotation(POLYGON)][: len(classes) - 1]
    write_json(coco(*annotated, images=[image | {"width": 6, "height": 4} for image in images]))

    masks = read(config_with, **{"data.mismatches": "leave-out", "data.classes": classes})

    assert masks == {"_=a": [row.replace("X", ".XY"[len(annotated)]) for row in RECTANGLE]}
    assert decisions()["Masks without an image, left out"] == (["b"], "data.mismatches")
    assert "_=a.png (COCO)" in HERE.reading_decisions.read_text()
    assert "\n=" not in HERE.reading_decisions.read_text().replace(",", "\n")
