"""Twenty phantoms, two folds, models of one epoch: what is written is what was measured."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from torch import nn

from naevi.config import Config, flatten
from naevi.dataset import image_ids, load_images
from naevi.errors import UserError
from naevi.evaluation import scoring
from naevi.evaluation.calibration import dice_confidence
from naevi.evaluation.cross_validation import cross_validate, learning_curves
from naevi.evaluation.outputs import split_scores
from naevi.evaluation.scoring import PER_IMAGE_COLUMNS, Part, score_images
from naevi.evaluation.surface_distance import SURFACE_SCORES, surface_distances
from naevi.files import read_json, write_csv
from naevi.images.files import VOID, read_mask, write_mask
from naevi.inference.postprocessing import postprocess
from naevi.inference.predictor import write_predict_settings, write_predictor
from naevi.inference.segmenter import load_segmenter, open_segmenter
from naevi.models.build import create_network
from naevi.models.device import ComputeSettings
from naevi.models.prediction import predict_probabilities, scale_pixels
from naevi.models.storage import load_model, save_model
from naevi.provenance import digest
from naevi.record import merge_scores, read_scores
from naevi.training import loop
from naevi.training.checkpoint import Checkpoint
from naevi.workspace import Workspace
from stages import evaluate
from tests.helpers import HERE

pytestmark = pytest.mark.slow


class Measured(NamedTuple):
    """What evaluate made, in the current folder."""

    config: Config
    split: pd.DataFrame
    image_table: pd.DataFrame
    test: pd.DataFrame
    validation: pd.DataFrame
    pixels: np.ndarray


@pytest.fixture(scope="module")
def measured(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """Two folds and `all` fitted for an epoch and evaluated, as the stages do it."""
    root = tmp_path_factory.mktemp("evaluation") / "repository"
    shutil.copytree(tiny.workspace.root, root)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for item in tiny.config.model_names():
            part = load_images(HERE.prepared, image_ids(tiny.split, item, "train"), classes=2, device="cpu")
            network = create_network(tiny.config.model, classes=2, seed=0)
            settings, compute = tiny.config.train, ComputeSettings("cpu", "fp32", 1)
            history = loop.fit(network, part, None, settings, compute, Checkpoint(None), lambda *_: None)
            with torch.inference_mode():  # so that about half of the pixels are predicted to be lesion
                network.get_submodule("body.head").bias -= network.eval()(scale_pixels(part.images)).median()
            origin = {"model": tiny.config.model.model_dump(), "classes": tiny.config.data.classes, "size": 32}
            origin |= {"fingerprint": digest(origin)}
            save_model(HERE.model(item), network, origin, history)
        write_csv(HERE.split, tiny.split)
        YAML().dump(tiny.config.model_dump(), HERE.params)
        evaluate.main()
        test, validation = cross_validate(HERE, tiny.config, tiny.split, tiny.image_table)
        yield Measured(tiny.config, tiny.split, tiny.image_table, test.rows, validation, test.pixels)
    torch.set_num_threads(threads)


def test_each_image_is_predicted_once_at_its_own_size(measured: Measured) -> None:
    names = sorted(path.name for path in HERE.predictions.iterdir())

    assert names == [f"phantom-{number:05}.png" for number in range(20)]
    assert {read_mask(HERE.predictions / name).shape for name in names} == {(64, 96)}


def test_counts_are_those_of_the_written_predictions(measured: Measured) -> None:
    """At native size, against the raw masks."""
    for row in pd.read_csv(HERE.per_image).itertuples():
        mask = read_mask(HERE.raw / "masks" / f"{row.image_id}.png").astype(bool)
        prediction = read_mask(HERE.predictions / f"{row.image_id}.png").astype(bool)
        assert row.tp == (mask & prediction).sum()
        assert row.fp == (~mask & prediction).sum()
        assert row.fn == (mask & ~prediction).sum()
        assert row.tn == (~mask & ~prediction).sum()
        assert row.dice == pytest.approx(2 * row.tp / (2 * row.tp + row.fp + row.fn), abs=1e-6)


def test_the_predictions_are_neither_empty_nor_full(measured: Measured) -> None:
    """Else the tests here would show little."""
    assert ((measured.test.tp > 0) & (measured.test.tn > 0)).mean() > 0.5


def test_an_image_is_scored_by_the_model_that_did_not_see_it(measured: Measured) -> None:
    of_validation = [column for column in PER_IMAGE_COLUMNS if column not in SURFACE_SCORES]
    fold = {image_id: k for k in (0, 1) for image_id in image_ids(measured.split, str(k), "test")}

    assert list(measured.test.columns) == PER_IMAGE_COLUMNS
    assert list(measured.validation.columns) == of_validation
    assert measured.test.set_index("image_id").fold.to_dict() == fold
    assert measured.test.image_id.tolist() == sorted(fold)
    assert set(measured.test.dataset) == {"phantoms"}
    for k in (0, 1):
        validated = measured.validation[measured.validation.fold == k].image_id
        assert sorted(validated) == image_ids(measured.split, str(k), "val")


def test_a_prediction_is_that_of_its_fold_s_model(measured: Measured) -> None:
    """By hand for one image, as it comes: the prepared image through the network, brought back, cut at .5."""
    plain = dict.fromkeys(("flips", "turns", "fill_holes", "largest_only"), False)
    config = measured.config.model_copy(update={"evaluate": measured.config.evaluate.model_copy(update=plain)})
    cross_validate(HERE, config, measured.split, measured.image_table)
    image_id = image_ids(measured.split, "1", "test")[0]
    found = read_mask(HERE.predictions / f"{image_id}.png")
    cross_validate(HERE, measured.config, measured.split, measured.image_table)

    image = load_images(HERE.prepared, [image_id], classes=2, device="cpu").images
    with torch.inference_mode():
        logits = load_model(HERE.model("1"), device="cpu").network(image / 255)
    probability = nn.functional.interpolate(logits.sigmoid(), size=(64, 96), mode="bilinear")[0, 0]
    clear = (probability - 0.5).abs() > 1e-5
    assert clear.float().mean() > 0.99
    assert np.array_equal(found[clear], (probability >= 0.5)[clear])


def test_predictions_are_cleaned_as_params_say(measured: Measured) -> None:
    """Of each prediction as it comes, the largest area without its holes; an image more than fits at a time, too."""
    ids, settings = measured.image_table.image_id.tolist(), measured.config.evaluate
    predictions = {}
    for clean, part in ((False, 256), (True, 19)):
        cleaned = settings.model_copy(update=dict.fromkeys(("fill_holes", "largest_only"), clean))
        segmenter = open_segmenter(HERE.model("0"), cleaned, ComputeSettings("cpu", "fp32", 1))
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as keep:
            patch.setattr(scoring, "CHUNK_SIZE", part)
            score_images(HERE, [Part(segmenter, ids, keep=Path(keep))])
            predictions[clean] = [read_mask(Path(keep) / f"{image_id}.png") for image_id in ids]

    expected = [postprocess(each, classes=2, fill_holes=True, largest_only=True) for each in predictions[False]]
    assert all(map(np.array_equal, predictions[True], expected))
    assert not all(map(np.array_equal, predictions[True], predictions[False]))


def test_metrics_are_means_over_the_table(measured: Measured) -> None:
    figures, table = read_scores(HERE.metrics, HERE.details_source), pd.read_csv(HERE.per_image)

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
    row = pd.read_csv(HERE.per_image).iloc[3]
    mask, prediction = (
        read_mask(folder / f"{row.image_id}.png") > 0 for folder in (HERE.raw / "masks", HERE.predictions)
    )
    image = load_images(HERE.prepared, [row.image_id], classes=2, device="cpu").images
    network, _ = load_model(HERE.model(str(row.fold)), device="cpu")
    small = predict_probabilities(network, image, ComputeSettings("cpu", "fp32", 1), flips=True)
    probability = nn.functional.interpolate(small, size=(64, 96), mode="bilinear")[0, 0].numpy()

    for name, value in surface_distances(mask, prediction).items():
        assert row[name] == pytest.approx(value, abs=1e-6)
    assert row.brier == pytest.approx(((probability - mask) ** 2).mean(), abs=1e-5)
    assert row.confidence == pytest.approx(dice_confidence(probability, prediction), abs=1e-5)
    assert measured.pixels.sum() == 20 * 64 * 96
    assert measured.pixels[0, 1].sum() == measured.test.tp.sum() + measured.test.fn.sum()


def test_curves_of_pixels_and_images_are_written(measured: Measured) -> None:
    thresholds, risk = pd.read_csv(HERE.thresholds), pd.read_csv(HERE.risk_coverage)

    assert thresholds.threshold.tolist() == pytest.approx(np.linspace(0, 1, 101))
    assert set(thresholds["class"]) == set(pd.read_csv(HERE.reliability)["class"]) == {"lesion"}
    assert len(risk) == 20
    assert risk.dice.iloc[-1] == pytest.approx(measured.test.dice.mean(), abs=1e-6)


def test_evaluating_twice_gives_equal_files(measured: Measured) -> None:
    of_plots = [HERE.reliability, HERE.thresholds, HERE.risk_coverage]
    files = [HERE.metrics, HERE.per_image, HERE.curves, *of_plots, *sorted(HERE.predictions.iterdir())]
    before = [path.read_bytes() for path in files]
    evaluate.main()

    assert [path.read_bytes() for path in files] == before


def test_curves_have_every_model_that_is_listed(measured: Measured) -> None:
    curves = pd.read_csv(HERE.curves)

    assert curves.model.tolist() == ["0", "1", "all"]
    assert curves.epoch.tolist() == [1, 1, 1]


def test_a_model_that_is_no_longer_listed_counts_for_nothing(measured: Measured, tmp_path: Path) -> None:
    """DVC leaves its folder on disk."""
    cv = measured.config.cv.model_copy(update={"models": [1]})
    config = measured.config.model_copy(update={"cv": cv})

    test, _ = cross_validate(HERE, config, measured.split, measured.image_table)

    assert test.rows.image_id.tolist() == image_ids(measured.split, "1", "test")
    assert learning_curves(HERE, config).model.tolist() == ["1"]


def test_the_predictor_is_the_model_all_with_its_settings(measured: Measured) -> None:
    for name in ("model.safetensors", "model.json"):
        assert (HERE.predictor / name).read_bytes() == (HERE.model("all") / name).read_bytes()
    assert read_json(HERE.predictor / "predict.json") == {
        "flips": True,
        "turns": False,
        "threshold": 0.5,
        "fill_holes": True,
        "largest_only": True,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "white": 65535,
        "image_alpha": "white",
    }


def test_without_all_the_predictor_holds_no_model(measured: Measured) -> None:
    cv = measured.config.cv.model_copy(update={"models": [0, 1]})
    workspace = Workspace(HERE.root / "other")

    write_predictor(workspace, measured.config.model_copy(update={"cv": cv}))

    assert [path.name for path in workspace.predictor.iterdir()] == ["predict.json"]
    with pytest.raises(
        UserError, match=r"other/data/predictor holds no model, because cv\.models lacks all\. Add all to"
    ):
        load_segmenter(workspace.predictor)


def test_dvc_shows_ten_figures_as_columns(measured: Measured) -> None:
    """`dvc metrics show` and `dvc exp show` have a column for each number in metrics.json."""
    assert list(flatten(read_json(HERE.metrics))) == [
        "images",
        "failed",
        "dice.mean",
        "dice.low",
        "dice.high",
        "dice.p05",
        "iou.mean",
        "iou.low",
        "iou.high",
        "val.dice",
    ]


def test_scores_are_split_without_loss() -> None:
    scores = {"images": 2, "dice": {"mean": 0.5, "sd": 0.1}, "val": {}, "by_class": {"a.b": {"dice": 0.5}}, "folds": 2}

    metrics, details = split_scores(scores)

    assert metrics == {"images": 2, "dice": {"mean": 0.5}}
    assert details == {"dice": {"sd": 0.1}, "val": {}, "by_class": {"a.b": {"dice": 0.5}}, "folds": 2}
    assert merge_scores(metrics, details) == scores


@pytest.mark.parametrize(("device", "written"), [("cpu", "cpu"), ("cuda", "auto"), ("mps", "auto")])
def test_a_predictor_made_on_a_gpu_also_works_without_one(
    device: str, written: str, config_with: Callable[[dict[str, Any]], Config], tmp_path: Path
) -> None:
    config = config_with({"runtime.device": device})

    write_predict_settings(tmp_path, config.evaluate, config.runtime)

    assert read_json(tmp_path / "predict.json")["device"] == written


@pytest.mark.parametrize("file", [HERE.metrics, HERE.details_source])
def test_scores_are_rounded_so_that_git_shows_what_moved(file: Path, measured: Measured) -> None:
    text = file.read_text()
    numbers = [word for word in text.replace(",", " ").split() if "." in word]

    assert text.endswith("}\n")
    assert max(len(number.split(".")[1]) for number in numbers) <= 6
    assert "NaN" not in text
    assert json.loads(text) == read_json(file)


def test_pixels_without_a_known_class_are_in_no_score(measured: Measured) -> None:
    """The right half of a mask is VOID: only the left half is counted, in scores and in calibration."""
    image_id = image_ids(measured.split, "0", "test")[0]
    path = HERE.raw / "masks" / f"{image_id}.png"
    whole, content = read_mask(path), path.read_bytes()
    height, width = whole.shape
    half = whole.copy()
    half[:, width // 2 :] = VOID
    segmenter = open_segmenter(HERE.model("0"), measured.config.evaluate, ComputeSettings("cpu", "fp32", 1))
    with tempfile.TemporaryDirectory() as folder:
        try:
            write_mask(path, half)
            ((rows, pixels),) = score_images(HERE, [Part(segmenter, [image_id], keep=Path(folder))])
        finally:
            path.write_bytes(content)
        prediction = read_mask(Path(folder) / f"{image_id}.png")

    left = (whole[:, : width // 2] == 1, prediction[:, : width // 2] == 1)
    row = rows.iloc[0]
    assert (row.tp, row.fp) == ((left[0] & left[1]).sum(), (~left[0] & left[1]).sum())
    assert row.tp + row.fp + row.fn + row.tn == pixels.sum() == height * (width // 2)
    known = np.zeros_like(whole, bool)
    known[:, : width // 2] = True
    assert row[SURFACE_SCORES].tolist() == pytest.approx(
        list(surface_distances((whole == 1) & known, (prediction == 1) & known).values())
    )
