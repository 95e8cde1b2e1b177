"""Twenty phantoms, two folds, models of one epoch: what is written is what was measured."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from naevi import (
    calibration,
    dataset,
    evaluation,
    model_file,
    networks,
    paths,
    provenance,
    splitting,
    summary,
    surfaces,
    training,
)
from naevi.checkpoint import Checkpoint
from naevi.config import Config
from naevi.images import read_mask
from naevi.prediction import cleaned, probabilities
from naevi.runtime import Runtime


class Measured(NamedTuple):
    """What evaluate made, in the current folder."""

    config: Config
    split: pd.DataFrame
    lesions: pd.DataFrame
    test: pd.DataFrame
    validation: pd.DataFrame
    pixels: np.ndarray


def write(test: evaluation.Scored, validation: pd.DataFrame, config: Config) -> None:
    """All that the stage writes."""
    figures = summary.cross_validated(test.rows, test.pixels, validation, config.evaluate)
    evaluation.write(test, figures, config.data.names())
    evaluation.curves(config).to_csv(paths.CURVES, index=False)


@pytest.fixture(scope="module")
def measured(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """Two folds and `all` fitted for an epoch and evaluated, as the stages do it."""
    root = tmp_path_factory.mktemp("evaluation") / "repository"
    shutil.copytree(tiny.root, root)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for item in tiny.config.items():
            part = dataset.load(paths.PREPARED, splitting.ids(tiny.split, item, "train"), classes=2, device="cpu")
            network = networks.create(tiny.config.model, classes=2, seed=0)
            settings, runtime = tiny.config.train, Runtime("cpu", "fp32", 1)
            history = training.fit(network, part, None, settings, runtime, Checkpoint(None), lambda *_: None)
            with torch.inference_mode():  # so that about half of the pixels are predicted to be lesion
                network.get_submodule("body.head").bias -= network.eval()(dataset.scaled(part.images)).median()
            origin = {"model": tiny.config.model.model_dump(), "classes": tiny.config.data.classes}
            origin |= {"fingerprint": provenance.digest(origin)}
            model_file.write(paths.model(item), network, origin, history)
        test, validation = evaluation.cross_validate(tiny.config, tiny.split, tiny.lesions)
        write(test, validation, tiny.config)
        yield Measured(tiny.config, tiny.split, tiny.lesions, test.rows, validation, test.pixels)
    torch.set_num_threads(threads)


def test_each_image_is_predicted_once_at_its_own_size(measured: Measured) -> None:
    names = sorted(path.name for path in paths.PREDICTIONS.iterdir())

    assert names == [f"phantom-{number:05}.png" for number in range(20)]
    assert {read_mask(paths.PREDICTIONS / name).shape for name in names} == {(64, 96)}


def test_counts_are_those_of_the_written_predictions(measured: Measured) -> None:
    """At native size, against the raw masks."""
    for row in pd.read_csv(paths.PER_IMAGE).itertuples():
        mask = read_mask(paths.RAW / "masks" / f"{row.image_id}.png").astype(bool)
        prediction = read_mask(paths.PREDICTIONS / f"{row.image_id}.png").astype(bool)
        assert row.tp == (mask & prediction).sum()
        assert row.fp == (~mask & prediction).sum()
        assert row.fn == (mask & ~prediction).sum()
        assert row.tn == (~mask & ~prediction).sum()
        assert row.dice == pytest.approx(2 * row.tp / (2 * row.tp + row.fp + row.fn), abs=1e-6)


def test_the_predictions_are_neither_empty_nor_full(measured: Measured) -> None:
    """Else the tests here would show little."""
    assert ((measured.test.tp > 0) & (measured.test.tn > 0)).mean() > 0.5


def test_an_image_is_scored_by_the_model_that_did_not_see_it(measured: Measured) -> None:
    of_validation = [column for column in evaluation.COLUMNS if column not in surfaces.SURFACES]
    fold = {image_id: k for k in (0, 1) for image_id in splitting.ids(measured.split, str(k), "test")}

    assert list(measured.test.columns) == evaluation.COLUMNS
    assert list(measured.validation.columns) == of_validation
    assert measured.test.set_index("image_id").fold.to_dict() == fold
    assert measured.test.image_id.tolist() == sorted(fold)
    assert set(measured.test.dataset) == {"phantoms"}
    for k in (0, 1):
        validated = measured.validation[measured.validation.fold == k].image_id
        assert sorted(validated) == splitting.ids(measured.split, str(k), "val")


def test_a_prediction_is_that_of_its_fold_s_model(measured: Measured) -> None:
    """By hand for one image, as it comes: the prepared image through the network, brought back, cut at .5."""
    plain = dict.fromkeys(("flips", "turns", "fill_holes", "largest_only"), False)
    config = measured.config.model_copy(update={"evaluate": measured.config.evaluate.model_copy(update=plain)})
    evaluation.cross_validate(config, measured.split, measured.lesions)
    image_id = splitting.ids(measured.split, "1", "test")[0]
    found = read_mask(paths.PREDICTIONS / f"{image_id}.png")
    evaluation.cross_validate(measured.config, measured.split, measured.lesions)

    image = dataset.load(paths.PREPARED, [image_id], classes=2, device="cpu").images
    with torch.inference_mode():
        logits = model_file.read(paths.model("1"), device="cpu")(image / 255)
    probability = nn.functional.interpolate(logits.sigmoid(), size=(64, 96), mode="bilinear")[0, 0]
    clear = (probability - 0.5).abs() > 1e-5
    assert clear.float().mean() > 0.99
    assert np.array_equal(found[clear], (probability >= 0.5)[clear])


def test_predictions_are_cleaned_as_params_say(measured: Measured) -> None:
    """Of each prediction as it comes, the largest area without its holes; an image more than fits at a time, too."""
    ids, settings = measured.lesions.image_id.tolist(), measured.config.evaluate
    network, runtime = model_file.read(paths.model("0"), device="cpu"), Runtime("cpu", "fp32", 1)
    predictions = {}
    for clean, part in ((False, 256), (True, 19)):
        update = {"evaluate": settings.model_copy(update=dict.fromkeys(("fill_holes", "largest_only"), clean))}
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as keep:
            patch.setattr(evaluation, "PART", part)
            config = measured.config.model_copy(update=update)
            evaluation.scored(network, ids, config, runtime, keep=Path(keep))
            predictions[clean] = [read_mask(Path(keep) / f"{image_id}.png") for image_id in ids]

    expected = [cleaned(each, classes=2, fill_holes=True, largest_only=True) for each in predictions[False]]
    assert all(map(np.array_equal, predictions[True], expected))
    assert not all(map(np.array_equal, predictions[True], predictions[False]))


def test_metrics_are_means_over_the_table(measured: Measured) -> None:
    figures, table = summary.read(paths.METRICS), pd.read_csv(paths.PER_IMAGE)

    assert figures["images"] == 20
    assert figures["folds"] == 2
    for name in ("dice", "iou"):
        assert figures[name]["mean"] == pytest.approx(table[name].mean(), abs=2e-6)
        assert figures[name]["median"] == pytest.approx(table[name].median(), abs=2e-6)
        assert figures["val"][name] == pytest.approx(measured.validation[name].mean(), abs=2e-6)
        assert figures["fold"]["1"][name] == pytest.approx(table[table.fold == 1][name].mean(), abs=2e-6)
    assert list(figures["by_diagnosis"]) == ["atypical", "common", "melanoma"]


def test_outlines_and_probabilities_are_those_of_each_image(measured: Measured) -> None:
    """Of one image again, from its written prediction and its model."""
    row = pd.read_csv(paths.PER_IMAGE).iloc[3]
    mask, prediction = (
        read_mask(folder / f"{row.image_id}.png") > 0 for folder in (paths.RAW / "masks", paths.PREDICTIONS)
    )
    image = dataset.load(paths.PREPARED, [row.image_id], classes=2, device="cpu").images
    network = model_file.read(paths.model(str(row.fold)), device="cpu")
    small = probabilities(network, image, Runtime("cpu", "fp32", 1), flips=True)
    probability = nn.functional.interpolate(small, size=(64, 96), mode="bilinear")[0, 0].numpy()

    for name, value in surfaces.distances(mask, prediction).items():
        assert row[name] == pytest.approx(value, abs=1e-6)
    assert row.brier == pytest.approx(((probability - mask) ** 2).mean(), abs=1e-5)
    assert row.confidence == pytest.approx(calibration.confidence(probability, prediction), abs=1e-5)
    assert measured.pixels.sum() == 20 * 64 * 96
    assert measured.pixels[0, 1].sum() == measured.test.tp.sum() + measured.test.fn.sum()


def test_curves_of_pixels_and_images_are_written(measured: Measured) -> None:
    thresholds, risk = pd.read_csv(paths.THRESHOLDS), pd.read_csv(paths.RISK_COVERAGE)

    assert thresholds.threshold.tolist() == pytest.approx(np.linspace(0, 1, 101))
    assert set(thresholds["class"]) == set(pd.read_csv(paths.RELIABILITY)["class"]) == {"lesion"}
    assert len(risk) == 20
    assert risk.dice.iloc[-1] == pytest.approx(measured.test.dice.mean(), abs=1e-6)


def test_evaluating_twice_gives_equal_files(measured: Measured) -> None:
    of_plots = [paths.RELIABILITY, paths.THRESHOLDS, paths.RISK_COVERAGE]
    files = [paths.METRICS, paths.PER_IMAGE, paths.CURVES, *of_plots, *sorted(paths.PREDICTIONS.iterdir())]
    before = [path.read_bytes() for path in files]
    test, validation = evaluation.cross_validate(measured.config, measured.split, measured.lesions)
    write(test, validation, measured.config)

    assert [path.read_bytes() for path in files] == before


def test_curves_have_every_model_that_is_listed(measured: Measured) -> None:
    curves = pd.read_csv(paths.CURVES)

    assert curves.model.tolist() == ["0", "1", "all"]
    assert curves.epoch.tolist() == [1, 1, 1]


def test_a_model_that_is_no_longer_listed_counts_for_nothing(measured: Measured, tmp_path: Path) -> None:
    """DVC leaves its folder on disk."""
    cv = measured.config.cv.model_copy(update={"models": [1]})
    config = measured.config.model_copy(update={"cv": cv})

    test, _ = evaluation.cross_validate(config, measured.split, measured.lesions)

    assert test.rows.image_id.tolist() == splitting.ids(measured.split, "1", "test")
    assert evaluation.curves(config).model.tolist() == ["1"]


def test_metrics_are_rounded_so_that_git_shows_what_moved(measured: Measured) -> None:
    text = paths.METRICS.read_text()
    numbers = [word for word in text.replace(",", " ").split() if "." in word]

    assert text.endswith("}\n")
    assert max(len(number.split(".")[1]) for number in numbers) <= 6
    assert "NaN" not in text
    assert json.loads(text) == summary.read(paths.METRICS)
