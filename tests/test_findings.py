"""What a model finds in a user's images: masks as the cross-validation's, and areas measured by hand."""

import math
import shutil
import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi import findings, paths, tables
from naevi.images import read_mask
from tests import pipeline


def mask(text: str) -> np.ndarray:
    """A mask from rows of digits."""
    return np.array([[int(pixel) for pixel in row] for row in text.split()], np.uint8)


def test_an_outline_is_midway_between_pixels() -> None:
    """Of one pixel four slants of √½; of a square of two, four sides more; a hole counts as well."""
    slants = 4 * math.sqrt(0.5)

    assert findings.perimeter(mask("1") > 0) == pytest.approx(slants)
    assert findings.perimeter(mask("11 11") > 0) == pytest.approx(slants + 4)
    assert findings.perimeter(mask("111 101 111") > 0) == pytest.approx(slants + 8 + slants)


def test_each_area_has_a_row_largest_first() -> None:
    found = mask("10000 00110 00110")
    probability = np.where(found > 0, np.float32(0.75), np.float32(0))[None]
    probability[0, 2, 4] = 0.5  # not taken for lesion, but near

    rows = findings.lesions(found, probability, ["skin", "lesion"])

    slants = round(4 * math.sqrt(0.5), 1)
    assert rows == [
        {
            "class": "lesion",
            "lesion": 1,
            "area_px": 4,
            "perimeter_px": 6.8,
            "equivalent_diameter_px": 2.3,  # 2 √(4 / π)
            "left": 2,
            "top": 1,
            "width": 2,
            "height": 2,
            "confidence": round(2 * 3 / (3.5 + 4), 4),  # the other area's .75 is not its own
        },
        {
            "class": "lesion",
            "lesion": 2,
            "area_px": 1,
            "perimeter_px": slants,
            "equivalent_diameter_px": 1.1,
            "left": 0,
            "top": 0,
            "width": 1,
            "height": 1,
            "confidence": round(2 * 0.75 / (0.75 + 0.5 + 1), 4),
        },
    ]


def test_of_more_classes_each_is_measured_by_itself() -> None:
    found = mask("1122")
    probability = np.stack([found == place for place in range(3)]).astype(np.float32)

    rows = findings.lesions(found, probability, ["skin", "nevus", "melanoma"])

    assert [(row["class"], row["left"], row["area_px"], row["confidence"]) for row in rows] == [
        ("nevus", 0, 2, 1.0),
        ("melanoma", 2, 2, 1.0),
    ]


def test_nothing_found_is_no_row() -> None:
    assert findings.lesions(mask("00 00"), np.zeros((1, 2, 2), np.float32), ["skin", "lesion"]) == []


@pytest.fixture(scope="module")
def predicted(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The images of fold 0's test part, some of them in a folder and some in an archive, and two spoilt files."""
    given, out = tmp_path_factory.mktemp("given"), tmp_path_factory.mktemp("predicted") / "out"
    split = tables.read(small_repository / paths.SPLIT)
    names = split.image_id[split["0"] == "test"].tolist()
    (given / "some").mkdir()
    with zipfile.ZipFile(given / "others.zip", "w") as archive:
        for index, name in enumerate(names):
            image = small_repository / paths.RAW / "images" / f"{name}.png"
            if index % 2:
                archive.write(image, f"in/{name}.png")
            else:
                shutil.copy(image, given / "some")
    (given / "some" / "letter.jpg").write_bytes(b"%PDF-1.7 not a picture")
    half = (small_repository / paths.RAW / "images" / f"{names[0]}.png").read_bytes()
    (given / "some" / "half.png").write_bytes(half[: len(half) // 2])
    sources = [str(given / "some"), str(given / "others.zip")]
    command = ["python", "-m", "naevi", "predict", *sources, "--model", "data/models/0", "--out", str(out)]
    told = pipeline.run(small_repository, *command, check=False)
    return out, told


def test_masks_are_those_of_the_cross_validation(small_repository: Path, predicted: tuple[Path, str]) -> None:
    out, _ = predicted
    masks = sorted((out / "masks").iterdir())

    assert len(masks) == 10
    for file in masks:
        assert file.read_bytes() == (small_repository / paths.PREDICTIONS / file.name).read_bytes()
        with Image.open(out / "overlays" / f"{file.stem}.jpg") as picture:
            assert picture.size == (96, 64)


def test_the_table_agrees_with_the_masks(predicted: tuple[Path, str]) -> None:
    out, _ = predicted
    table = pd.read_csv(out / "lesions.csv")

    assert table.columns.tolist() == findings.COLUMNS
    for name, rows in table.groupby("image"):
        assert rows.area_px.sum() == (read_mask(out / "masks" / f"{name}.png") > 0).sum()
    assert table.confidence.between(0, 1).all()


def test_what_is_no_image_is_told_of_and_skipped(predicted: tuple[Path, str]) -> None:
    _, told = predicted

    assert "letter.jpg can't be read as an image: its format is unknown." in told
    assert "half.png can't be read as an image" in told
    assert told.endswith("naevi: 2 file(s) were skipped, since they can't be read; see above.\n")
    assert "Traceback" not in told


def test_nothing_is_overwritten_unasked(small_repository: Path, predicted: tuple[Path, str]) -> None:
    out, _ = predicted
    image = next((small_repository / paths.RAW / "images").iterdir())
    command = ["python", "-m", "naevi", "predict", str(image), "--out", str(out)]

    told = pipeline.run(small_repository, *command, check=False)
    assert told == f"naevi: --out {out} holds something already; name a new folder, or overwrite with --force.\n"

    pipeline.run(small_repository, *command, "--force")
    assert set(pd.read_csv(out / "lesions.csv").image) <= {image.stem}


def test_a_model_may_come_from_mlflow(small_repository: Path, tmp_path: Path, predicted: tuple[Path, str]) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{small_repository / 'mlflow.db'}")
    (run,) = client.search_runs(["1"], "tags.kind = 'model' and tags.item = '0' and attributes.status = 'FINISHED'")
    name = next(file.stem for file in (predicted[0] / "masks").iterdir())
    command = ["python", "-m", "naevi", "predict", f"data/raw/images/{name}.png", "--out", str(tmp_path / "out")]

    pipeline.run(small_repository, *command, "--model", f"runs:/{run.info.run_id}/model")

    found, expected = (folder / "masks" / f"{name}.png" for folder in (tmp_path / "out", predicted[0]))
    assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere.jpg"], "there is no nowhere.jpg; name images, folders or archives of them."),
        (["data/raw/images", "--model", "models:/nothing@champion"], "gives no models:/nothing@champion ("),
        (["data/raw/images", "--model", "data/models/7"], "data/models/7 holds no readable model.json"),
        (
            ["data/raw/images", "data/raw/images"],
            "would both become phantom-00000.png; predict them one after the other.",
        ),
    ],
)
def test_what_cannot_be_is_refused(small_repository: Path, tmp_path: Path, given: list[str], message: str) -> None:
    command = ["python", "-m", "naevi", "predict", *given, "--out", str(tmp_path / "out")]

    told = pipeline.run(small_repository, *command, check=False)

    assert message in told
    assert "Traceback" not in told
