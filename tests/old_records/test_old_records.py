"""What an earlier version recorded can still be read, compared, verified, promoted and used."""

import io
import json
import re
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow.entities import Run
from PIL import Image

from naevi.cli import main
from naevi.config import flatten, load_config
from naevi.experiments.changed_images import MAX_CHANGED
from naevi.experiments.comparison import write_comparison
from naevi.experiments.history import history_table
from naevi.files import read_yaml
from naevi.workspace import Workspace
from tests import pipeline
from tests.helpers import HERE
from tests.old_records.conftest import message_lines, paste
from tests.old_records.make_archive import EXPERIMENT, IMAGE, PREDICTED, PUBLISHED

DEFAULT = "default"  # the result of the last commit
RESULTS = [DEFAULT, f"result-{PUBLISHED}", EXPERIMENT]  # all others are DVC experiments


def text_at(folder: Path, result: str, path: Path) -> str:
    """Return a file of a result from git."""
    pattern = "refs/heads/main" if result == DEFAULT else f"refs/exps/*/*/{result}"
    revision = pipeline.run(folder, "git", "for-each-ref", "--format=%(objectname)", pattern).strip()
    return pipeline.run(folder, "git", "show", f"{revision}:{path.as_posix()}")


def mean_dice(folder: Path, result: str) -> str:
    """Return the mean Dice in the result's metrics.json."""
    return f"{json.loads(text_at(folder, result, HERE.metrics))['dice']['mean']:.4f}"


def fingerprint_of(folder: Path, result: str) -> str:
    """Return the fingerprint in the result's report.md."""
    (fingerprint,) = set(re.findall(r"tags\.fingerprint = '(\w+)'", text_at(folder, result, HERE.report_md)))
    return str(fingerprint)


def finished(folder: Path) -> dict[str, Run]:
    """Return the FINISHED runs by fingerprint. There is one for each."""
    runs = mlflow.MlflowClient(pipeline.store(folder)).search_runs(["1"], "attributes.status = 'FINISHED'")
    by_fingerprint = {run.data.tags["fingerprint"]: run for run in runs}
    assert len(by_fingerprint) == len(runs)
    return by_fingerprint


def scores(run: Run) -> dict[str, Any]:
    """Return the metrics of a run that are also in files, and that earlier versions logged."""
    return {key: value for key, value in run.data.metrics.items() if not key.startswith(("images_per_s", "test_"))}


def naevi(*arguments: str) -> str:
    """Return the output of `naevi` in the current folder, whether it succeeds or fails."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False).output


def test_an_old_params_file_is_complete_after_pasting_the_lines_of_the_message(unpacked: Path) -> None:
    workspace = Workspace(unpacked)
    old = flatten(read_yaml(workspace.params))

    paste(workspace.params, message_lines(workspace))

    assert load_config(workspace).data.source == "phantoms"
    assert flatten(read_yaml(workspace.params)).items() > old.items()


def test_the_history_has_the_old_commit_and_its_experiments(repository: Path) -> None:
    table = history_table(Workspace(repository), 20)

    shown = ("Run the demo", f"↳ result-{PUBLISHED}", f"↳ {EXPERIMENT}")
    for result, what in zip(RESULTS, shown, strict=True):
        (line,) = (line for line in table.splitlines() if f"| {what} " in line)
        assert f"| {mean_dice(repository, result)} [" in line
    assert len([line for line in table.splitlines() if line.startswith("|")]) == 2 + len(RESULTS)


@pytest.mark.parametrize(("name", "result"), [(EXPERIMENT, EXPERIMENT), (PUBLISHED, f"result-{PUBLISHED}")])
def test_old_results_are_compared(repository: Path, name: str, result: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_comparison(Workspace(repository), "default", name)

    printed = capsys.readouterr().out
    assert printed.startswith(f"{name} compared with default\n")
    (line,) = re.findall(r"^Dice .*$", printed, flags=re.MULTILINE)
    assert line.split()[1:3] == [mean_dice(repository, DEFAULT), mean_dice(repository, result)]
    assert ", 10 images)" in printed
    assert "This repository has 3 different results" in printed


@pytest.mark.slow
def test_a_comparison_shows_old_predictions(repository: Path, tmp_path: Path) -> None:
    write_comparison(Workspace(repository), "default", EXPERIMENT, tmp_path / "comparison.html")

    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    default, strict = (pd.read_csv(io.StringIO(text_at(repository, name, HERE.per_image))) for name in RESULTS[::2])
    changes = np.sign(strict.dice - default.dice).value_counts()
    assert page.count("data:image/") == 2 * sum(min(MAX_CHANGED, changes.get(sign, 0)) for sign in (-1, 1))
    assert "are missing" not in page


@pytest.mark.slow
def test_the_old_store_is_complete(repository: Path) -> None:
    before = {fingerprint: run.data.tags for fingerprint, run in finished(repository).items()}

    printed = naevi("verify")

    assert re.fullmatch(r"verified: all 3 results in git .*\n", printed), printed
    after = {fingerprint: dict(run.data.tags) for fingerprint, run in finished(repository).items()}
    committed = [tags.pop("result.commit") for tags in after.values() if "result.commit" in tags]
    assert len(committed) == 1  # the other results are experiments
    assert after == before


@pytest.mark.slow
@pytest.mark.usefixtures("torch_threads")
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated")  # from mlflow with pandas 3
def test_without_the_store_old_results_are_recorded_again_with_their_fingerprints(repository: Path) -> None:
    before = finished(repository)
    (repository / "mlflow.db").unlink()

    printed = naevi("verify")

    assert printed.count("missing in MLflow. Recorded from the files.") == len(RESULTS), printed
    assert re.search(r"^verified: all 3 results in git ", printed, flags=re.MULTILINE), printed
    after = finished(repository)
    assert set(after) == set(before)
    for result in RESULTS:
        tags = after[fingerprint_of(repository, result)].data.tags
        assert (tags["kind"], tags.get("dvc.experiments", DEFAULT)) == ("result", result)
    for fingerprint, run in before.items():
        assert scores(after[fingerprint]) == pytest.approx(scores(run))
        assert after[fingerprint].data.params.items() >= run.data.params.items()
        assert after[fingerprint].data.tags["dataset"] == "phantoms"


@pytest.mark.slow
def test_an_old_experiment_is_promoted(repository: Path) -> None:
    printed = naevi("promote", EXPERIMENT, "--force")

    assert f"{EXPERIMENT} is worse than the champion (version 1) by " in printed
    assert "It is now the champion: version 2" in printed
    champion = mlflow.MlflowClient(pipeline.store(repository)).get_model_version_by_alias("naevi", "champion")
    assert champion.run_id == finished(repository)[fingerprint_of(repository, EXPERIMENT)].info.run_id


@pytest.mark.slow
@pytest.mark.usefixtures("torch_threads")
def test_the_old_champion_predicts_as_before(unpacked: Path, tmp_path: Path) -> None:
    image, out = unpacked / HERE.raw / "images" / IMAGE, tmp_path / "out"

    printed = naevi("predict", str(image), "--model", "models:/naevi@champion", "--out", str(out))

    assert (out / "masks" / IMAGE).exists(), printed
    before, now = (np.asarray(Image.open(folder / "masks" / IMAGE)) for folder in (unpacked / PREDICTED, out))
    assert before.any()
    assert (now != before).mean() < 0.01  # another version of torch may round differently
