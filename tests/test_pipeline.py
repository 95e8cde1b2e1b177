"""The real pipeline on phantoms, through DVC and MLflow: what the README promises of it."""

import json
import re
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from PIL import Image

from naevi.config import flatten
from naevi.experiments.demo import commit, set_parameters
from naevi.files import read_json, read_yaml
from tests import pipeline
from tests.helpers import HERE
from tests.pipeline import STAGES, runs

TRACK = ("dvc", "repro", "--single-item", "--force", "track")


def curve(folder: Path, run: Run, key: str) -> list[tuple[int, float]]:
    """Step and value of each point, sorted."""
    history = mlflow.MlflowClient(pipeline.store(folder)).get_metric_history(run.info.run_id, key)
    return sorted((point.step, point.value) for point in history)


def hashes(folder: Path) -> dict[str, dict[str, str]]:
    """The MD5 of each output, by stage, as dvc.lock has it."""
    stages = read_yaml(folder / HERE.lock)["stages"]
    return {name: {out["path"]: out["md5"] for out in stage.get("outs", [])} for name, stage in stages.items()}


@pytest.fixture(scope="module")
def repository(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small repository after its first run, for tests that change it."""
    folder = pipeline.copy(small_repository, tmp_path_factory.mktemp("changed") / "repository")
    (folder / "mlflow.db").unlink()  # it names the artifacts of the other folder
    pipeline.run(folder, *TRACK)
    return folder


def test_every_stage_runs_once_and_then_none(small_repository: Path) -> None:
    again = pipeline.run(small_repository, "dvc", "repro")

    assert set(hashes(small_repository)) == set(STAGES)
    assert "Running stage" not in again
    assert again.count("didn't change, skipping") == len(STAGES)


def test_forced_runs_give_the_same_hashes_in_every_stage(repository: Path) -> None:
    before = hashes(repository)

    pipeline.run(repository, "dvc", "repro", "--force")

    assert hashes(repository) == before


def test_dice_recomputed_from_the_predictions_is_the_one_in_metrics_json(small_repository: Path) -> None:
    dice = []
    for file in sorted((small_repository / HERE.predictions).glob("*.png")):
        prediction = np.asarray(Image.open(file)) > 0
        mask = np.asarray(Image.open(small_repository / HERE.raw / "masks" / file.name)) > 0
        assert prediction.shape == mask.shape == (64, 96)
        dice.append(2 * (prediction & mask).sum() / (prediction.sum() + mask.sum()))

    figures = read_json(small_repository / HERE.metrics)
    assert len(dice) == figures["images"] == 20
    assert np.mean(dice) == pytest.approx(figures["dice"]["mean"], abs=1e-6)


def test_mlflow_has_one_parent_with_its_children_and_curves(repository: Path) -> None:
    (parent,) = runs(repository, "result")
    children = runs(repository, "model")

    figures = read_json(repository / HERE.metrics)
    assert parent.data.metrics["dice.mean"] == figures["dice"]["mean"]
    assert parent.data.metrics["iou.low"] == figures["iou"]["low"]
    assert parent.data.metrics["val.dice"] == figures["val"]["dice"]
    assert parent.data.params["train.epochs"] == "2"
    assert parent.data.tags["mlflow.note.content"].startswith("Synthetic images, not patients.")
    assert {child.data.tags["item"] for child in children} == {"0", "1", "all"}
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    for child in children:
        history = pd.read_csv(repository / HERE.model(child.data.tags["item"]) / "history.csv")
        assert curve(repository, child, "train_loss") == list(zip(history.epoch, history.train_loss, strict=True))
        assert {dataset.dataset.name for dataset in child.inputs.dataset_inputs} == {"phantoms"}


def test_a_lost_store_is_restored_without_training(repository: Path) -> None:
    before = {run.data.tags["fingerprint"] for kind in ("result", "model") for run in runs(repository, kind)}
    lock = (repository / HERE.lock).read_bytes()
    (repository / "mlflow.db").unlink()

    printed = pipeline.run(repository, "dvc", "repro") + pipeline.run(repository, *TRACK)

    assert "stages.train" not in printed
    assert {run.data.tags["fingerprint"] for kind in ("result", "model") for run in runs(repository, kind)} == before
    assert (repository / HERE.lock).read_bytes() == lock
    child = next(run for run in runs(repository, "model") if run.data.tags["item"] == "0")
    assert child.data.tags["restored"] == "true"
    assert [step for step, _ in curve(repository, child, "val_dice")] == [1, 2]


def test_tracking_twice_changes_nothing(repository: Path) -> None:
    before = [(run.info.run_id, run.data.tags) for kind in ("result", "model") for run in runs(repository, kind)]

    pipeline.run(repository, *TRACK)

    after = [(run.info.run_id, run.data.tags) for kind in ("result", "model") for run in runs(repository, kind)]
    assert after == before


def test_a_second_clone_with_a_warm_cache_retrains_nothing_and_fills_its_own_store(
    repository: Path, tmp_path: Path
) -> None:
    commit(repository, "Run")
    clone = tmp_path / "clone"
    pipeline.run(tmp_path, "git", "clone", "--quiet", str(repository), str(clone))
    shutil.copytree(repository / ".dvc" / "cache", clone / ".dvc" / "cache")

    printed = pipeline.run(clone, "dvc", "repro") + pipeline.run(clone, *TRACK)

    assert "> python -m stages.train" not in printed
    assert len(runs(clone, "result")) == 1
    assert len(runs(clone, "model")) == 3


def test_with_fewer_models_nothing_runs_at_a_colleague_s(small_repository: Path, tmp_path: Path) -> None:
    """The folder of models has more in it here than there, unless evaluate removes what cv.models doesn't name."""
    repository = pipeline.copy(small_repository, tmp_path / "repository")
    (repository / HERE.model("mine")).mkdir()  # not a model of cv.models
    set_parameters(repository / HERE.params, ["cv.models=[0, 1]"])
    printed = pipeline.run(repository, "dvc", "repro")
    assert "naevi: Removed from data/models: all. cv.models doesn't name them. DVC's cache keeps them.\n" in printed
    assert (repository / HERE.model("mine")).exists()
    (repository / HERE.model("mine")).rmdir()
    commit(repository, "Fewer models")
    clone = tmp_path / "clone"
    pipeline.run(tmp_path, "git", "clone", "--quiet", str(repository), str(clone))
    pipeline.run(clone, "dvc", "cache", "dir", "--local", str(repository / ".dvc/cache"))
    pipeline.run(clone, "dvc", "checkout")

    printed = pipeline.run(clone, "dvc", "repro")

    assert "Running stage" not in printed
    set_parameters(repository / HERE.params, ["cv.models=[0, 1, all]"])
    assert "Running stage 'train" not in pipeline.run(repository, "dvc", "repro")  # DVC's cache has kept it


def test_preprocess_and_evaluate_come_back_from_the_run_cache(repository: Path) -> None:
    """One plain uncached output would take a stage out of the run cache."""
    for threshold, near_duplicates in ((0.9, 0.9), (0.5, 0.985)):
        values = [f"evaluate.threshold={threshold}", f"preprocess.near_duplicates={near_duplicates}"]
        set_parameters(repository / HERE.params, values)
        printed = pipeline.run(repository, "dvc", "repro", "evaluate")

    for stage in ("preprocess", "evaluate"):
        assert f"Stage '{stage}' is cached - skipping run" in printed
    assert "Running stage" not in printed


def test_dvc_shows_few_metrics_and_every_plot(repository: Path) -> None:
    (shown,) = json.loads(pipeline.run(repository, "dvc", "metrics", "show", "--json")).values()
    columns = [name for values in shown["data"].values() for name in flatten(values["data"])]
    pipeline.run(repository, "dvc", "plots", "show", "--out", "plots")
    page = (repository / "plots/index.html").read_text(encoding="utf-8")

    assert list(shown["data"]) == ["reports/metrics.json"]
    assert len(columns) <= 12
    for title in re.findall(r"title: (.*)", (repository / HERE.pipeline).read_text(encoding="utf-8")):
        assert f'"{title}"' in page
    assert "var spec = {};" not in page  # an empty plot


def test_an_experiment_stands_in_mlflow_once_and_can_be_compared(repository: Path) -> None:
    commit(repository, "Before the experiment")
    results = len(runs(repository, "result"))

    pipeline.run(repository, "dvc", "exp", "run", "--name", "strict", "-S", "evaluate.threshold=0.99")

    assert len(runs(repository, "result")) == results + 1
    parent = next(run for run in runs(repository, "result") if run.data.tags.get("dvc.experiments") == "strict")
    assert parent.data.params["evaluate.threshold"] == "0.99"
    compared = json.loads(pipeline.run(repository, "dvc", "metrics", "diff", "--json"))
    assert {"dice.mean", "iou.mean"} <= set(compared["reports/metrics.json"])
    assert "strict" in pipeline.run(repository, "dvc", "exp", "show", "--csv")
    pipeline.run(repository, "dvc", "plots", "diff", "--out", "plots")
    assert (repository / "plots" / "index.html").exists()
    # The same result again, restored from DVC's run cache: MLflow knows it already.
    pipeline.run(repository, "git", "stash", "--quiet")
    pipeline.run(repository, "dvc", "exp", "run", "--temp", "--name", "again", "-S", "evaluate.threshold=0.99")
    assert len(runs(repository, "result")) == results + 1


def test_a_failed_download_leaves_the_committed_reports_where_they_were(repository: Path) -> None:
    pipeline.run(repository, "git", "checkout", "--quiet", "--force", "HEAD")
    reports = {file: file.read_bytes() for file in (repository / "reports").glob("*.*")}
    set_parameters(repository / HERE.params, ["data.source=ph2"])

    nowhere = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}  # no network
    printed = pipeline.run(repository, "dvc", "repro", check=False, **nowhere)

    assert "naevi: PH2 images not found. Either:" in printed
    for way in ("NAEVI_SOURCE=", "data/external/", "make demo"):
        assert way in printed
    assert "Traceback" not in printed
    assert {file: file.read_bytes() for file in (repository / "reports").glob("*.*")} == reports


def test_a_wrong_parameter_stops_the_first_stage_that_must_run(repository: Path) -> None:
    pipeline.run(repository, "git", "checkout", "--quiet", "--force", "HEAD")
    set_parameters(repository / HERE.params, ["train.lr=-1", "evaluate.threshold=2"])

    printed = pipeline.run(repository, "dvc", "repro", check=False)

    assert "params.yaml has 2 problem(s):" in printed
    assert "train.lr: Input should be greater than 0; got -1" in printed
    assert "evaluate.threshold: Input should be less than 1; got 2" in printed
    pipeline.run(repository, "git", "checkout", "--quiet", "--force", "HEAD")
