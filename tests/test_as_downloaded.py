"""Data sets as people download them, and what people do with them first: once, each of these was refused.

One test for each kind. They use only what has always been there, so that they fail on their own assertions if the
product can't do it.
"""

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from naevi.config import Config
from naevi.datasets.raw import build_raw
from naevi.datasets.synthetic import synthetic_image
from naevi.deploy.predict import predict_images
from naevi.errors import UserError
from naevi.files import write_csv
from naevi.images.files import read_mask
from naevi.inference.segmenter import load_segmenter
from naevi.preprocessing.prepare import prepare
from naevi.splitting import assign_parts
from naevi.tables import decision_table, read_decisions
from naevi.training.run import train_model
from naevi.workspace import Workspace
from tests.datasets.image_files import encode, gray
from tests.deploy.predictors import write_predictor
from tests.helpers import HERE, ROOT

Read = Callable[..., str]
ConfigWith = Callable[[dict[str, Any]], Config]
OWN = {"data.source": "folder", "data.path": "data/external/own", "data.classes": {"skin": 0, "lesion": 255}}
IMAGE = encode(Image.new("RGB", (3, 1), (1, 2, 3)))
MASK = encode(gray([[0, 255, 255]]))


@pytest.fixture
def read(folder: Path, config_with: ConfigWith) -> Read:
    """Return a function that reads files as data.path, with other parameters, and returns the error or nothing."""

    def run(files: dict[str, bytes], changes: dict[str, Any] | None = None) -> str:
        for name, content in files.items():
            path = HERE.external_data / "own" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        try:
            build_raw(HERE, config_with(OWN | (changes or {})).data)
        except UserError as error:
            return str(error)
        except KeyError as error:
            return f"There is no parameter {error}."
        return ""

    return run


def masks() -> dict[str, list[list[int]]]:
    """Return the masks in data/raw."""
    return {path.stem: read_mask(path).tolist() for path in sorted((HERE.raw / "masks").iterdir())}


def counts() -> dict[str, int]:
    """Return how many files each decision affected."""
    rows = decision_table(read_decisions(HERE)).to_dict("records")
    return {str(row["decision"]): int(row["count"]) for row in rows}


def test_r1_masks_that_were_shrunk_with_interpolation(read: Read) -> None:
    files = {"images/a.png": IMAGE, "masks/a.png": encode(gray([[10, 127, 200]]))}

    assert read(files, {"data.masks.values": "nearest"}) == ""
    assert masks() == {"a": [[0, 0, 1]]}
    assert counts() == {
        "Masks with values between those of classes, read as the nearest class (100.00% of their pixels)": 1
    }


def test_r2_masks_of_another_size_with_the_same_aspect(read: Read) -> None:
    files = {"images/a.png": IMAGE, "masks/a.png": encode(gray([[0] * 2 + [255] * 4] * 2))}

    assert read(files) == ""
    assert masks() == {"a": [[0, 1, 1]]}
    assert counts() == {"Masks of another size than their image, resized to it": 1}


def test_r3_void_pixels_and_a_color_legend(read: Read) -> None:
    colors = np.array([[[0, 0, 0], [128, 0, 0], [224, 224, 192]]], np.uint8)
    files = {"images/a.png": IMAGE, "masks/a.png": encode(Image.fromarray(colors))}
    legend = {"data.classes": {"background": "#000000", "plane": "#800000"}, "data.masks.void": ["#e0e0c0"]}

    assert read(files, legend) == ""
    assert masks() == {"a": [[0, 1, 255]]}
    assert list(counts().values()) == [1]


def test_r4_several_masks_for_an_image(read: Read) -> None:
    files = {"images/a.png": IMAGE, "masks/a_mask_1.png": encode(gray([[255, 0, 0]]))}
    files |= {"masks/a_mask_2.png": encode(gray([[0, 0, 255]]))}
    by_class = {"data.masks.several": "classes", "data.classes": {"skin": 0, "nucleus": 1, "cell": 2}}

    assert read(files, {"data.masks.several": "union"}) == ""
    assert masks() == {"a": [[1, 0, 1]]}
    for name in ("cell", "nucleus"):
        (HERE.external_data / "own/masks" / f"a_mask_{1 + (name == 'cell')}.png").rename(
            HERE.external_data / "own/masks" / f"a_{name}.png"
        )
    assert read({}, by_class) == ""
    assert masks() == {"a": [[1, 0, 2]]}


