"""Write report.html, one offline file, report.md, and copies of data.json and details.json, which git keeps.

None contains a date, host, commit or duration: the same result gives the same bytes.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from naevi.config import Config
from naevi.evaluation.calibration import risk_coverage_curve
from naevi.evaluation.summary import average_classes
from naevi.files import atomic_folder, read_json, write_json, write_text
from naevi.images.files import write_image
from naevi.record import read_scores, result_fingerprint
from naevi.rendering import plots
from naevi.rendering.overlays import OUTCOMES
from naevi.rendering.pages import environment
from naevi.rendering.style import to_png, to_svg
from naevi.rendering.tables import Table, compact_markdown_table
from naevi.reporting.content import report_content
from naevi.reporting.dependencies import find_lock_file, read_dependencies
from naevi.reporting.image_tables import example_content, image_rows, worst_table
from naevi.reporting.other_results import comparison_dots, comparison_table, has_published_results
from naevi.reporting.result import ReportData
from naevi.reporting.scores import headline_table
from naevi.reporting.selection import EXAMPLE_GROUPS, ExampleImage, load_examples, select_examples
from naevi.reporting.subgroups import subgroup_dots
from naevi.results.folders import read_all_published
from naevi.tables import (
    read_image_table,
    read_per_image,
    read_reliability,
    read_risk_coverage,
    read_thresholds,
)
from naevi.workspace import Workspace


def shown_files(workspace: Workspace, config: Config) -> list[Path]:
    """Return the files and folders of a cross-validation that its report shows."""
    return [
        workspace.raw,
        workspace.checks,
        workspace.image_table,
        *(workspace.model(name) for name in config.model_names()),
        workspace.predictions,
        workspace.details_source,
        workspace.metrics,
        workspace.per_image,
        workspace.curves,
        workspace.reliability,
        workspace.thresholds,
        workspace.risk_coverage,
    ]


def publish_report(
    workspace: Workspace,
    config: Config,
    models: list[dict[str, Any]],
    curves: pd.DataFrame | None,
    lacking: Iterable[str] = (),
) -> None:
    """Write the report of the scores, images, masks and predictions in the workspace.

    `models` and `curves` are those of `ReportData`, `lacking` the parameters that were added after the result.
    """
    write_json(workspace.data_statistics, read_json(workspace.statistics_source))
    write_json(workspace.details, read_json(workspace.details_source))
    result = read_result(workspace, config, models, curves, lacking)
    examples = load_examples(select_examples(result.per_image), workspace.raw, workspace.predictions)
    write_report(workspace, result, examples)


def read_result(
    workspace: Workspace,
    config: Config,
    models: list[dict[str, Any]],
    curves: pd.DataFrame | None,
    lacking: Iterable[str] = (),
) -> ReportData:
    """Return the data of the report from the files in the workspace."""
    metrics = read_scores(workspace.metrics, workspace.details)
    lock_file = find_lock_file(workspace)
    return ReportData(
        config=config,
        metrics=metrics,
        per_image=average_classes(read_per_image(workspace.per_image)),
        curves=curves,
        reliability=read_reliability(workspace),
        thresholds=read_thresholds(workspace),
        risk_coverage=read_risk_coverage(workspace),
        image_table=read_image_table(workspace),
        statistics=read_json(workspace.data_statistics),
        models=models,
        recorded=read_all_published(workspace),
        inputs=_input_hashes(workspace) | ({lock_file.name: _sha256(lock_file)} if lock_file else {}),
        dependencies=read_dependencies(lock_file),
        fingerprint=result_fingerprint(config, models, metrics, lacking),
    )


def _input_hashes(workspace: Workspace) -> dict[str, str]:
    paths = [
        workspace.metrics,
        workspace.details,
        workspace.per_image,
        workspace.curves,  # an external validation has none
        workspace.reliability,
        workspace.thresholds,
        workspace.risk_coverage,
        workspace.image_table,
        workspace.data_statistics,
    ]
    return {workspace.relative(path): _sha256(path) for path in paths if path.exists()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_report(workspace: Workspace, result: ReportData, examples: list[ExampleImage]) -> None:
    """Write reports/report.html, reports/report.md and reports/figures."""
    figures = draw_plots(result)
    with atomic_folder(workspace.figures) as folder:  # images of an earlier result must not remain
        for example in examples:
            write_image(folder / example.name, example.overlay)
        for name, figure in figures.items():
            (folder / f"{name}.png").write_bytes(to_png(figure))
    elements = {name: to_svg(figure, name) for name, figure in figures.items()}
    write_text(workspace.report_html, render_html(result, examples, elements))
    write_text(workspace.report_md, render_markdown(result))


def draw_plots(result: ReportData) -> dict[str, Figure]:
    """Return every plot of the report by name; `others` and `learning_curves` only if there is something to plot."""
    title, mean = result.plot_title, float(result.metrics["dice"]["mean"])
    threshold = result.config.evaluate.threshold if len(result.config.data.classes) == 2 else None
    best = risk_coverage_curve(result.per_image.dice, result.per_image.dice)
    figures = {
        "histogram": plots.dice_histogram(result.per_image, title),
        "subgroups": plots.dot_plot(subgroup_dots(result), mean, title),
        "confidence": plots.confidence_plot(result.per_image, title),
        "risk_coverage": plots.risk_coverage_plot(result.risk_coverage, best, result.per_image, title),
        "reliability": plots.reliability_plot(result.reliability, title),
        "thresholds": plots.threshold_plot(result.thresholds, threshold, title),
    }
    if has_published_results(result):
        figures["others"] = plots.dot_plot(comparison_dots(result), mean, title)
    if result.curves is not None:
        figures["learning_curves"] = plots.learning_curve_plot(result.curves, title)
    return figures


def render_html(result: ReportData, examples: list[ExampleImage], svgs: dict[str, str]) -> str:
    """Return the page with all images in it; `svgs` has an <svg> element for each plot of `draw_plots`."""
    groups: dict[str, list[dict[str, Any]]] = {group: [] for group in EXAMPLE_GROUPS}
    for example in examples:
        groups[str(example.score["group"])].append(example_content(example))
    ranks = {example.score["image_id"]: example.score["rank"] for example in examples}
    return (
        environment(__package__)
        .get_template("report.html.j2")
        .render(
            report_content(result),
            groups=groups,
            outcome_colors={name: color for name, (color, _) in OUTCOMES.items()},
            plots=svgs,
            image_rows=image_rows(result.per_image, ranks),
            dependencies=result.dependencies,
        )
    )


def render_markdown(result: ReportData) -> str:
    """Return the same without images. Its diff shows what changed between two results."""
    return (
        environment(__package__)
        .get_template("report.md.j2")
        .render(
            report_content(result),
            table=compact_markdown_table,
            pairs=_pair_table,
            headline_table=headline_table(result),
            comparison_table=comparison_table(result),
            worst_table=worst_table(result.per_image),
        )
    )


def _pair_table(name: str, values: dict[str, str]) -> str:
    return compact_markdown_table(Table([name, "value"], [[f"`{key}`", f"`{value}`"] for key, value in values.items()]))
