"""A user's own photographs, of three classes, from a folder to the report; then an external test and a cutout."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from naevi import dataset, model_file, paths, summary
from naevi.config import override
from naevi.cutout import laid_over
from naevi.images import read_image, read_mask
from naevi.phantoms import phantom
from tests import pipeline

CLASSES = {"skin": 0, "nevus": 3, "melanoma": 7}


def photograph(folder: Path, index: int, name: str) -> str:
    """A phantom as a phone would store it, on its side as a JPEG, its mask upright; returns its diagnosis."""
    made = phantom(index, height=64, width=96, seed=3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees clockwise to see it upright
    Image.fromarray(np.rot90(made.image)).save(folder / "images" / f"{name}.jpg", quality=95, exif=exif)
    value = CLASSES["melanoma" if made.diagnosis == "melanoma" else "nevus"]
    Image.fromarray(made.mask * np.uint8(value)).save(folder / "masks" / f"{name}.png")
    return made.diagnosis


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty, two of each patient, with names that spreadsheets would spoil."""
    folder = tmp_path_factory.mktemp("own") / "photographs"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows = [(f"{index:03}", photograph(folder, index, f"{index:03}"), f"patient {index // 2}") for index in range(20)]
    pd.DataFrame(rows, columns=["image_id", "class", "group"]).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def repository(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which the pipeline has run on them."""
    folder = tmp_path_factory.mktemp("own") / "repository"
    pipeline.make(folder)
    override(folder / paths.PARAMS, [f"data.classes={CLASSES}".replace("'", "")])
    pipeline.run(folder, "dvc", "exp", "run", "-S", "data.source=folder", NAEVI_SOURCE=str(photographs))
    return folder


def test_each_image_is_scored_for_each_class(repository: Path) -> None:
    rows = pd.read_csv(repository / paths.PER_IMAGE, dtype={"image_id": str})
    figures = summary.read(repository / paths.METRICS)

    assert rows.image_id.tolist() == [f"{index:03}" for index in range(20) for _ in range(2)]
    assert rows["class"].tolist() == ["nevus", "melanoma"] * 20
    assert figures["images"] == 20
    assert figures["empty_masks"] == 20  # each image lacks one of the two
    assert list(figures["by_class"]) == ["nevus", "melanoma"]
    assert figures["dice"]["mean"] == pytest.approx(rows.dice.mean(), abs=1e-6)
    for row in rows.itertuples():
        mask = read_mask(repository / paths.RAW / "masks" / f"{row.image_id}.png")
        prediction = read_mask(repository / paths.PREDICTIONS / f"{row.image_id}.png")
        assert mask.shape == prediction.shape == (64, 96)
        place = 1 if row[5] == "nevus" else 2
        assert row.tp == ((mask == place) & (prediction == place)).sum()
        assert row.fp == ((mask != place) & (prediction == place)).sum()


def test_images_stand_as_their_masks_do(repository: Path, photographs: Path) -> None:
    image = np.asarray(Image.open(repository / paths.RAW / "images" / "004.png")).astype(int)

    assert np.abs(image - phantom(4, height=64, width=96, seed=3).image).mean() < 6  # JPEG


def test_patients_are_not_parted(repository: Path) -> None:
    split = pd.read_csv(repository / paths.SPLIT, dtype=str)

    for fold in ("0", "1"):
        assert (split.groupby("group")[fold].nunique() == 1).all()
        assert {"train", "val", "test"} == set(split[fold])


def test_the_report_names_the_classes(repository: Path) -> None:
    html = (repository / paths.REPORT_HTML).read_text(encoding="utf-8")

    assert "<h1>Nevus and melanoma segmentation on own images</h1>" in html
    assert '<th scope="row">melanoma</th>' in html
    assert "PH2" not in html


def naevi(folder: Path, *arguments: object) -> str:
    """What `python -m naevi …` printed."""
    return pipeline.run(folder, "python", "-m", "naevi", *map(str, arguments), check=False)


def test_an_external_test_has_the_same_files_and_figures(repository: Path, photographs: Path) -> None:
    """Of a fold's model on its own test images: the scores are those of the cross-validation."""
    split = pd.read_csv(repository / paths.SPLIT, dtype=str)
    tested = split.image_id[split["1"] == "test"].tolist()
    elsewhere = photographs.parent / "elsewhere"
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        (elsewhere / part).mkdir(parents=True)
        for image_id in tested:
            file = f"{image_id}.{suffix}"
            (elsewhere / part / file).write_bytes((photographs / part / file).read_bytes())
    labels = pd.read_csv(photographs / "labels.csv", dtype=str)
    labels[labels.image_id.isin(tested)].to_csv(elsewhere / "labels.csv", index=False)
    arguments = ["--model", "data/models/1", elsewhere / "images", elsewhere / "masks"]

    done = naevi(repository, "score", *arguments, "--labels", elsewhere / "labels.csv")

    assert "naevi:" not in done, done
    external = repository / paths.EXTERNAL_TEST
    rows = pd.read_csv(external / paths.PER_IMAGE, dtype={"image_id": str})
    expected = pd.read_csv(repository / paths.PER_IMAGE, dtype={"image_id": str}).query("fold == 1")
    assert rows.image_id.tolist() == expected.image_id.tolist()
    assert rows.diagnosis.tolist() == expected.diagnosis.tolist()
    assert rows.tp.tolist() == expected.tp.tolist()
    assert rows.dice.to_numpy() == pytest.approx(expected.dice.to_numpy(), abs=1e-6)
    figures = summary.read(external / paths.METRICS)
    assert set(summary.read(repository / paths.METRICS)) - set(figures) == {"folds", "fold", "val"}
    html = (external / paths.REPORT_HTML).read_text(encoding="utf-8")
    assert f"{len(tested)} images, scored at their native size, by the model 1, fitted to" in html
    assert (external / paths.REPORT_MD).exists()
    assert (external / paths.FIGURES / "histogram.png").exists()

    again = naevi(repository, "score", *arguments)

    assert again == "naevi: --out external is there already; name a new folder, or move that one away.\n"


def test_an_external_test_that_fails_leaves_nothing(repository: Path, photographs: Path) -> None:
    done = naevi(repository, "score", photographs / "images", photographs / "images", "--out", "wrong")

    assert done.startswith("naevi: ")
    assert "Traceback" not in done
    assert not list(repository.glob("wrong*"))


def test_a_cutout_lies_over_the_other_picture(repository: Path, photographs: Path) -> None:
    """By hand: the prepared image through the network, what is no background, back at native size."""
    beach = photographs.parent / "beach.png"
    Image.new("RGB", (50, 50), (0, 0, 255)).save(beach)
    photo = photographs / "images" / "003.jpg"

    done = naevi(repository, "cutout", "--model", "data/models/all", photo, "--over", beach, "--out", "cut.png")

    assert done == ""
    small = dataset.load(repository / paths.PREPARED, ["003"], classes=3, device="cpu").images
    mirrors = [[], [3], [2], [2, 3]]
    with torch.inference_mode():
        network = model_file.read(repository / paths.model("all"), device="cpu")
        found = sum(network(small.flip(axes) / 255).softmax(dim=1).flip(axes) for axes in mirrors) / 4
    foreground = torch.nn.functional.interpolate(1 - found[:, :1], size=(64, 96), mode="bilinear")[0, 0].numpy()
    image = read_image(repository / paths.RAW / "images" / "003.png")
    expected = laid_over(image, foreground, np.full((64, 96, 3), (0, 0, 255), np.uint8))
    cut = np.asarray(Image.open(repository / "cut.png")).astype(int)
    assert cut.shape == (64, 96, 3)
    assert np.abs(cut - expected).mean() < 3  # bf16 where the processor has it

    again = naevi(repository, "cutout", photo, "--over", beach, "--out", "cut.png")

    assert again == "naevi: --out cut.png is there already, or is no .png; name a new one.\n"
