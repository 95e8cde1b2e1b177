"""Files that can be read in several ways: data.reading and data.mismatches decide, and each decision is listed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi.config import Config
from naevi.datasets.raw import build_raw
from naevi.deploy.predict import predict_images
from naevi.errors import UserError
from naevi.images.files import VOID, Pixels, read_mask
from naevi.images.folders import stored_image
from naevi.inference.predictor import write_predictor
from naevi.inference.segmenter import load_segmenter
from naevi.tables import decision_table, read_decisions
from tests.datasets.image_files import encode, exif, gray, palette, png_16_bit, with_alpha
from tests.datasets.test_orientation import disk, picture
from tests.deploy.predictors import write_predictor as write_random_predictor
from tests.helpers import HERE

Build = Callable[..., str]
SETTINGS = {"data.source": "folder", "data.path": "data/external", "data.classes": {"skin": 0, "lesion": 255}}
IMAGE = encode(Image.new("RGB", (3, 1), (1, 2, 3)))
MASK = encode(gray([[0, 255, 255]]))


@pytest.fixture
def build(folder: Path, config_with: Callable[[dict[str, Any]], Config]) -> Build:
    """Return a function that reads files into data/raw, with other parameters, and returns the error or nothing."""

    def run(files: dict[str, bytes], changes: dict[str, Any] | None = None) -> str:
        for name, content in files.items():
            path = HERE.external_data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        try:
            build_raw(HERE, config_with(SETTINGS | (changes or {})).data)
        except UserError as error:
            return str(error)
        return ""

    return run


def pair(image_id: str, image: bytes = IMAGE, mask: bytes = MASK) -> dict[str, bytes]:
    """Return an image and its mask by file name."""
    return {f"images/{image_id}.png": image, f"masks/{image_id}.png": mask}


def image(image_id: str) -> Pixels:
    """Return an image in data/raw."""
    return stored_image(HERE.raw / "images", image_id)


def mask(image_id: str) -> Pixels:
    """Return a mask in data/raw."""
    return read_mask(HERE.raw / "masks" / f"{image_id}.png")


def decisions() -> list[tuple[Any, ...]]:
    """Return the rows of the table of decisions, if there are any."""
    if not HERE.reading_decisions.exists():
        return []
    return list(decision_table(read_decisions(HERE)).itertuples(index=False, name=None))


def test_files_without_a_question_are_read_without_a_decision(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    assert build(pair("a")) == ""

    assert decisions() == []
    assert [text for text in caplog.messages if "Parameter" in text] == []


def test_masks_in_the_alpha_channel_are_read(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    in_alpha = encode(with_alpha([[0, 0, 0]], [[0, 255, 255]]))

    assert build(pair("a", mask=in_alpha) | pair("b")) == ""

    assert mask("a").tolist() == [[0, 1, 1]]
    assert mask("b").tolist() == [[0, 1, 1]]
    assert decisions() == [("Masks read from their alpha channel", 1, "a", "data.reading.mask_alpha")]
    assert "Masks read from their alpha channel: 1 (a). Parameter: data.reading.mask_alpha." in caplog.messages


def test_masks_whose_colors_and_alpha_channel_differ_are_refused(build: Build) -> None:
    ambiguous = encode(with_alpha([[0, 255, 255]], [[255, 255, 0]]))

    assert build(pair("a", mask=ambiguous)) == (
        "1 file(s) can't be used as images or masks:\n"
        "  masks/a.png can't be read as an image: its colors (2 foreground pixels) and its alpha channel (2 foreground "
        "pixels) are different masks. Set data.reading.mask_alpha to ignore or use."
    )
    assert build(pair("a", mask=ambiguous), {"data.reading.mask_alpha": "use"}) == ""
    assert mask("a").tolist() == [[1, 1, 0]]


def test_an_opaque_mask_among_masks_in_the_alpha_channel_is_refused(build: Build) -> None:
    """It can be all background, or all foreground."""
    files = pair("a", mask=encode(with_alpha([[0] * 3], [[0, 255, 255]])))
    files |= pair("b", mask=encode(with_alpha([[0] * 3], [[255] * 3])))

    assert build(files) == (
        "1 mask(s) are in the alpha channel, such as masks/a.png. 1 other(s) are opaque and of one color, so they "
        "could be all foreground or all background: masks/b.png. Set data.reading.mask_alpha to use or ignore."
    )
    assert build(files, {"data.reading.mask_alpha": "use"}) == ""
    assert mask("b").tolist() == [[1, 1, 1]]


SPOT = disk(60, 80, 20, 25, 12)
SMALL = [0, 255, 255]


@pytest.mark.parametrize("drawn_on", ["stored", "shown"])
def test_a_mask_of_an_image_that_is_upside_down_is_placed_by_its_outline(build: Build, drawn_on: str) -> None:
    """EXIF orientation 3 turns by 180 degrees, so the sizes don't decide."""
    stored = encode(Image.fromarray(picture(SPOT)), exif=exif(3))
    drawn = SPOT if drawn_on == "stored" else SPOT[::-1, ::-1]

    assert build(pair("a", stored, encode(gray(drawn * 255)))) == ""

    assert np.array_equal(image("a"), picture(SPOT)[::-1, ::-1])
    assert np.array_equal(mask("a"), SPOT[::-1, ::-1])
    whose = {"stored": "the EXIF orientation of their images", "shown": "their own EXIF orientation"}[drawn_on]
    text = f"Masks read with {whose}, because the outline fits better; check them"
    assert decisions() == [(text, 1, "a", "data.reading.orientation")]


