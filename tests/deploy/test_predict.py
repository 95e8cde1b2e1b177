"""Masks of new images: the same bytes as those of the cross-validation."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naevi.config import Config
from naevi.deploy.predict import predict_images
from naevi.deploy.prediction_folder import REGION_COLUMNS
from naevi.errors import UserError
from naevi.files import read_csv
from naevi.images.files import FORMATS, read_mask, write_image
from naevi.inference.segmenter import Segmenter, load_segmenter
from tests import pipeline
from tests.deploy.predictors import write_predictor
from tests.helpers import HERE


@pytest.fixture
def segmenter(tmp_path: Path, config_with: Callable[[dict[str, Any]], Config], torch_threads: None) -> Segmenter:
    """A predictor with random weights."""
    return load_segmenter(write_predictor(tmp_path / "predictor", config_with({})))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A random image of 40 x 30 px."""
    write_image(tmp_path / "image.png", np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    return tmp_path / "image.png"


def test_a_folder_is_overwritten_only_with_force(tmp_path: Path, segmenter: Segmenter, image: Path) -> None:
    out = tmp_path / "new" / "out"
    assert predict_images(segmenter, [image], out, force=False) == []
    mask = out / "masks" / "image.png"
    assert read_mask(mask).shape == (30, 40)
    mask.write_bytes(b"")

    with pytest.raises(
        UserError, match=r"image\.png changed after the prediction\. Choose a new name, or overwrite it with --f"
    ):
        predict_images(segmenter, [image], out, force=False)

    assert mask.read_bytes() == b""
    predict_images(segmenter, [image], out, force=True)
    assert read_mask(mask).shape == (30, 40)


def test_an_empty_folder_is_new(tmp_path: Path, segmenter: Segmenter, image: Path) -> None:
    (tmp_path / "out").mkdir()

    assert predict_images(segmenter, [image], tmp_path / "out", force=False) == []


@pytest.mark.parametrize(
    ("images", "out", "message"),
    [
        (["image.png", "nowhere.jpg"], "out", r"There is no .*nowhere\.jpg\. Check the spelling"),
        (["image.png"], "image.png", r"--out .*image\.png is a file\. Choose the name of a folder\."),
        (["image.png", "image.png"], "out", r"would both be written to image\.png\. Predict them separately"),
    ],
)
def test_wrong_paths_are_user_errors(
    tmp_path: Path, segmenter: Segmenter, image: Path, images: list[str], out: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predict_images(segmenter, [tmp_path / name for name in images], tmp_path / out, force=False)


def test_unreadable_files_are_skipped_with_a_warning(
    tmp_path: Path, segmenter: Segmenter, image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    letter = tmp_path / "letter.jpg"
    letter.write_bytes(b"%PDF-1.7 not an image")

    assert predict_images(segmenter, [letter, image], tmp_path / "out", force=False) == [str(letter)]

    assert [record.getMessage() for record in caplog.records] == [
        f"skipped: {letter} can't be read as an image: its format is unknown. Save it as {', '.join(FORMATS)}."
    ]
    assert [file.name for file in (tmp_path / "out" / "masks").iterdir()] == ["image.png"]


def test_names_that_are_formulas_in_spreadsheets_are_changed(tmp_path: Path, segmenter: Segmenter, image: Path) -> None:
    """The names are in a table, too."""
    shutil.copyfile(image, tmp_path / "=1+1.png")

    predict_images(segmenter, [tmp_path / "=1+1.png"], tmp_path / "out", force=False)

    assert [file.name for file in (tmp_path / "out" / "masks").iterdir()] == ["_=1+1.png"]


def test_names_that_no_file_can_have_are_skipped(
    tmp_path: Path, segmenter: Segmenter, image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that controls the terminal, one that isn't UTF-8, and one that is too long to get another suffix."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("\x1b[2J", "\udcff", "x" * 240, "ok"):
        shutil.copyfile(image, folder / f"{name}.png")

    assert len(predict_images(segmenter, [folder], tmp_path / "out", force=False)) == 3

    assert caplog.messages == [
        f"skipped: '{folder}/\\x1b[2J.png' has an unprintable character in its name. Rename it.",
        f"skipped: {folder}/{'x' * 240}.png has a name of more than 200 bytes. Shorten it.",
        f"skipped: '{folder}/\\udcff.png' has an unprintable character in its name. Rename it.",
    ]
    assert [file.name for file in (tmp_path / "out" / "masks").iterdir()] == ["ok.png"]


@pytest.mark.parametrize(("first", "second"), [("a", "A"), ("\u00e1", "a\u0301")], ids=["case", "accent"])
def test_names_that_some_file_systems_take_for_one_are_refused(
    tmp_path: Path, segmenter: Segmenter, image: Path, first: str, second: str
) -> None:
    for name in (first, second):
        (tmp_path / name).mkdir()
        shutil.copyfile(image, tmp_path / name / f"{name}.png")

    with pytest.raises(UserError, match=rf"{first}\.png and .*{second}\.png would both be written to {second}\.png"):
        predict_images(segmenter, [tmp_path / first, tmp_path / second], tmp_path / "out", force=False)


def test_a_text_beside_an_image_with_its_name_is_no_other_image(
    tmp_path: Path, segmenter: Segmenter, image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copyfile(image, folder / "a.png")
    (folder / "a.json").touch()

    caplog.set_level("INFO")

    assert predict_images(segmenter, [folder], tmp_path / "out", force=False) == []

    assert caplog.messages == [
        f"Other files, not used: 1 ({folder / 'a.json'}).",
        f"Masks and overlays of 1 image(s) are in {tmp_path / 'out'}.",
    ]
    assert (tmp_path / "out/masks/a.png").exists()
    assert not (tmp_path / "out/skipped.csv").exists()
    assert predict_images(segmenter, [folder / "a.json"], tmp_path / "named", force=False) == [str(folder / "a.json")]


def test_folders_are_kept_in_names(tmp_path: Path, segmenter: Segmenter, image: Path) -> None:
    """Patients have a folder each, with images of the same names. An archive is like a folder.

    Names are below what is named, so that more files in other folders don't change them.
    """
    content = image.read_bytes()
    for name in ("p1/overview.png", "p1/dermoscope/1.png", "p2/overview.png"):
        path = tmp_path / "clinic/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("a/x.png", content)
        archive.writestr("b/x.png", content)

    assert predict_images(segmenter, [tmp_path / "clinic", tmp_path / "more.zip"], tmp_path / "out", force=False) == []

    names = ["a/x", "b/x", "images/p1/dermoscope/1", "images/p1/overview", "images/p2/overview"]
    for folder, suffix in (("masks", "png"), ("overlays", "jpg")):
        found = (path for path in (tmp_path / "out" / folder).rglob("*") if path.is_file())
        expected = [f"{name}.{suffix}" for name in names]
        assert sorted(path.relative_to(tmp_path / "out" / folder).as_posix() for path in found) == expected
    assert set(read_csv(tmp_path / "out/lesions.csv").image) <= set(names)


def test_images_with_the_same_name_keep_their_folders(tmp_path: Path, segmenter: Segmenter, image: Path) -> None:
    for folder in ("p1", "p2"):
        (tmp_path / folder).mkdir()
        shutil.copyfile(image, tmp_path / folder / "overview.png")
    images = [tmp_path / "p1/overview.png", tmp_path / "p2/overview.png"]

    assert predict_images(segmenter, images, tmp_path / "out", force=False) == []

    masks = tmp_path / "out/masks"
    assert sorted(path.relative_to(masks).as_posix() for path in masks.rglob("*.png")) == [
        "p1/overview.png",
        "p2/overview.png",
    ]


def test_names_are_checked_before_anything_is_written(tmp_path: Path, segmenter: Segmenter, image: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(20):
        shutil.copyfile(image, folder / f"{index:02}.png")
    shutil.copyfile(image, folder / "19.PNG.png")
    shutil.copyfile(image, folder / "19.bmp")

    with pytest.raises(UserError, match=r"19\.bmp and .*19\.png would both be written to 19\.png"):
        predict_images(segmenter, [folder], tmp_path / "out", force=False)

    assert not (tmp_path / "out").exists()


def test_without_files_there_is_no_output(tmp_path: Path, segmenter: Segmenter) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(UserError, match=r"^There are no files in .*empty\. Name images, or where they are\.$"):
        predict_images(segmenter, [tmp_path / "empty"], tmp_path / "out", force=False)

    assert not (tmp_path / "out").exists()


def test_of_very_many_unreadable_files_only_some_are_named(
    tmp_path: Path, segmenter: Segmenter, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(130):
        (folder / f"{number}.jpg").touch()

    assert len(predict_images(segmenter, [folder], tmp_path / "out", force=False)) == 130

    assert len(caplog.messages) == 100


def test_pipes_and_huge_files_are_skipped_unread(
    tmp_path: Path, segmenter: Segmenter, image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The large file is sparse. Reading the pipe would wait for ever."""
    pipe, huge = tmp_path / "pipe.png", tmp_path / "huge.png"
    os.mkfifo(pipe)
    with huge.open("wb") as file:
        file.truncate(20 * 2**30)

    assert predict_images(segmenter, [pipe, huge, image], tmp_path / "out", force=False) == [str(pipe), str(huge)]

    assert caplog.messages == [
        f"skipped: {pipe} is a device, a pipe or a folder, not a file. Remove it or name a file.",
        f"skipped: {huge} is larger than 512 MiB. Make it smaller or remove it.",
    ]


@pytest.fixture(scope="module")
def predicted(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The test images of fold 0, some in a folder and some in an archive, and two unreadable files."""
    given, out = tmp_path_factory.mktemp("given"), tmp_path_factory.mktemp("predicted") / "out"
    split = read_csv(small_repository / HERE.split)
    names = split.image_id[split["0"] == "test"].tolist()
    (given / "some").mkdir()
    with zipfile.ZipFile(given / "others.zip", "w") as archive:
        for index, name in enumerate(names):
            image = small_repository / HERE.raw / "images" / f"{name}.png"
            if index % 2:
                archive.write(image, f"in/{name}.png")
            else:
                shutil.copy(image, given / "some")
    (given / "some" / "letter.jpg").write_bytes(b"%PDF-1.7 not an image")
    half = (small_repository / HERE.raw / "images" / f"{names[0]}.png").read_bytes()
    (given / "some" / "half.png").write_bytes(half[: len(half) // 2])
    sources = [str(given / "some"), str(given / "others.zip")]
    command = ["python", "-m", "naevi", "predict", *sources, "--model", "data/models/0", "--out", str(out)]
    printed = pipeline.run(small_repository, *command, check=False)
    return out, printed


@pytest.mark.slow
def test_masks_are_those_of_the_cross_validation(small_repository: Path, predicted: tuple[Path, str]) -> None:
    out, _ = predicted
    masks = sorted((out / "masks").rglob("*.png"))

    assert len(masks) == 10
    for file in masks:
        assert file.read_bytes() == (small_repository / HERE.predictions / file.name).read_bytes()
        overlay_file = out / "overlays" / file.relative_to(out / "masks").with_suffix(".jpg")
        with Image.open(overlay_file) as overlay:
            assert overlay.size == (96, 64)


@pytest.mark.slow
def test_the_table_agrees_with_the_masks(predicted: tuple[Path, str]) -> None:
    out, _ = predicted
    table = pd.read_csv(out / "lesions.csv")

    assert table.columns.tolist() == REGION_COLUMNS
    for name, rows in table.groupby("image"):
        assert rows.area_px.sum() == (read_mask(out / "masks" / f"{name}.png") > 0).sum()
    assert table.confidence.between(0, 1).all()


@pytest.mark.slow
def test_the_command_skips_unreadable_files(predicted: tuple[Path, str]) -> None:
    _, printed = predicted

    assert "letter.jpg can't be read as an image: its format is unknown." in printed
    assert "half.png can't be read as an image" in printed
    summary = "naevi: 2 file(s) were skipped because they can't be read as images: "
    assert printed.splitlines()[-1].startswith(summary)
    assert printed.endswith("skipped.csv has the reasons.\n")
    assert "Traceback" not in printed


@pytest.mark.slow
def test_the_command_overwrites_only_with_force(small_repository: Path, predicted: tuple[Path, str]) -> None:
    out, _ = predicted
    image = next((small_repository / HERE.raw / "images").iterdir())
    command = ["python", "-m", "naevi", "predict", str(image), "--out", str(out)]

    printed = pipeline.run(small_repository, *command, check=False)
    assert printed == (
        f"naevi: --out {out} was written with another model. Choose a new name, or overwrite it with --force.\n"
    )

    pipeline.run(small_repository, *command, "--force")
    assert set(pd.read_csv(out / "lesions.csv").image) <= {image.stem}


@pytest.mark.slow
def test_a_model_can_come_from_mlflow(small_repository: Path, tmp_path: Path, predicted: tuple[Path, str]) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{small_repository / 'mlflow.db'}")
    (run,) = client.search_runs(["1"], "tags.kind = 'model' and tags.item = '0' and attributes.status = 'FINISHED'")
    name = next(file.stem for file in (predicted[0] / "masks").iterdir())
    command = ["python", "-m", "naevi", "predict", f"data/raw/images/{name}.png", "--out", str(tmp_path / "out")]

    pipeline.run(small_repository, *command, "--model", f"runs:/{run.info.run_id}/model")

    mask, expected = (folder / "masks" / f"{name}.png" for folder in (tmp_path / "out", predicted[0]))
    assert mask.read_bytes() == expected.read_bytes()


@pytest.mark.slow
def test_a_predictor_works_outside_the_repository(
    small_repository: Path, tmp_path: Path, predicted: tuple[Path, str]
) -> None:
    """In a folder without params.yaml, with the predictor alone: the same bytes as inside."""
    predictor = shutil.copytree(small_repository / HERE.predictor, tmp_path / "predictor")
    image = next((small_repository / HERE.raw / "images").iterdir())
    command = ["python", "-m", "naevi", "predict", str(image), "--out"]
    environment = {"PYTHONPATH": str(small_repository)}

    pipeline.run(small_repository, *command, str(tmp_path / "inside"))
    pipeline.run(tmp_path, *command, "outside", "--model", predictor.name, **environment)

    for name in (f"masks/{image.stem}.png", f"overlays/{image.stem}.jpg", "lesions.csv"):
        assert (tmp_path / "outside" / name).read_bytes() == (tmp_path / "inside" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data/raw/images", "--model", "models:/nothing@champion"], "models:/nothing@champion"),
        (["data/raw/images", "--model", "data/models/7"], "data/models/7 is not a predictor"),
        (
            ["data/raw/images", "data/raw/images"],
            "would both be written to phantom-00000.png. Predict them separately",
        ),
    ],
)
def test_the_command_explains_user_errors(
    small_repository: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    command = ["python", "-m", "naevi", "predict", *arguments, "--out", str(tmp_path / "out")]

    printed = pipeline.run(small_repository, *command, check=False)

    assert message in printed
    assert "Traceback" not in printed
