"""Published results: their parameters are still valid, and their scores are those of their images."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from naevi.config import load_config
from naevi.errors import UserError
from naevi.experiments.demo import commit, set_parameters
from naevi.experiments.published import BEGIN_MARK, END_MARK, update_readme
from naevi.files import read_json, write_json
from naevi.metrics import overlap_scores
from naevi.workspace import Workspace
from tests import pipeline
from tests.helpers import HERE, ROOT

NAMES = [file.parent.name for file in sorted((ROOT / HERE.results).glob("*/overrides.txt"))]


def test_lesson_12_is_published() -> None:
    assert {"lesson-12-segnet", "lesson-12-unet"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_overrides_apply_to_the_committed_params(name: str, folder: Path) -> None:
    before = HERE.params.read_text(encoding="utf-8")

    set_parameters(HERE.params, (ROOT / HERE.results / name / "overrides.txt").read_text(encoding="utf-8").splitlines())

    assert HERE.params.read_text(encoding="utf-8") != before
    load_config(HERE)


@pytest.mark.parametrize("folder", [Path("reports"), *(HERE.results / name for name in NAMES)], ids=str)
def test_committed_scores_are_those_of_their_images(folder: Path) -> None:
    metrics = read_json(ROOT / folder / "metrics.json")
    images = pd.read_csv(ROOT / folder / "per_image.csv")

    assert images.image_id.is_unique
    assert len(images) == metrics["images"] == 200
    assert images.dice.mean() == pytest.approx(metrics["dice"]["mean"], abs=1e-6)
    assert images.iou.mean() == pytest.approx(metrics["iou"]["mean"], abs=1e-6)
    again = overlap_scores(images)
    assert again.dice.to_numpy() == pytest.approx(images.dice.to_numpy(), abs=1e-6)


def test_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / HERE.params, file)

    with pytest.raises(
        UserError, match=r"'train\.lrr=1' can't be set, because .*params\.yaml has no parameter train\.lrr\."
    ):
        set_parameters(file, ["train.lrr=1"])


def metrics(dice: float) -> dict[str, Any]:
    interval = {"mean": dice, "low": dice - 0.1, "high": dice + 0.1, "p05": 0.25}
    return {"dice": interval, "iou": interval, "val": {"dice": 0.5}, "images": 2}


@pytest.fixture
def two_results(folder: Path) -> Path:
    for name, dice in (("reports", 0.5), ("reports/results/better", 0.75)):
        (folder / name).mkdir(parents=True)
        write_json(folder / name / "metrics.json", metrics(dice))
    (folder / "reports/results/better/overrides.txt").touch()
    return folder


def test_the_table_is_written_between_its_marks_best_result_first(two_results: Path) -> None:
    readme = two_results / "README.md"
    readme.write_text(f"before\n{BEGIN_MARK}an old table\n{END_MARK}after\n")

    update_readme(Workspace(two_results))

    assert readme.read_text() == (
        f"before\n{BEGIN_MARK}"
        "| result | Dice [95 % interval] | IoU [95 % interval] | 5th percentile of Dice | validation Dice | images |\n"
        "|---|---|---|---|---|---|\n"
        "| better | 0.7500 [0.6500, 0.8500] | 0.7500 [0.6500, 0.8500] | 0.250 | 0.5000 | 2 |\n"
        "| default | 0.5000 [0.4000, 0.6000] | 0.5000 [0.4000, 0.6000] | 0.250 | 0.5000 | 2 |\n"
        f"{END_MARK}after\n"
    )


@pytest.mark.parametrize("text", ["no marks\n", f"only\n{BEGIN_MARK}rest\n", f"{END_MARK}{BEGIN_MARK}"])
def test_a_readme_without_both_marks_is_left_alone(text: str, two_results: Path) -> None:
    (two_results / "README.md").write_text(text)

    with pytest.raises(UserError, match=r"README\.md has no place for the table\. Add the lines <!-- results: .* -->"):
        update_readme(Workspace(two_results))

    assert (two_results / "README.md").read_text() == text


def test_publishing_runs_the_experiment_and_keeps_its_scores(small_repository: Path, tmp_path: Path) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    commit(folder, "Run")
    params = (folder / HERE.params).read_bytes()

    pipeline.run(folder, "python", "-m", "naevi", "publish", "tried", "-S", "evaluate.threshold=0.99")

    kept = folder / HERE.results / "tried"
    assert (kept / "overrides.txt").read_text(encoding="utf-8") == "evaluate.threshold=0.99\n"
    assert read_json(kept / "metrics.json")["images"] == 20
    assert len(pd.read_csv(kept / "per_image.csv")) == 20
    assert (kept / "metrics.json").read_bytes() != (folder / HERE.metrics).read_bytes()
    assert (folder / HERE.params).read_bytes() == params

    printed = pipeline.run(folder, "python", "-m", "naevi", "publish", "wrong", "-S", "train.lr=-1", check=False)

    assert "train.lr: Input should be greater than 0; got -1" in printed
    assert "failed with exit code" in printed
    assert not (folder / HERE.results / "wrong").exists()


def test_uncommitted_changes_are_not_published(small_repository: Path) -> None:
    printed = pipeline.run(small_repository, "python", "-m", "naevi", "publish", "loose", check=False)

    assert "naevi: only committed code and parameters can be published. Commit these first: " in printed
    assert "data/split.csv" in printed