@pytest.mark.parametrize("drawn_on", ["stored", "shown"])
def test_a_mask_of_an_image_on_its_side_is_placed_by_its_size(build: Build, drawn_on: str) -> None:
    """EXIF orientation 6 turns by 90 degrees clockwise."""
    stored = encode(Image.fromarray(np.arange(9, dtype=np.uint8).reshape(1, 3, 3)), exif=exif(6))
    drawn = [SMALL] if drawn_on == "stored" else [[value] for value in SMALL]

    assert build(pair("a", stored, encode(gray(drawn)))) == ""

    assert mask("a").tolist() == [[0], [1], [1]]
    assert image("a").shape == (3, 1, 3)
    whose = {"stored": "the EXIF orientation of their images", "shown": "their own EXIF orientation"}[drawn_on]
    assert decisions() == [
        (f"Masks read with {whose}, because only then their sizes agree", 1, "a", "data.reading.orientation")
    ]


def test_a_mask_that_fits_both_ways_is_listed_as_doubtful(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    flat = encode(Image.new("RGB", (80, 60), (9, 9, 9)), exif=exif(3))

    assert build(pair("a", flat, encode(gray(SPOT * 255)))) == ""

    assert np.array_equal(mask("a"), SPOT)
    text = "Masks that may be turned relative to their images (EXIF orientation), kept as viewers show them; check them"
    assert decisions() == [(text, 1, "a", "data.reading.orientation")]
    assert f"{text}: 1 (a). Parameter: data.reading.orientation." in caplog.messages


def test_exif_orientation_can_be_applied_or_ignored(build: Build) -> None:
    turned = encode(Image.fromarray(picture(SPOT)), exif=exif(3))
    files = pair("a", turned, encode(gray(SPOT * 255)))

    assert build(files, {"data.reading.orientation": "apply"}) == ""
    assert np.array_equal(image("a"), picture(SPOT)[::-1, ::-1])
    assert np.array_equal(mask("a"), SPOT)
    assert [row[0] for row in decisions()] == [
        "Masks with another EXIF orientation than their images, both turned as viewers show them; check them"
    ]

    assert build(files, {"data.reading.orientation": "ignore"}) == ""
    assert np.array_equal(image("a"), picture(SPOT))
    assert np.array_equal(mask("a"), SPOT)
    assert decisions() == [("Files whose EXIF orientation is ignored", 1, "a", "data.reading.orientation")]


def test_equal_tags_of_image_and_mask_are_no_question(build: Build) -> None:
    turned = {"exif": exif(3)}
    files = pair("a", encode(Image.fromarray(picture(SPOT)), **turned), encode(gray(SPOT * 255), **turned))

    assert build(files) == ""
    assert np.array_equal(mask("a"), SPOT[::-1, ::-1])
    assert decisions() == []


def deep(*values: int) -> bytes:
    """Return a 16-bit PNG of one row, in color."""
    return png_16_bit(np.array([[[value] * 3 for value in values]], np.uint16))


def test_twelve_bits_in_files_of_sixteen_are_found(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    files = pair("a", deep(0, 1000, 4000)) | pair("b", deep(0, 16, 17)) | pair("c")

    assert build(files) == ""

    # 255 / 4095 of 1000 and 4000 is 62.3 and 249.1. The darker image has the same white.
    assert image("a")[0, :, 0].tolist() == [0, 62, 249]
    assert image("b")[0, :, 0].tolist() == [0, 0, 1]
    assert image("c")[0, 0].tolist() == [1, 2, 3]
    text = "Images with 12 of 16 bits in use, white is 4095"
    assert decisions() == [(text, 2, "a, b", "data.reading.white")]
    assert f"{text}: 2 (a, b). Parameter: data.reading.white." in caplog.messages
    assert sorted(path.name for path in (HERE.raw / "images").iterdir()) == ["a.png", "b.png", "c.png"]
    assert json.loads((HERE.raw / "reading.json").read_text()) == {"white": 4095, "image_alpha": "white"}


def test_white_can_be_given(build: Build) -> None:
    assert build(pair("a", deep(0, 1000, 4000)), {"data.reading.white": 2000}) == ""

    assert image("a")[0, :, 0].tolist() == [0, 127, 255]
    assert decisions() == [("Images with more than 8 bits per channel, white is 2000", 1, "a", "data.reading.white")]


def test_sixteen_bits_are_read_with_their_full_range(build: Build) -> None:
    values = (514, 255, 65535)

    assert build(pair("a", deep(*values))) == ""

    assert image("a")[0, :, 0].tolist() == [value // 257 for value in values]
    assert json.loads((HERE.raw / "reading.json").read_text())["white"] == 65535


def test_the_predictor_keeps_white(build: Build, config_with: Callable[[dict[str, Any]], Config]) -> None:
    assert build(pair("a", deep(0, 1000, 4000))) == ""

    write_predictor(HERE, config_with({"cv.models": [0]}))

    settings = json.loads((HERE.predictor / "predict.json").read_text())
    assert (settings["white"], settings["image_alpha"]) == (4095, "white")
    (HERE.raw / "reading.json").write_text('{"white": 0, "image_alpha": "white"}')
    with pytest.raises(UserError, match=r"^data/raw/reading.json is invalid \(.*\). Restore it with `dvc checkout`.$"):
        write_predictor(HERE, config_with({"cv.models": [0]}))


def test_a_model_reads_new_images_with_the_white_of_its_training(
    tmp_path: Path, config_with: Callable[[dict[str, Any]], Config], caplog: pytest.LogCaptureFixture
) -> None:
    """An image with 12 of 16 bits gives the mask of the same image with 8 bits. Another range and pages are refused."""
    predictor = write_random_predictor(tmp_path / "predictor", config_with({}))
    settings = json.loads((predictor / "predict.json").read_text())
    assert settings.pop("white") == 65535  # older predictors lack it
    (predictor / "predict.json").write_text(json.dumps(settings | {"white": 4095}))
    levels = picture(SPOT)[..., 0]
    (tmp_path / "a.png").write_bytes(png_16_bit((np.ceil(levels * (4095 / 255))).astype(np.uint16)[..., None]))
    (tmp_path / "b.png").write_bytes(encode(gray(levels)))
    (tmp_path / "c.png").write_bytes(png_16_bit(levels[..., None] * np.uint16(257)))
    (tmp_path / "d.tif").write_bytes(encode(gray(levels), "TIFF", save_all=True, append_images=[gray(levels)]))

    images = [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.tif")]
    skipped = predict_images(load_segmenter(predictor), images, tmp_path / "out", force=False)

    assert skipped == list(map(str, images[2:]))
    masks = [read_mask(tmp_path / "out" / "masks" / f"{name}.png") for name in "ab"]
    assert np.array_equal(*masks)
    assert "white was 4095 when this model was trained" in caplog.messages[0]
    assert "it has more than one page" in caplog.messages[1]

    (predictor / "predict.json").write_text(json.dumps(settings))
    assert predict_images(load_segmenter(predictor), images[1:3], tmp_path / "earlier", force=False) == []


def test_transparent_images_are_counted(build: Build) -> None:
    transparent = encode(with_alpha([[100, 100, 100]], [[255, 0, 0]]))

    assert build(pair("a", transparent), {"data.reading.image_alpha": "black"}) == ""

    assert image("a")[0, :, 0].tolist() == [100, 0, 0]
    assert decisions() == [("Images with transparent pixels, put on black", 1, "a", "data.reading.image_alpha")]
    assert json.loads((HERE.raw / "reading.json").read_text())["image_alpha"] == "black"


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
@pytest.mark.parametrize("role", ["images", "masks"])
def test_files_with_several_pages_are_refused(build: Build, kind: str, role: str) -> None:
    pages = [gray([[0, 255, 255]]), gray([[255, 0, 0]])]
    content = encode(pages[0], kind, save_all=True, append_images=pages[1:])
    files = pair("a") | {f"{role}/a.png": content}

    assert build(files) == (
        "1 file(s) can't be used as images or masks:\n"
        f"  {role}/a.png can't be read as an image: it has more than one page. Save the page to read as a file of its "
        "own. For training, you can also set data.reading.pages to first."
    )
    assert build(files, {"data.reading.pages": "first"}) == ""
    assert decisions() == [("Files with several pages, of which the first is read", 1, "a", "data.reading.pages")]
    read = image if role == "images" else mask
    assert read("a").reshape(3, -1)[:, 0].astype(bool).tolist() == [False, True, True]


def test_values_between_those_of_classes_can_become_the_nearest_class(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    """As in HAM10000's masks after they were shrunk with interpolation."""
    files = pair("a", mask=encode(gray([[0, 127, 128]]))) | pair("b", mask=encode(gray([[0, 200, 255]])))

    assert build(files) == (
        "2 mask(s) contain undeclared values: 127, 128, 200 in masks/a.png, masks/b.png. Declared are 0, 255. Add "
        "the values to data.classes, or to data.masks.void if their class is unknown, or set data.masks.values to "
        "nearest if JPEG or resizing has blurred the masks."
    )
    assert build(files, {"data.masks.values": "nearest"}) == ""

    assert mask("a").tolist() == [[0, 0, 1]]
    assert mask("b").tolist() == [[0, 1, 1]]
    text = "Masks with values between those of classes, read as the nearest class (50.00% of their pixels)"
    assert decisions() == [(text, 2, "a, b", "data.masks.values")]
    assert f"{text}: 2 (a, b). Parameter: data.masks.values." in caplog.messages


def color_image(rows: list[list[str]]) -> bytes:
    """Return a PNG with colors such as ff0000."""
    return encode(Image.fromarray(np.array([[list(bytes.fromhex(color)) for color in row] for row in rows], np.uint8)))


COLOR_CLASSES = {"data.classes": {"skin": "#000000", "lesion": "#FF0000", "ulcer": "#00ff00"}}


def test_classes_can_be_colors(build: Build) -> None:
    """Classes are ordered by color: 00ff00 comes before ff0000."""
    files = pair("a", mask=color_image([["000000", "ff0000", "00ff00"]]))
    files |= pair("b", mask=encode(palette([[0, 1, 1]], [(0, 0, 0), (255, 0, 0)])))

    assert build(files) == (
        "1 file(s) can't be used as images or masks:\n"
        "  masks/a.png can't be read as an image: a mask must be gray or have a palette, but this one is in color: "
        '"#000000", "#00ff00", "#ff0000". Declare its colors in data.classes.'
    )
    assert build(files, COLOR_CLASSES) == ""
    assert (mask("a").tolist(), mask("b").tolist()) == ([[0, 2, 1]], [[0, 2, 2]])
    assert decisions() == []


def test_other_colors_are_refused_or_become_the_nearest(build: Build) -> None:
    """The distance from #7f1000 to black is 127² + 16² = 16385, to red 128² + 16² = 16640."""
    files = pair("a", mask=color_image([["7f1000", "fe0101", "ff0000"]]))

    assert build(files, COLOR_CLASSES) == (
        "1 mask(s) contain undeclared values: #7f1000, #fe0101 in masks/a.png. Declared are #000000, #00ff00, "
        "#ff0000. Add the values to data.classes, or to data.masks.void if their class is unknown."
    )
    assert build(files, COLOR_CLASSES | {"data.masks.values": "nearest"}) == ""
    assert mask("a").tolist() == [[0, 2, 2]]
    text = "Masks with values between those of classes, read as the nearest class (66.67% of their pixels)"
    assert decisions() == [(text, 1, "a", "data.masks.values")]


@pytest.mark.parametrize(
    ("void_mask", "changes"),
    [
        (encode(gray([[0, 255, 7]])), {"data.masks.void": [7]}),
        (
            encode(palette([[0, 1, 255]], [(0, 0, 0), (128, 0, 0), *[(9, 9, 9)] * 253, (224, 224, 192)])),
            {"data.masks.void": [255]},
        ),
        (color_image([["000000", "ff0000", "e0e0c0"]]), COLOR_CLASSES | {"data.masks.void": ["#e0e0c0"]}),
    ],
    ids=["gray", "palette", "color"],
)
def test_pixels_without_a_known_class_are_void(
    build: Build, caplog: pytest.LogCaptureFixture, void_mask: bytes, changes: dict[str, Any]
) -> None:
    """As the borders of objects in PASCAL VOC, index 255."""
    classes = {"data.classes": {"skin": 0, "lesion": 1}} if changes["data.masks.void"] == [255] else {}

    assert build(pair("a", mask=void_mask), classes | changes) == ""

    assert mask("a").tolist() == [[0, 2 if "data.classes" in changes else 1, VOID]]
    text = "Masks with pixels of no known class, which are left out of the loss and the scores (33.33% of their pixels)"
    assert decisions() == [(text, 1, "a", "data.masks.void")]
    assert f"{text}: 1 (a). Parameter: data.masks.void." in caplog.messages


def test_only_values_between_those_of_classes_have_a_nearest_class(build: Build) -> None:
    """Indices of a palette are names, not levels."""
    classes = {"data.masks.values": "nearest", "data.classes": {"skin": 10, "lesion": 100, "ulcer": 200}}

    assert build(pair("a", mask=encode(gray([[54, 55, 56]]))), classes) == ""
    assert mask("a").tolist() == [[0, 0, 1]]
    assert build(pair("a", mask=encode(gray([[9, 150, 201]]))), classes) == (
        "1 mask(s) contain undeclared values: 9, 201 in masks/a.png. Declared are 10, 100, 200. Add the values to "
        "data.classes, or to data.masks.void if their class is unknown."
    )
    indexed = {"data.masks.values": "nearest", "data.classes": {"skin": 0, "lesion": 2}}
    assert "undeclared values: 1 in masks/a.png" in build(pair("a", mask=encode(palette([[0, 1, 2]], COLORS))), indexed)


def scaled(height: int, width: int) -> bytes:
    """Return a mask whose right half is lesion."""
    return encode(gray([[0] * (width // 2) + [255] * (width - width // 2)] * height))


@pytest.mark.parametrize(("height", "width"), [(4, 6), (16, 24), (15, 24), (3, 5)])
def test_masks_with_the_aspect_of_their_image_are_resized(
    build: Build, caplog: pytest.LogCaptureFixture, height: int, width: int
) -> None:
    large = encode(Image.new("RGB", (12, 8), (1, 2, 3)))

    assert build(pair("a", large, scaled(height, width)) | pair("b")) == ""

    assert mask("a").shape == (8, 12)
    assert set(mask("a")[:, :4].ravel()) == {0}
    assert set(mask("a")[:, 8:].ravel()) == {1}
    text = "Masks of another size than their image, resized to it"
    assert decisions() == [(text, 1, "a", "data.masks.sizes")]
    assert f"{text}: 1 (a). Parameter: data.masks.sizes." in caplog.messages
    assert build(pair("a", large, scaled(height, width)), {"data.masks.sizes": "refuse"}) == (
        f"An image and its mask must have the same size. These differ: a (12x8 px, its mask {width}x{height} px). Set "
        "data.mismatches to leave-out to leave them out, or data.masks.sizes to resize for masks with the aspect of "
        "their image."
    )


@pytest.mark.parametrize(("height", "width"), [(4, 8), (8, 8), (6, 4), (20, 24)])
def test_masks_of_another_aspect_are_refused(build: Build, height: int, width: int) -> None:
    large = encode(Image.new("RGB", (12, 8), (1, 2, 3)))

    assert "must have the same size" in build(pair("a", large, scaled(height, width)))


def test_a_small_mask_drawn_on_the_stored_pixels_is_resized_and_turned(build: Build) -> None:
    """The image is stored lying (12x8) and shown standing; its mask of half the size lies and has no EXIF tag."""
    lying = encode(Image.new("RGB", (12, 8), (1, 2, 3)), "JPEG", exif=exif(6))
    files = {"images/a.jpg": lying, "masks/a.png": scaled(4, 6)}

    assert build(files) == ""

    assert image("a").shape == (12, 8, 3)
    assert mask("a").shape == (12, 8)
    assert set(mask("a")[:6].ravel()) == {0}
    assert set(mask("a")[6:].ravel()) == {1}


def test_equal_names_match_first(build: Build) -> None:
    files = pair("left_lesion") | pair("x_mask") | {"images/y.png": IMAGE, "masks/y_mask.png": MASK}

    assert build(files) == ""

    assert sorted(path.name for path in (HERE.raw / "masks").iterdir()) == ["left_lesion.png", "x_mask.png", "y.png"]


def test_files_that_are_no_pictures_are_ignored_and_counted(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    others = ["images/LICENSE.txt", "images/Thumbs.db", "images/a_superpixels.png", "masks/readme.md", "notes.docx"]

    assert build(pair("a") | dict.fromkeys(others, b"no picture")) == ""

    text = "Files that are no images, masks or tables (.csv), not used"
    assert decisions() == [(text, 5, ", ".join(others), "data.path")]
    assert any(message.startswith(f"{text}: 5 (") for message in caplog.messages)


def test_pictures_in_other_formats_can_be_left_out(build: Build) -> None:
    files = pair("a") | {"images/b.CR2": b"no picture that is read", "masks/b.png": MASK}

    assert "images/b.CR2 is in a format that isn't read." in build(files)
    assert build(files, {"data.mismatches": "leave-out"}) == ""
    assert decisions() == [
        ("Masks without an image, left out", 1, "b", "data.mismatches"),
        ("Pictures in formats that aren't read, left out", 1, "images/b.CR2", "data.mismatches"),
    ]


def test_two_masks_for_one_image_are_refused(build: Build) -> None:
    files = pair("a") | {"masks/a_mask.png": MASK}

    assert build(files) == (
        "Each image and each mask must be one file. Keep one of masks/a.png and masks/a_mask.png (or set "
        "data.masks.several to union or classes)."
    )


def test_several_masks_of_an_image_can_be_joined(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    """As in BUSI (x_mask_1), and in folders of nuclei, whose masks have names of their own."""
    left, right = encode(gray([[255, 0, 0]])), encode(gray([[0, 0, 255]]))
    files = pair("x", mask=left) | {"masks/x_mask_1.png": right, "images/cell.png": IMAGE}
    files |= {"masks/cell/07ab.png": left, "masks/cell/c3.png": right} | pair("b")

    assert build(files, {"data.masks.several": "union"}) == ""

    assert mask("x").tolist() == mask("cell").tolist() == [[1, 0, 1]]
    assert mask("b").tolist() == [[0, 1, 1]]
    text = "Images with several masks, which are joined"
    assert decisions() == [(text, 2, "cell, x", "data.masks.several")]
    assert f"{text}: 2 (cell, x). Parameter: data.masks.several." in caplog.messages
    assert len(list((HERE.raw / "masks").rglob("*"))) == 3


def test_a_class_is_known_in_a_joined_mask_if_any_mask_has_it(build: Build) -> None:
    """Otherwise the pixel is void if any mask says so."""
    files = pair("a", mask=encode(gray([[7, 7, 0]]))) | {"masks/a_mask.png": encode(gray([[255, 0, 0]]))}

    assert build(files, {"data.masks.several": "union", "data.masks.void": [7]}) == ""

    assert mask("a").tolist() == [[1, VOID, 0]]


def test_each_class_can_have_masks_of_its_own(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    """As in IDRiD: x_EX is white, red or brightest where x has exudates; no file, no exudates."""
    classes = {"data.masks.several": "classes", "data.classes": {"retina": 0, "EX": 1, "optic disc": 2}}
    red = encode(palette([[0, 1, 1]], [(0, 0, 0), (255, 0, 0)]))
    files = {"images/x.png": IMAGE, "masks/1. Exudates/x_EX.tif": red, "images/y.png": IMAGE}
    files |= {"masks/optic disc/x.png": encode(gray([[0, 0, 1]])), "masks/y_optic disc.png": MASK}

    assert build(files, classes) == ""

    assert mask("x").tolist() == [[0, 1, 2]]
    assert mask("y").tolist() == [[0, 2, 2]]
    assert [row[:3] for row in decisions() if row[3] == "data.masks.several"] == [
        ("Images whose masks give a pixel different classes, of which the one with the highest value counts", 1, "x"),
        ("Images with several masks, which are joined", 1, "x"),
    ]


def test_a_mask_of_one_class_needs_its_name_and_two_values(build: Build) -> None:
    classes = {"data.masks.several": "classes", "data.classes": {"skin": 0, "lesion": 1}}
    blurred = {"images/x.png": IMAGE, "masks/x_lesion.png": encode(gray([[0, 60, 200]]))}

    assert build(blurred | pair("a"), classes) == (
        "1 file(s) can't be used as images or masks:\n"
        "  masks/a.png ends with no name of a class (lesion). Rename it, or set data.masks.several to union if the "
        "values in the masks are those of classes."
    )
    (HERE.external_data / "masks/a.png").rename(HERE.external_data / "masks/a_lesion.png")
    # 60 of 200 is 76.5 of 255.
    assert build({}, classes) == (
        "1 mask(s) contain undeclared values: 76 in masks/x_lesion.png. Declared are 0, 255. Set data.masks.values to "
        "nearest if JPEG or resizing has blurred the masks."
    )
    assert build({}, classes | {"data.masks.values": "nearest"}) == ""
    assert mask("x").tolist() == [[0, 0, 1]]


def test_images_without_a_mask_can_be_empty(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    files = pair("a") | {"images/b.png": encode(Image.new("RGB", (5, 4), (1, 2, 3)))}

    assert build(files) == (
        "There is no mask for b. A mask in masks/ must have the name of its image in images/. The formats may differ, "
        "and _segmentation, _mask or _lesion may follow the name. Rename them, set data.patterns, or set "
        "data.mismatches to leave-out. If an image without a mask shows only background, set data.masks.missing to "
        "empty."
    )
    assert build(files, {"data.masks.missing": "empty"}) == ""

    assert mask("b").shape == (4, 5)
    assert not mask("b").any()
    text = "Images without a mask, which is taken as empty"
    assert decisions() == [(text, 1, "b", "data.masks.missing")]
    assert f"{text}: 1 (b). Parameter: data.masks.missing." in caplog.messages


def test_patterns_find_images_and_masks_in_any_layout(build: Build) -> None:
    files = {"p1/scan 07.jpg": IMAGE, "p1/marked by A/07-x.png": MASK, "p2/scan 07.jpg": IMAGE, "p2/preview.jpg": IMAGE}
    files |= {"p2/marked by B/07-y.png": MASK}
    patterns = {"data.patterns.images": "{patient}/scan {id}.jpg", "data.patterns.masks": "{patient}/marked*/{id}-*"}

    assert build(files, patterns) == ""

    assert sorted(path.stem for path in (HERE.raw / "masks").iterdir()) == ["p1_scan 07", "p2_scan 07"]
    assert decisions() == [
        ("Images and masks told apart by the layout: data.patterns", 2, "p1_scan 07, p2_scan 07", "data.path"),
        ("Files that are no images, masks or tables (.csv), not used", 1, "p2/preview.jpg", "data.path"),
    ]
    assert build(files, patterns | {"data.patterns.images": "{patient}/{id}.tif"}) == (
        "data.patterns.images {patient}/{id}.tif fits none of the 5 pictures: p1/marked by A/07-x.png, p1/scan 07.jpg, "
        "p2/marked by B/07-y.png, p2/preview.jpg, p2/scan 07.jpg. Change it, or set both patterns to auto."
    )


def test_masks_may_be_beside_their_images(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    files = {"benign/benign (1).png": IMAGE, "benign/benign (1)_mask.png": MASK, "benign/benign (2).png": IMAGE}
    files |= {"benign/benign (2)_mask.png": MASK, "benign/benign (2)_mask_1.png": MASK, "notes.txt": b""}

    assert build(files, {"data.masks.several": "union"}) == ""

    ids = ["benign (1)", "benign (2)"]
    assert sorted(path.stem for path in (HERE.raw / "images").iterdir()) == ids
    assert [row[:3] for row in decisions()] == [
        ("Images and masks told apart by the layout: masks beside their images", 2, ", ".join(ids)),
        ("Images with several masks, which are joined", 1, "benign (2)"),
        ("Files that are no images, masks or tables (.csv), not used", 1, "notes.txt"),
    ]


def test_patients_have_folders_and_images_of_the_same_names(build: Build) -> None:
    """The table names the images by their paths, as exports of hospitals do."""
    names = [f"{patient}/{role}/overview.png" for patient in ("p1", "p2") for role in ("images", "masks")]
    files = {name: IMAGE if "images" in name else MASK for name in names}
    table = "image,diagnosis,patient_id\np1/images/overview.png,nevus,1\np2/images/overview.png,melanoma,2\n"

    assert build(files | {"patients.csv": table.encode()}) == ""

    labels = pd.read_csv(HERE.raw / "labels.csv", dtype=str)
    assert labels.to_dict("list") == {
        "image_id": ["p1_images_overview", "p2_images_overview"],
        "diagnosis": ["nevus", "melanoma"],
        "group": ["1", "2"],
    }
    assert sorted(path.stem for path in (HERE.raw / "masks").iterdir()) == labels.image_id.tolist()


def test_where_masks_contradict_each_other_the_highest_value_counts(build: Build) -> None:
    three = {"data.masks.several": "union", "data.classes": {"skin": 0, "lesion": 100, "ulcer": 200}}
    files = pair("a", mask=encode(gray([[0, 100, 200]]))) | {"masks/a_mask.png": encode(gray([[0, 200, 100]]))}

    assert build(files, three) == ""
    assert mask("a").tolist() == [[0, 2, 2]]
    text = "Images whose masks give a pixel different classes, of which the one with the highest value counts"
    assert (text, 1, "a", "data.masks.several") in decisions()
    files["masks/a_mask.png"] = encode(gray([[0, 200]]))
    assert build(files, three) == (
        "The masks of one image must have the same size to be joined, but these differ: masks/a.png, masks/a_mask.png. "
        "Remove some of them."
    )


def test_what_does_not_match_can_be_left_out(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    files = pair("a") | pair("small", mask=encode(gray([[0], [255], [255]])))
    files |= {"images/alone.png": IMAGE, "masks/alone_too.png": MASK}

    assert build(files, {"data.mismatches": "leave-out"}) == ""

    assert (HERE.raw / "labels.csv").read_text() == "image_id,diagnosis\na,unlabelled\n"
    assert sorted(str(path.relative_to(HERE.raw)) for path in HERE.raw.rglob("*.png")) == [
        "images/a.png",
        "masks/a.png",
    ]
    assert decisions() == [
        ("Images without a mask, left out", 1, "alone", "data.mismatches"),
        ("Masks without an image, left out", 1, "alone_too", "data.mismatches"),
        ("Images whose mask has another size, left out", 1, "small", "data.mismatches"),
    ]
    assert "Images without a mask, left out: 1 (alone). Parameter: data.mismatches." in caplog.messages


def test_values_of_masks_that_are_left_out_do_not_matter(build: Build) -> None:
    files = pair("a") | {"masks/other.png": encode(gray([[7]]))}

    assert build(files, {"data.mismatches": "leave-out"}) == ""


def test_leaving_out_everything_is_an_error(build: Build) -> None:
    files = {"images/a.png": IMAGE, "masks/b.png": MASK}

    assert build(files, {"data.mismatches": "leave-out"}) == (
        "No image has a mask with its name and size, so data.mismatches: leave-out would leave out all 1 image(s) and "
        "1 mask(s), such as a, b. Rename or replace the masks."
    )
    assert not HERE.raw.exists()


def test_a_row_that_is_missing_can_be_left_out(build: Build) -> None:
    files = pair("a") | pair("b") | {"labels.csv": b"image_id,diagnosis\na,nevus\n"}

    assert "data.mismatches" in build(files)
    assert build(files, {"data.mismatches": "leave-out"}) == ""
    assert sorted(path.name for path in HERE.raw.rglob("*.png")) == ["a.png", "a.png"]


def test_folders_of_parts_are_the_split(build: Build) -> None:
    names = [
        f"{part}/{role}/{number}.png" for part in ("train", "test") for role in ("images", "masks") for number in "12"
    ]
    files = {name: IMAGE if "images" in name else MASK for name in names}

    assert build(files) == ""

    table = pd.read_csv(HERE.raw / "labels.csv", dtype=str)
    assert table.image_id.tolist() == ["test_1", "test_2", "train_1", "train_2"]
    assert table.split.tolist() == ["test", "test", "train", "train"]
    assert sorted(path.name for path in (HERE.raw / "images").iterdir()) == [f"{name}.png" for name in table.image_id]


def test_files_that_are_left_out_do_not_affect_the_others(build: Build) -> None:
    """Image b has no mask, but 16 bits, with which a would be nearly black. Beside mask c, mask a is ambiguous."""
    deep = {name: png_16_bit(np.full((1, 3, 1), value, np.uint16)) for name, value in (("a", 4095), ("b", 65535))}
    opaque = encode(with_alpha([[255, 255, 255]], [[255, 255, 255]]))
    files = pair("a", deep["a"], opaque) | {"images/b.png": deep["b"]}
    files["masks/c.png"] = encode(with_alpha([[255, 255, 255]], [[0, 255, 255]]))

    assert build(files, {"data.mismatches": "leave-out"}) == ""

    assert image("a").tolist() == [[[255] * 3] * 3]
    assert mask("a").tolist() == [[1, 1, 1]]
    assert sorted(path.name for path in HERE.raw.rglob("*") if path.is_file()) == [
        "a.png",
        "a.png",
        "decisions.csv",
        "labels.csv",
        "reading.json",
    ]


COLORS = [(255, 0, 0), (0, 0, 0), (1, 1, 1)]  # red, and two grays that are declared values as well
THREE_CLASSES = {"data.classes": {"skin": 0, "lesion": 1, "ulcer": 2}}


def test_all_masks_with_a_palette_are_read_in_one_way(build: Build) -> None:
    """Mask a has no red pixel, so its gray levels 0 and 1 are declared, but b can be read by indices only."""
    masks = {"a": encode(palette([[1, 2, 2]], COLORS)), "b": encode(palette([[0, 1, 2]], COLORS))}

    assert build(pair("a", mask=masks["a"]) | pair("b", mask=masks["b"]), THREE_CLASSES) == ""

    assert mask("a").tolist() == [[1, 2, 2]]
    assert mask("b").tolist() == [[0, 1, 2]]
    text = "Masks with a palette, read by its indices, because others have colors without a class"
    assert decisions() == [(text, 1, "a", "data.classes")]


def test_masks_with_a_palette_of_declared_gray_levels_are_read_by_them(build: Build) -> None:
    assert build(pair("a", mask=encode(palette([[1, 2, 2]], COLORS))), THREE_CLASSES) == ""

    assert mask("a").tolist() == [[0, 1, 1]]
    assert decisions() == []
    assert not list(HERE.raw.rglob("*.indices"))
