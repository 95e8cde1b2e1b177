"""The report is written from the files of a workspace. The same result gives the same bytes."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from naevi.config import Config
from naevi.errors import UserError
from naevi.evaluation.outputs import split_scores
from naevi.files import write_csv, write_json
from naevi.provenance import read_description
from naevi.record import result_fingerprint
from naevi.reporting.report import publish_report, write_report
from naevi.reporting.result import ReportData
from naevi.reporting.selection import ExampleImage
from naevi.workspace import Workspace
from stages import report
from tests.helpers import HERE, write_lock
from tests.reporting.report_data import PLOTS, Tiny


@pytest.mark.slow
def test_the_same_result_gives_the_same_files(result: ReportData, examples: list[ExampleImage], folder: Path) -> None:
    """Files of an earlier result are removed."""

    def written() -> dict[str, bytes]:
        write_report(HERE, result, examples)
        return {str(path): path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()}

    first = written()
    (HERE.figures / "001_other.png").write_bytes(b"")

    assert written() == first
    assert set(first) == {
        "reports/report.html",
        "reports/report.md",
        *(f"reports/figures/{name}.png" for name in PLOTS if name != "others"),
        *(f"reports/figures/{example.name}" for example in examples),
    }
    assert len(first["reports/report.html"]) < 6_000_000


def write_inputs(result: ReportData, tiny: Tiny, predictions: Path) -> None:
    """Write what the earlier stages of the pipeline would have written into the current folder."""
    shutil.copytree(tiny.workspace.raw, HERE.raw)
    shutil.copytree(predictions, HERE.predictions)
    HERE.prepared.mkdir()
    shutil.copy(tiny.workspace.image_table, HERE.image_table)
    for model in result.models:
        folder = HERE.model(model["item"])
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
        write_json(folder / "model.json", model | {"sha256": hashlib.sha256().hexdigest()})
        assert result.curves is not None
        history = result.curves[result.curves.model == model["item"]].drop(columns="model")
        write_csv(folder / "history.csv", history)
    HERE.metrics.parent.mkdir()
    metrics, details = split_scores(result.metrics)
    write_json(HERE.metrics, metrics)
    write_json(HERE.details_source, details)
    HERE.checks.mkdir()
    write_json(HERE.statistics_source, result.statistics)
    for path, rows in (
        (HERE.per_image, result.per_image),
        (HERE.curves, result.curves),
        (HERE.reliability, result.reliability),
        (HERE.thresholds, result.thresholds),
        (HERE.risk_coverage, result.risk_coverage),
    ):
        write_csv(path, rows)
    write_lock(HERE, result.config)


@pytest.mark.slow
def test_the_stage_reads_what_the_others_wrote(
    result: ReportData, tiny: Tiny, predictions: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "load_config", lambda workspace: result.config)
    write_inputs(result, tiny, predictions)
    (HERE.results / "earlier").mkdir(parents=True)
    write_json(HERE.results / "earlier" / "metrics.json", result.metrics)

    report.main()

    models = [read_description(HERE.model(model["item"])) for model in result.models]
    fingerprint = result_fingerprint(result.config, models, result.metrics)
    html, markdown = (path.read_text(encoding="utf-8") for path in (HERE.report_html, HERE.report_md))
    assert fingerprint in html
    assert fingerprint in markdown
    assert HERE.details.read_bytes() == HERE.details_source.read_bytes()
    assert HERE.data_statistics.read_bytes() == HERE.statistics_source.read_bytes()
    for path in (HERE.metrics, HERE.details, HERE.per_image, HERE.curves, HERE.image_table, HERE.data_statistics):
        assert f"| `{path.as_posix()}` | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |" in markdown


@pytest.mark.parametrize(
    "edited", [HERE.params, HERE.metrics, HERE.thresholds, HERE.predictions / "new.png", HERE.raw / "masks/new.png"]
)
def test_the_stage_writes_no_report_of_files_that_differ_from_their_record(
    edited: Path,
    result: ReportData,
    tiny: Tiny,
    predictions: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    config_with: Callable[[dict[str, Any]], Config],
) -> None:
    write_inputs(result, tiny, predictions)
    config = config_with({"train.lr": 0.5}) if edited == HERE.params else result.config
    monkeypatch.setattr(report, "load_config", lambda workspace: config)
    with edited.open("a", encoding="utf-8") as file:
        file.write(" ")

    with pytest.raises(UserError, match=r"records: (train\.lr is 0\.5, but|\S+ has changed\. Run `dvc repro`)"):
        report.main()

    assert not HERE.report_html.exists()


@pytest.mark.slow
def test_two_workspaces_in_one_process(
    result: ReportData, tiny: Tiny, predictions: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The report of another workspace has the same bytes, and nothing is written to the current folder."""
    write_inputs(result, tiny, predictions)
    elsewhere = Workspace(tmp_path_factory.mktemp("elsewhere"))
    shutil.copytree(folder, elsewhere.root, dirs_exist_ok=True)
    publish_report(elsewhere, result.config, result.models, result.curves)
    assert not HERE.report_html.exists()

    publish_report(HERE, result.config, result.models, result.curves)

    for path in (HERE.report_html, HERE.report_md):
        assert (elsewhere.root / path).read_bytes() == path.read_bytes()
