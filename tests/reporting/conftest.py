"""One result for all tests of the report. Read only."""

from pathlib import Path

import pytest

from naevi.rendering.style import to_svg
from naevi.reporting.report import draw_plots, render_html
from naevi.reporting.result import ReportData
from naevi.reporting.selection import ExampleImage, load_examples, select_examples
from tests.reporting.report_data import Tiny, score_predictions, write_predictions


@pytest.fixture(scope="session")
def predictions(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of predictions."""
    return write_predictions(tiny, tmp_path_factory.mktemp("predictions"))


@pytest.fixture(scope="session")
def result(tiny: Tiny, predictions: Path) -> ReportData:
    """Return the result of these predictions."""
    return score_predictions(tiny, predictions)


@pytest.fixture(scope="session")
def examples(result: ReportData, tiny: Tiny, predictions: Path) -> list[ExampleImage]:
    """Return 18 examples: six each of the worst, median and best."""
    return load_examples(select_examples(result.per_image), tiny.workspace.raw, predictions)


@pytest.fixture(scope="session")
def full_page(result: ReportData, examples: list[ExampleImage]) -> str:
    """Return the page with its plots and examples."""
    return render_html(result, examples, {name: to_svg(figure, name) for name, figure in draw_plots(result).items()})
