"""Published results: their parameters are still valid, and their scores are those of their images."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from naevi.config import load_config
from naevi.errors import UserError
from naevi.experiments.demo import commit, set_parameters
from naevi.experiments.published import BEGIN_MARK, END_MARK, results_table, update_readme
from naevi.files import read_json, read_yaml
from naevi.metrics import overlap_scores
from naevi.workspace import Workspace
from tests import pipeline
from tests.experiments.helpers import git, md5, per_image, write_result, write_scores
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
    assert len(images) == metrics["images"] == (2002 if folder.name == "ham10000" else 200)
    assert images.dice.mean() == pytest.approx(metrics["dice"]["mean"], abs=1e-6)
    assert images.iou.mean() == pytest.approx(metrics["iou"]["mean"], abs=1e-6)
    again = overlap_scores(images, classes=2)
    assert again.dice.to_numpy() == pytest.approx(images.dice.to_numpy(), abs=1e-6)


def test_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / HERE.params, file)

    with pytest.raises(
        UserError, match=r"'train\.lrr=1' can't be set, because .*params\.yaml has no parameter train\.lrr\."
    ):
        set_parameters(file, ["train.lrr=1"])


@pytest.fixture
def two_results(folder: Path) -> Path:
    """Return a workspace with a result, and a better one that was published before there were records."""
    write_result(HERE, per_image([0.4, 0.6], iou=0.5))
    write_scores(HERE.results / "better", per_image([0.7, 0.8], iou=0.75))
    (HERE.results / "better/overrides.txt").touch()
    return folder


def test_the_table_is_written_between_its_marks_best_result_first(
    two_results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    readme = two_results / "README.md"
    readme.write_text(f"before\n{BEGIN_MARK}an old table\n{END_MARK}after\n")
    git(two_results, "init", "--quiet")
    git(two_results, "add", "--force", "reports")
    git(two_results, "commit", "--quiet", "--message", "Run it")

    update_readme(Workspace(two_results))

    assert caplog.messages == []

    assert readme.read_text() == (
        f"before\n{BEGIN_MARK}"
        "| result | Dice [95 % interval] | IoU [95 % interval] | 5th percentile of Dice | validation Dice | images |\n"
        "|---|---|---|---|---|---|\n"
        "| better† | 0.7500 [0.6500, 0.8500] | 0.7500 [0.6500, 0.8500] | 0.250 | 0.5000 | 2 |\n"
        "| default | 0.5000 [0.4000, 0.6000] | 0.5000 [0.4000, 0.6000] | 0.250 | 0.5000 | 2 |\n"
        "\n† without a record, see [comparing.md](docs/comparing.md#keep-a-result)\n"
        f"{END_MARK}after\n"
    )


def test_a_default_that_is_not_committed_is_a_warning(two_results: Path, caplog: pytest.LogCaptureFixture) -> None:
    (two_results / "README.md").write_text(f"{BEGIN_MARK}{END_MARK}")
    git(two_results, "init", "--quiet")
    git(two_results, "commit", "--quiet", "--allow-empty", "--message", "Empty")

    update_readme(Workspace(two_results))

    assert caplog.messages == [
        "reports/metrics.json isn't the committed one, so the row default is a result that isn't committed yet. Commit "
        "it together with the README. If it is an experiment, run `git restore .` and `dvc checkout`."
    ]


def test_results_of_another_data_set_are_named_below_the_table(two_results: Path) -> None:
    """The default is of PH2. `folder` is of moles, `better` is PH2's and `best` of other synthetic images."""
    for name, dice, dataset in (("best", 0.9, "phantoms"), ("folder", 0.1, "folder")):
        write_scores(HERE.results / name, per_image([dice, dice], dataset=dataset))
        (HERE.results / name / "overrides.txt").touch()

    _, _, *rows, _, others, _, _ = results_table(HERE).splitlines()

    assert [row.split(" | ")[0] for row in rows] == ["| better†", "| default"]
    assert others == (
        "Results on other data sets: best† (phantoms, Dice 0.9000, 2 images), folder† (Dice 0.1000, 2 images)."
    )