def test_r5_other_files_beside_images(read: Read) -> None:
    names = ("LICENSE.txt", "images/Thumbs.db", "images/a_superpixels.png", "__MACOSX/images/._a.png", "ATTRIBUTION.md")
    files = {"images/a.png": IMAGE, "masks/a.png": MASK} | dict.fromkeys(names, IMAGE)

    assert read(files) == ""
    assert masks() == {"a": [[0, 1, 1]]}
    assert counts() == {"Files that are no images, masks or tables (.csv), not used": 4}  # __MACOSX is hidden


def test_r6_equal_names_that_end_like_a_mask(read: Read) -> None:
    files = {
        f"{role}/{name}.png": IMAGE if role == "images" else MASK
        for role in ("images", "masks")
        for name in ("left_lesion", "left_mask", "left")
    }

    assert read(files) == ""
    assert list(masks()) == ["left", "left_lesion", "left_mask"]


def test_r7_a_zip_of_windows_powershell(read: Read) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in {"own\\images\\a.png": IMAGE, "own\\masks\\a.png": MASK}.items():
            member = zipfile.ZipInfo(name)
            member.filename = name  # ZipInfo itself turns the separators on Windows only
            archive.writestr(member, data)

    assert read({"../own.zip": content.getvalue()}, {"data.path": "data/external/own.zip"}) == ""
    assert masks() == {"a": [[0, 1, 1]]}


def test_r8_endings_and_formats(read: Read) -> None:
    picture = Image.new("RGB", (3, 1), (9, 9, 9))
    made = {"a.jfif": "JPEG", "b.JPG": "JPEG", "c.WebP": "WEBP", "d.TIF": "TIFF", "e.jpe": "JPEG"}
    files = {f"masks/{name[0]}.png": MASK for name in made}
    for name, kind in made.items():
        content = io.BytesIO()
        picture.save(content, format=kind)
        files[f"images/{name}"] = content.getvalue()

    assert read(files) == ""
    assert list(masks()) == list("abcde")


def test_r9_rare_diagnoses_of_any_text(read: Read, config_with: ConfigWith) -> None:
    """Of 12 images, two diagnoses have one image each, fewer than the folds."""
    diagnoses = ["Nevus, NOS"] * 10 + ["scar (old?)", "melanoma; in situ"]
    files: dict[str, bytes] = {}
    for index in range(12):
        sample = synthetic_image(index, height=64, width=64, seed=1)
        files[f"images/{index:02}.png"] = encode(Image.fromarray(sample.image))
        files[f"masks/{index:02}.png"] = encode(gray(sample.mask * np.uint8(255)))
    rows = pd.DataFrame({"image_id": [f"{index:02}" for index in range(12)], "diagnosis": diagnoses})
    files["labels.csv"] = rows.to_csv(index=False).encode()

    assert read(files) == ""
    config = config_with(OWN | {"split.folds": 4})
    table = prepare(HERE, config.data, config.preprocess).image_table
    try:
        split = assign_parts(table, config.split)
    except UserError as error:
        split = str(error)
    assert isinstance(split, pd.DataFrame), split
    assert sorted(set(split.diagnosis)) == sorted(set(diagnoses))
    assert [(split[str(fold)] == "test").sum() for fold in range(4)] == [3, 3, 3, 3]


def test_r10_predictions_for_patient_folders_that_go_on_where_they_stopped(
    tmp_path: Path, torch_threads: None, config_with: ConfigWith
) -> None:
    for patient in ("p1", "p2"):
        (tmp_path / "clinic" / patient).mkdir(parents=True)
        (tmp_path / "clinic" / patient / "overview.png").write_bytes(IMAGE)
    segmenter = load_segmenter(write_predictor(tmp_path / "predictor", config_with({})))
    out = tmp_path / "out"

    def predict() -> str:
        try:
            predict_images(segmenter, [tmp_path / "clinic"], out, force=False)
        except UserError as error:
            return str(error)
        return ""

    assert predict() == ""
    written = {path.relative_to(out).as_posix(): path.stat().st_ino for path in (out / "masks").rglob("*.png")}
    assert sorted(written) == ["masks/p1/overview.png", "masks/p2/overview.png"]
    (out / "masks/p2/overview.png").unlink()  # as if it had been interrupted
    assert predict() == ""
    again = {path.relative_to(out).as_posix(): path.stat().st_ino for path in (out / "masks").rglob("*.png")}
    assert again["masks/p1/overview.png"] == written["masks/p1/overview.png"]
    assert sorted(again) == sorted(written)


