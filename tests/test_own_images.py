"""A user's own photographs with three classes, from a folder to the report. Then external validation and a cutout.

The folder is a dependency: every change of its bytes is noticed, and equal bytes elsewhere change nothing.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from dvc.repo import Repo
from PIL import Image

from naevi.dataset import load_images
from naevi.datasets.synthetic import synthetic_image
from naevi.deploy.cutout import composite
from naevi.experiments.demo import set_parameters
from naevi.images.files import read_image, read_mask
from naevi.images.folders import stored_image
from naevi.models.storage import load_model
from naevi.record import read_scores
from tests import pipeline
from tests.helpers import HERE

pytestmark = pytest.mark.slow

CLASSES = {"skin": 0, "nevus": 3, "melanoma": 7}


def photograph(folder: Path, index: int, name: str) -> str:
    """Write a synthetic image as a phone does, rotated and with EXIF, and its upright mask; return its diagnosis."""
    synthetic = synthetic_image(index, height=64, width=96, seed=3)
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer rotates it by 90 degrees clockwise
    Image.fromarray(np.rot90(synthetic.image)).save(folder / "images" / f"{name}.jpg", quality=95, exif=exif)
    value = CLASSES["melanoma" if synthetic.diagnosis == "melanoma" else "nevus"]
    Image.fromarray(synthetic.mask * np.uint8(value)).save(folder / "masks" / f"{name}.png")
    return synthetic.diagnosis


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty photographs, two of each patient, with names that a spreadsheet would change."""
    folder = tmp_path_factory.mktemp("own") / "photographs"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows = [(f"{index:03}", photograph(folder, index, f"{index:03}"), f"patient {index // 2}") for index in range(20)]
    pd.DataFrame(rows, columns=["image_id", "class", "group"]).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def repository(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which the pipeline has run on the photographs."""
    folder = tmp_path_factory.mktemp("own") / "repository"
    pipeline.make(folder)
    set_parameters(folder / HERE.params, [f"data.classes={CLASSES}".replace("'", "")])
    pipeline.run(folder, "dvc", "exp", "run", "-S", "data.source=folder", "-S", f"data.path={photographs}")
    return folder


def test_each_image_is_scored_for_each_class(repository: Path) -> None:
    rows = pd.read_csv(repository / HERE.per_image, dtype={"image_id": str})
    scores = read_scores(repository / HERE.metrics, repository / HERE.details)

    assert rows.image_id.tolist() == [f"{index:03}" for index in range(20) for _ in range(2)]
    assert rows["class"].tolist() == ["nevus", "melanoma"] * 20
    assert scores["images"] == 20
    assert scores["empty_masks"] == 0  # each image lacks one of the two, but not both
    assert list(scores["by_class"]) == ["nevus", "melanoma"]
    assert scores["dice"]["mean"] == pytest.approx(rows.groupby("image_id").dice.mean().mean(), abs=1e-6)
    for row in rows.itertuples():
        mask = read_mask(repository / HERE.raw / "masks" / f"{row.image_id}.png")
        prediction = read_mask(repository / HERE.predictions / f"{row.image_id}.png")
        assert mask.shape == prediction.shape == (64, 96)
        class_index = 1 if row[5] == "nevus" else 2
        assert row.tp == ((mask == class_index) & (prediction == class_index)).sum()
        assert row.fp == ((mask != class_index) & (prediction == class_index)).sum()


def test_images_are_upright_like_their_masks(repository: Path, photographs: Path) -> None:
    file = repository / HERE.raw / "images" / "004.jpg"
    assert file.read_bytes() == (photographs / "images" / "004.jpg").read_bytes()
    image = read_image(file).astype(int)

    assert np.abs(image - synthetic_image(4, height=64, width=96, seed=3).image).mean() < 6  # JPEG


def test_patients_are_not_divided(repository: Path) -> None:
    split = pd.read_csv(repository / HERE.split, dtype=str)

    for fold in ("0", "1"):
        assert (split.groupby("group")[fold].nunique() == 1).all()
        assert {"train", "val", "test"} == set(split[fold])


def test_the_report_names_the_classes(repository: Path) -> None:
    html = (repository / HERE.report_html).read_text(encoding="utf-8")

    assert "<h1>Nevus and melanoma segmentation on photographs</h1>" in html
    assert '<th scope="row">melanoma</th>' in html
    assert "PH2" not in html


def naevi(folder: Path, *arguments: object) -> str:
    """Return what `python -m naevi` prints."""
    return pipeline.run(folder, "python", "-m", "naevi", *map(str, arguments), check=False)


def test_an_external_validation_has_the_same_files_and_scores(repository: Path, photographs: Path) -> None:
    """On its test images, the model of a fold has the scores of the cross-validation."""
    split = pd.read_csv(repository / HERE.split, dtype=str)
    test_ids = split.image_id[split["1"] == "test"].tolist()
    elsewhere = photographs.parent / "elsewhere"
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        (elsewhere / part).mkdir(parents=True)
        for image_id in test_ids:
            file = f"{image_id}.{suffix}"
            (elsewhere / part / file).write_bytes((photographs / part / file).read_bytes())
    labels = pd.read_csv(photographs / "labels.csv", dtype=str)
    labels[labels.image_id.isin(test_ids)].to_csv(elsewhere / "labels.csv", index=False)
    arguments = ["--model", "data/models/1", elsewhere / "images", elsewhere / "masks"]

    printed = naevi(repository, "validate", *arguments, "--labels", elsewhere / "labels.csv")

    assert [line for line in printed.splitlines() if "Parameter: data." not in line] == []
    external = repository / "external"
    rows = pd.read_csv(external / HERE.per_image, dtype={"image_id": str})
    expected = pd.read_csv(repository / HERE.per_image, dtype={"image_id": str}).query("fold == 1")
    assert rows.image_id.tolist() == expected.image_id.tolist()
    assert rows.diagnosis.tolist() == expected.diagnosis.tolist()
    assert rows.tp.tolist() == expected.tp.tolist()
    assert rows.dice.to_numpy() == pytest.approx(expected.dice.to_numpy(), abs=1e-6, nan_ok=True)
    found, expected_names = (
        set(read_scores(folder / HERE.metrics, folder / HERE.details)) for folder in (external, repository)
    )
    assert expected_names - found == {"folds", "fold", "val"}
    html = (external / HERE.report_html).read_text(encoding="utf-8")
    assert f"{len(test_ids)} images, scored at their native size by the model 1, which was trained on" in html
    assert (external / HERE.report_md).exists()
    assert (external / HERE.figures / "histogram.png").exists()

    again = naevi(repository, "validate", *arguments)

    assert again == "naevi: --out external already exists. Choose a new name, or overwrite it with --force.\n"


def test_an_external_validation_that_fails_leaves_nothing(repository: Path, photographs: Path) -> None:
    printed = naevi(repository, "validate", photographs / "images", photographs / "images", "--out", "wrong")

    assert printed.startswith("naevi: ")
    assert "Traceback" not in printed
    assert not list(repository.glob("wrong*"))


def test_a_cutout_is_over_the_other_image(repository: Path, photographs: Path) -> None:
    """By hand: the prepared image through the network, the foreground resized to the native size."""
    beach = photographs.parent / "beach.png"
    Image.new("RGB", (50, 50), (0, 0, 255)).save(beach)
    photo = photographs / "images" / "003.jpg"

    printed = naevi(repository, "cutout", "--model", "data/models/all", photo, "--over", beach, "--out", "cut.png")

    assert printed == ""
    small = load_images(repository / HERE.prepared, ["003"], classes=3, device="cpu").images
    mirrors = [[], [3], [2], [2, 3]]
    with torch.inference_mode():
        network = load_model(repository / HERE.model("all"), device="cpu").network
        probability = sum(network(small.flip(axes) / 255).softmax(dim=1).flip(axes) for axes in mirrors) / 4
    foreground = torch.nn.functional.interpolate(1 - probability[:, :1], size=(64, 96), mode="bilinear")[0, 0].numpy()
    image = stored_image(repository / HERE.raw / "images", "003")
    expected = composite(image, foreground, np.full((64, 96, 3), (0, 0, 255), np.uint8))
    cut = np.asarray(Image.open(repository / "cut.png")).astype(int)
    assert cut.shape == (64, 96, 3)
    assert np.abs(cut - expected).mean() < 3  # bf16 if the processor supports it

    again = naevi(repository, "cutout", photo, "--over", beach, "--out", "cut.png")

    assert again == "naevi: --out cut.png already exists. Choose a new name, or overwrite it with --force.\n"


def repro(folder: Path, *arguments: str) -> list[str]:
    """Return the names of the stages that `dvc repro` runs."""
    return re.findall(r"Running stage '(.*)':", pipeline.run(folder, "dvc", "repro", *arguments))


def test_equal_images_in_another_folder_train_nothing_and_make_no_second_result(
    repository: Path, photographs: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(photographs, tmp_path / "clinic"))
    copy = pipeline.copy(repository, tmp_path / "repository")
    before = [run.info.run_id for run in pipeline.runs(copy, "result")]
    set_parameters(copy / HERE.params, [f"data.path={moved}"])

    assert repro(copy) == ["download", "report", "track"]
    assert [run.info.run_id for run in pipeline.runs(copy, "result")] == before
    assert len(before) == 1
    assert "segmentation on clinic" in (copy / HERE.report_md).read_text(encoding="utf-8")


def flip_a_bit(folder: Path) -> None:
    file = folder / "images" / "004.jpg"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(bytes(content))


def correct_a_mask(folder: Path) -> None:
    Image.fromarray(np.full((64, 96), CLASSES["nevus"], np.uint8)).save(folder / "masks" / "004.png")


def add_an_image(folder: Path) -> None:
    diagnosis = photograph(folder, 20, "020")
    with (folder / "labels.csv").open("a", encoding="utf-8") as file:
        file.write(f"020,{diagnosis},patient 10\n")


def remove_an_image(folder: Path) -> None:
    for file in (folder / "images" / "004.jpg", folder / "masks" / "004.png"):
        file.unlink()


def rename_an_image(folder: Path) -> None:
    (folder / "images" / "004.jpg").rename(folder / "images" / "999.jpg")
    (folder / "masks" / "004.png").rename(folder / "masks" / "999.png")


@pytest.mark.parametrize("change", [flip_a_bit, correct_a_mask, add_an_image, remove_an_image, rename_an_image])
def test_every_change_of_the_images_is_noticed(
    repository: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
) -> None:
    monkeypatch.chdir(repository)
    kept = Path(shutil.copytree(photographs, tmp_path / "kept"))
    try:
        change(photographs)
        with Repo() as dvc:
            stale = set(dvc.status())
    finally:
        shutil.rmtree(photographs)
        shutil.copytree(kept, photographs)
    with Repo() as dvc:
        restored = dvc.status()

    assert stale == {"download"}
    assert restored == {}


def test_a_corrected_mask_reaches_the_prepared_images(repository: Path, photographs: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(photographs, tmp_path / "own"))
    copy = pipeline.copy(repository, tmp_path / "repository")
    set_parameters(copy / HERE.params, [f"data.path={own}"])
    correct_a_mask(own)

    assert repro(copy, "split") == ["download", "preprocess", "split"]
    assert (read_mask(copy / HERE.prepared / "masks" / "004.png") == 1).all()
    assert repro(copy, "split") == []