@pytest.mark.parametrize("file", ["metrics.json", "per_image.csv"])
def test_an_edited_published_file_is_not_shown(file: str, two_results: Path) -> None:
    path = HERE.results / "better" / file
    path.write_text(path.read_text().replace("0.7", "0.9"))

    with pytest.raises(UserError, match=r"^reports/results/better/metrics\.json contradicts its per_image\.csv: dice"):
        results_table(HERE)


def test_an_edited_result_in_the_workspace_is_not_shown(two_results: Path) -> None:
    HERE.metrics.write_text(HERE.metrics.read_text().replace('"mean": 0.5', '"mean": 0.6'))

    with pytest.raises(UserError, match=r"dvc\.lock records: reports/metrics\.json has changed\. Run `dvc repro`"):
        results_table(HERE)


@pytest.mark.parametrize("text", ["no marks\n", f"only\n{BEGIN_MARK}rest\n", f"{END_MARK}{BEGIN_MARK}"])
def test_a_readme_without_both_marks_is_left_alone(text: str, two_results: Path) -> None:
    (two_results / "README.md").write_text(text)

    with pytest.raises(UserError, match=r"README\.md has no place for the table\. Add the lines <!-- results: .* -->"):
        update_readme(Workspace(two_results))

    assert (two_results / "README.md").read_text() == text


def naevi(folder: Path, *command: str) -> str:
    """Return the output of `python -m naevi`, whether it succeeds or fails."""
    return pipeline.run(folder, "python", "-m", "naevi", *command, check=False)


def test_own_images_that_nobody_tracks_are_refused_before_the_experiment(
    small_repository: Path, tmp_path: Path
) -> None:
    folder = pipeline.copy(small_repository, tmp_path / "repository")
    commit(folder, "Run")
    (folder / "data/mine/images").mkdir(parents=True)
    own = ("publish", "own", "-S", "data.source=folder", "-S", "data.path=data/mine")

    assert naevi(folder, *own) == (
        "naevi: data.path, data/mine, isn't tracked, so the experiment would not have it. Run `dvc add data/mine` and "
        "commit data/mine.dvc.\n"
    )


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

    assert (kept / "record.json").exists()
    record = read_json(kept / "record.json")
    assert sorted(record) == ["baseline", "code", "data", "data_set", "files", "parameters"]
    assert record["baseline"] == pipeline.run(folder, "git", "rev-parse", "HEAD").strip()
    assert record["parameters"]["evaluate"]["threshold"] == 0.99
    assert record["parameters"]["train"] == read_yaml(folder / HERE.params)["train"]
    assert record["files"]["reports/per_image.csv"] == md5(kept / "per_image.csv")
    assert record["data"].keys() == {"data/raw", "data/prepared", "data/split.csv"}
    assert record["data_set"]["name"] == "phantoms"
    assert record["code"]["naevi/evaluation"].endswith(".dir")
    assert naevi(folder, "compare", "tried", "default").startswith("default compared with tried\n")
    (kept / "per_image.csv").write_text((kept / "per_image.csv").read_text().replace(",0.", ",0.9", 1))
    assert naevi(folder, "compare", "tried", "default") == (
        "naevi: reports/results/tried/per_image.csv isn't the file that its record.json lists. Restore it with "
        "`git restore`, or publish again.\n"
    )

    printed = pipeline.run(folder, "python", "-m", "naevi", "publish", "wrong", "-S", "train.lr=-1", check=False)

    assert "train.lr: Input should be greater than 0; got -1" in printed
    assert "failed with exit code" in printed
    assert not (folder / HERE.results / "wrong").exists()


def test_uncommitted_changes_are_not_published(small_repository: Path) -> None:
    printed = pipeline.run(small_repository, "python", "-m", "naevi", "publish", "loose", check=False)

    assert "naevi: only committed code and parameters can be published. Commit these first: " in printed
    assert "data/split.csv" in printed