def test_r11_coco_annotations(read: Read) -> None:
    """A polygon around two of three pixels."""
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 1, "width": 3}],
        "categories": [{"id": 1, "name": "lesion"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 0, 3, 0, 3, 1, 1, 1]]}],
    }

    assert read({"images/a.png": IMAGE, "annotations/instances.json": json.dumps(coco).encode()}) == ""
    assert masks() == {"a": [[0, 1, 1]]}


@pytest.mark.slow
def test_r12_a_whole_network_with_a_frozen_encoder(
    tiny: Any, tmp_path: Path, torch_threads: None, config_with: ConfigWith
) -> None:
    """The encoder stays frozen in the only epoch, so its weights are those of the file. The decoder learns."""
    workspace = Workspace(tmp_path)
    (tmp_path / "data/weights").mkdir(parents=True)
    workspace.prepared.symlink_to(tiny.workspace.prepared)
    for name in ("dvc.yaml", "naevi", "stages", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_csv(workspace.split, tiny.split)
    weights, start = workspace.model("0") / "model.safetensors", tmp_path / "data/weights/start.safetensors"

    def train(**changes: Any) -> str:
        network = {"model.architecture": "unet", "model.encoder": "resnet18"}
        try:
            config = config_with(network | {key.replace("__", "."): value for key, value in changes.items()})
            train_model(workspace, config, "0", lambda origin, live: nullcontext(MagicMock()))
        except UserError as error:
            return str(error)
        except KeyError as error:
            return f"There is no parameter {error}."
        return ""

    assert train() == ""
    weights.rename(start)
    assert train(model__weights="start.safetensors", train__start_from="network", train__freeze_encoder=1) == ""
    before, after = load_file(start), load_file(weights)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed if ".encoder." in name} == set()
    assert len(changed) > 20


def test_r14_the_bytes_of_photographs_stay(read: Read) -> None:
    sample, content = synthetic_image(0, height=64, width=96, seed=1), io.BytesIO()
    Image.fromarray(sample.image).save(content, format="JPEG", quality=90)
    files = {"images/a.jpg": content.getvalue(), "masks/a.png": encode(gray(sample.mask * np.uint8(255)))}

    assert read(files) == ""
    kept = {path.name: path.read_bytes() for path in (HERE.raw / "images").iterdir()}
    assert kept == {"a.jpg": content.getvalue()}


def person(height: int, width: int, index: int) -> Image.Image:
    """Return the mask of a person-like shape, a head above a body, at this size."""
    shape = Image.new("L", (width, height))
    draw, middle = ImageDraw.Draw(shape), width * (0.4 + 0.02 * (index % 10))
    draw.ellipse((middle - 0.1 * height, 0.1 * height, middle + 0.1 * height, 0.3 * height), fill=255)
    draw.rounded_rectangle((middle - 0.15 * height, 0.3 * height, middle + 0.15 * height, 0.95 * height), 3, fill=255)
    return shape


def test_photographs_of_people_with_masks_of_other_sizes(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    """300 JPEGs of many sizes in one folder, PNG masks in another, 180 of them (60 %) of another size."""
    caplog.set_level("INFO")
    random, files, resized = np.random.default_rng(0), dict[str, bytes](), list[str]()
    for index in range(300):
        width, height = (int(side) for side in random.integers(40, 120, 2))
        scale = random.choice([0.5, 1.5, 2]) if index % 5 < 3 else 1
        content, background = io.BytesIO(), random.integers(0, 256, (height, width, 3), np.uint8)
        Image.composite(
            Image.new("RGB", (width, height), (200, 150, 120)),
            Image.fromarray(background),
            person(height, width, index),
        ).save(content, format="JPEG")
        files[f"photos/{index:03}.jpg"] = content.getvalue()
        mask = person(round(height * scale), round(width * scale), index)
        files[f"masks/{index:03}.png"] = encode(mask)
        resized += [f"{index:03}"] * int(scale != 1)

    assert read(files) == ""

    text = "Masks of another size than their image, resized to it"
    assert counts() == {"Images and masks told apart by the layout: two folders": 300, text: 180}
    assert "Read as two folders: 300 images, 300 masks." in caplog.messages
    assert f"{text}: 180 ({', '.join(resized[:10])}, …). Parameter: data.masks.sizes." in caplog.messages
    for image_id, mask in list(masks().items())[:20]:
        with Image.open(HERE.raw / "images" / f"{image_id}.jpg") as image:
            expected = np.asarray(person(image.height, image.width, int(image_id))) > 0
        both = (np.array(mask) > 0) & expected
        assert 2 * both.sum() / (np.sum(mask) + expected.sum()) > 0.9
