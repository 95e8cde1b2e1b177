"""Published results: their settings still apply, and their figures are those of their images."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from naevi import demo, metrics, paths, results, summary
from naevi.config import load_config, override
from naevi.refusal import Refusal
from tests import pipeline
from tests.conftest import ROOT

NAMES = [file.parent.name for file in sorted((ROOT / paths.RESULTS).glob("*/overrides.txt"))]


def test_lesson_12_is_published() -> None:
    assert {"lesson-12-segnet", "lesson-12-unet"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_overrides_apply_to_the_committed_params(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / paths.PARAMS, tmp_path)
    before = (tmp_path / paths.PARAMS).read_text(encoding="utf-8")
    monkeypatch.chdir(ROOT)
    assignments = results.overrides(name)
    monkeypatch.chdir(tmp_path)

    override(paths.PARAMS, assignments)

    assert paths.PARAMS.read_text(encoding="utf-8") != before
    load_config()


@pytest.mark.parametrize("folder", [Path("reports"), *(paths.RESULTS / name for name in NAMES)], ids=str)
def test_committed_figures_are_those_of_their_images(folder: Path) -> None:
    figures = summary.read(ROOT / folder / "metrics.json")
    images = pd.read_csv(ROOT / folder / "per_image.csv")

    assert images.image_id.is_unique
    assert len(images) == figures["images"] == 200
    assert images.dice.mean() == pytest.approx(figures["dice"]["mean"], abs=1e-6)
    assert images.iou.mean() == pytest.approx(figures["iou"]["mean"], abs=1e-6)
    again = metrics.scores(images)
    assert again.dice.to_numpy() == pytest.approx(images.dice.to_numpy(), abs=1e-6)


def test_an_override_of_something_unknown_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / paths.PARAMS, file)

    with pytest.raises(Refusal, match=r"'train\.lrr=1' sets nothing: .*params\.yaml has no train\.lrr\."):
        override(file, ["train.lrr=1"])


def test_publishing_runs_the_experiment_and_keeps_its_figures(small_repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    demo.commit(folder, "Run")
    params = (folder / paths.PARAMS).read_bytes()

    pipeline.run(folder, "python", "-m", "naevi", "result", "tried", "-S", "evaluate.threshold=0.99")

    kept = folder / paths.RESULTS / "tried"
    assert (kept / "overrides.txt").read_text(encoding="utf-8") == "evaluate.threshold=0.99\n"
    assert summary.read(kept / "metrics.json")["images"] == 20
    assert len(pd.read_csv(kept / "per_image.csv")) == 20
    assert (kept / "metrics.json").read_bytes() != (folder / paths.METRICS).read_bytes()
    assert (folder / paths.PARAMS).read_bytes() == params

    printed = pipeline.run(folder, "python", "-m", "naevi", "result", "wrong", "-S", "train.lr=-1", check=False)

    assert "train.lr: Input should be greater than 0; got -1" in printed
    assert "ended with exit code" in printed
    assert not (folder / paths.RESULTS / "wrong").exists()


def test_what_is_not_committed_is_not_published(small_repository: Path) -> None:
    printed = pipeline.run(small_repository, "python", "-m", "naevi", "result", "loose", check=False)

    assert "naevi: a published result is one of a commit, but these are not committed: data/split.csv" in printed
