"""A user's own images are read by folder and name. Files that can't be used or don't match are errors."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi.config import Config
from naevi.datasets.folder import import_folder
from naevi.errors import UserError
from naevi.images.files import FORMATS, read_image, read_mask
from naevi.tables import Decision

File = tuple[str, str, bytes]
Import = Callable[..., pd.DataFrame]
ErrorMessage = Callable[..., str]
FORMAT_LIST = ", ".join(FORMATS)


def encode(pixels: Any, file_format: str = "PNG") -> bytes:
    """Return the content of an image file."""
    content = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(content, file_format)
    return content.getvalue()


IMAGE = encode([[[1, 2, 3], [4, 5, 6]]])  # 2 wide, 1 high
MASK = encode([[0, 255]])


def pair(image_id: str) -> list[File]:
    """Return an image and its mask."""
    return [("images", f"images/{image_id}.png", IMAGE), ("masks", f"masks/{image_id}.png", MASK)]


def labels(text: str) -> File:
    """Return a labels.csv."""
    return ("labels", "labels.csv", text.encode())


@pytest.fixture
def import_files(tmp_path: Path, config_with: Callable[[dict[str, Any]], Config]) -> Import:
    """Return a function that imports files into tmp_path, with classes, and returns the labels."""

    def run(files: Iterable[File], classes: dict[str, int] | None = None) -> pd.DataFrame:
        settings = {"data.source": "folder", "data.path": "mine", "data.classes": classes or {"skin": 0, "lesion": 255}}
        table, decisions = import_folder(files, tmp_path, config_with(settings).data)
        assert [item for item in decisions if item.ids and not item.parameter.startswith("data.columns.")] == []
        return table

    return run


@pytest.fixture
def error_message(import_files: Import) -> ErrorMessage:
    """Return a function that returns the message of the error that importing these files raises."""

    def run(*files: File) -> str:
        with pytest.raises(UserError) as error:
            import_files(files)
        return str(error.value)

    return run


def test_images_and_masks_are_written_by_their_ids(import_files: Import, tmp_path: Path) -> None:
    """The order and the formats don't matter, and masks may have ISIC's names."""
    files = [
        ("masks", "masks/007_segmentation.bmp", encode([[255, 0]], "BMP")),
        ("images", "images/x.y.TIF", encode([[[7, 8, 9]] * 2], "TIFF")),
        ("images", "images/007.bmp", encode([[[1, 2, 3], [4, 5, 6]]], "BMP")),
        ("masks", "masks/x.y_Lesion.png", MASK),
    ]

    table = import_files(iter(files))

    assert table.to_dict("list") == {"image_id": ["007", "x.y"], "diagnosis": ["unlabelled"] * 2}
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == [
        "images/007.png",
        "images/x.y.png",
        "masks/007.png",
        "masks/x.y.png",
    ]
    assert read_image(tmp_path / "images" / "007.png").tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert read_mask(tmp_path / "masks" / "007.png").tolist() == [[1, 0]]
    assert read_mask(tmp_path / "masks" / "x.y.png").tolist() == [[0, 1]]


def test_mask_values_become_class_indices(import_files: Import, tmp_path: Path) -> None:
    files = [("images", "images/a.png", IMAGE), ("masks", "masks/a.png", encode([[90, 40]]))]

    import_files(files, {"a": 10, "b": 40, "c": 90})

    assert read_mask(tmp_path / "masks" / "a.png").tolist() == [[2, 1]]


@pytest.mark.parametrize("name", ["_mask", "a_masks", "a_mask_2", "mask"])
def test_only_an_ending_after_a_name_is_removed(import_files: Import, name: str) -> None:
    assert import_files(pair(name)).image_id.tolist() == [name]


def test_both_encodings_of_an_umlaut_are_the_same_name(import_files: Import) -> None:
    """An umlaut is one character, or on macOS a letter and two dots."""
    files = [("images", "images/u\u0308.png", IMAGE), ("masks", "masks/\u00fc.png", MASK)]

    table = import_files([*files, labels("image_id,class\nu\u0308.png,\u00fc\n")])

    assert table.to_dict("list") == {"image_id": ["\u00fc"], "diagnosis": ["\u00fc"]}


def test_without_images_the_error_describes_the_layout(error_message: ErrorMessage) -> None:
    assert error_message() == (
        "No images were found. Put them into a folder images/, and their masks into a folder masks/ beside it, "
        "with the same names. An optional labels.csv belongs beside both."
    )


def test_images_without_masks_and_masks_without_images_are_listed(error_message: ErrorMessage) -> None:
    unmatched = [pair(name)[0] for name in "ca"] + [pair("b_mask")[1]]
    rule = (
        "A mask in masks/ must have the name of its image in images/. The formats may differ, and _segmentation, _mask "
        "or _lesion may follow the name. Rename them, set data.patterns, or set data.mismatches to leave-out. If an "
        "image without a mask shows only background, set data.masks.missing to empty."
    )

    assert error_message(*unmatched, *pair("d")) == f"There is no mask for a, c and no image for b. {rule}"
    assert error_message(*unmatched[:2]) == f"There is no mask for a, c. {rule}"
    assert error_message(unmatched[2], *pair("d")) == f"There is no image for b. {rule}"
    many = [pair(f"{number:02}")[0] for number in range(11)]
    assert "for 00, 01, 02, 03, 04, 05, 06, 07, 08, 09, …. " in error_message(*many)


def test_duplicate_files_are_listed(error_message: ErrorMessage) -> None:
    duplicates = [
        *pair("a"),
        ("images", "more/images/a.jpg", IMAGE),
        ("masks", "masks/a_mask.png", MASK),
        labels("image_id\na\n"),
        labels("image_id,group\na,1\n"),  # a folder may contain several archives, each with such a file
    ]

    assert error_message(*duplicates) == (
        "Each image and each mask must be one file. Keep one of images/a.png and more/images/a.jpg, two files "
        "labels.csv, masks/a.png and masks/a_mask.png (or set data.masks.several to union or classes)."
    )


def test_files_that_are_not_images_are_listed(error_message: ErrorMessage) -> None:
    unusable = [
        ("images", "images/scan.DCM", b"hello"),
        ("images", "images/text.jpg", b"hello"),
        ("images", "images/line\nbreak.png", IMAGE),
        ("masks", "masks/red.png", encode([[[255, 0, 0]]])),
        ("masks", "masks/more.png", encode([[[255, 0, 0]]])),
        ("masks", f"masks/{99 * 'ü'}.png", IMAGE),
    ]

    assert error_message(*pair("a"), *pair(98 * "ü"), *unusable).split("\n") == [
        "6 file(s) can't be used as images or masks:",
        f"  images/scan.DCM is in a format that isn't read. Save it as one of {FORMAT_LIST}, or set data.mismatches to "
        "leave-out.",
        f"  images/text.jpg can't be read as an image: its format is unknown. Save it as {', '.join(FORMATS)}.",
        r"  'images/line\nbreak.png' has an unprintable character in its name. Rename it.",
        "  masks/red.png and 1 other(s) can't be read as an image: a mask must be gray or have a palette, but this one "
        'is in color: "#ff0000". Declare its colors in data.classes.',
        f"  masks/{99 * 'ü'}.png has a name of more than 200 bytes. Shorten it.",
    ]
    many = [("masks", f"masks/{number}.png", encode([[[255, number, 0]]])) for number in range(11)]
    assert len(error_message(*many).split("\n")) == 12
    assert error_message(*many).endswith("\n  …")


def test_a_table_with_an_unprintable_name_is_listed(error_message: ErrorMessage) -> None:
    """Latin-1 is not UTF-8, so the name can't be written to a file."""
    assert error_message(*pair("a"), ("labels", "caf\udce9.csv", b"image_id\na\n")) == (
        "1 file(s) can't be used as images or masks:\n  'caf\\udce9.csv' has an unprintable character in its name. "
        "Rename it."
    )


def test_undeclared_values_of_all_masks_are_listed_together(error_message: ErrorMessage) -> None:
    files = [*pair("a"), *pair("b"), *pair("c")]
    files[1] = ("masks", "masks/a.png", encode([[128, 3]]))
    files[3] = ("masks", "masks/b.png", encode([[0, 3]]))

    assert error_message(*files) == (
        "2 mask(s) contain undeclared values: 3, 128 in masks/a.png, masks/b.png. Declared are 0, 255. "
        "Add the values to data.classes, or to data.masks.void if their class is unknown."
    )


def test_of_many_undeclared_values_the_first_are_listed(error_message: ErrorMessage) -> None:
    files = [("images", "images/a.png", encode([[[0] * 3] * 100])), ("masks", "masks/a.png", encode([range(100)]))]

    assert ", 19, 20, … in masks/a.png. Declared are 0, 255. " in error_message(*files)


def test_an_image_and_a_mask_with_different_sizes_are_listed(error_message: ErrorMessage) -> None:
    files = [("images", "images/a.png", IMAGE), ("masks", "masks/a.png", encode([[0], [255], [0]])), *pair("b")]

    assert error_message(*files) == (
        "An image and its mask must have the same size. These differ: a (2x1 px, its mask 1x3 px). Set data.mismatches "
        "to leave-out to leave them out, or data.masks.sizes to resize for masks with the aspect of their image."
    )


def test_names_that_are_formulas_in_spreadsheets_are_changed(
    tmp_path: Path, config_with: Callable[[dict[str, Any]], Config]
) -> None:
    """The table names the image and a patient with formulas, too."""
    formula = "=HYPERLINK(1)"
    table = f"image_id,patient_id\n{formula},=1+1\nb,@x\n"
    files = [*pair(formula), *pair("b"), labels(table)]
    settings = {"data.source": "folder", "data.path": "mine", "data.classes": {"skin": 0, "lesion": 255}}

    labeled, decisions = import_folder(files, tmp_path, config_with(settings).data)

    assert labeled.image_id.tolist() == [f"_{formula}", "b"]
    assert labeled.group.tolist() == ["_=1+1", "_@x"]
    text = "Images whose names begin with =, +, - or @, as formulas do in spreadsheets, whose ids begin with _"
    assert [item for item in decisions if item.decision == text] == [Decision(text, [f"_{formula}"], "data.path")]
