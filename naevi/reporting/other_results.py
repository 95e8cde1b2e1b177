"""This result compared with those in reports/results and in publications. Only PH2 has results in publications."""

from typing import Any

from naevi.rendering.colors import PURPLE, VERMILION
from naevi.rendering.plots import DotPlotRow
from naevi.rendering.tables import Table
from naevi.reporting.formatting import format_interval, format_number, format_published
from naevi.reporting.literature import published_results
from naevi.reporting.result import ReportData
from naevi.results.data_sets import are_versions, is_same
from naevi.results.folders import WITHOUT_RECORD, PublishedResult


def has_published_results(result: ReportData) -> bool:
    """Return whether there are results on these images in publications."""
    return bool(published_results(result.config.data.source))


def comparison_rows(result: ReportData) -> list[dict[str, str]]:
    """Return name, scores, protocol and source of this result, those in reports/results and those in publications.

    The last rows are results in reports/results of other data sets. Their protocol says so.
    """
    same, other = _recorded_results(result)
    own = [_own_row("this result", result.metrics, f"this pipeline, {result.metrics['images']} images")]
    own += [_own_row(each.name, each.metrics, _protocol(each)) for each in same]
    published = [
        {
            "name": other.name,
            "dice": format_published(other.dice),
            "interval": "",
            "iou": format_published(other.iou),
            "protocol": other.protocol,
            "source": other.source,
        }
        for other in published_results(result.config.data.source)
    ]
    elsewhere = [
        _own_row(each.name, each.metrics, f"not comparable: {_other_data_set(result, each)}; {_protocol(each)}")
        for each in other
    ]
    return own + published + elsewhere


def comparison_table(result: ReportData) -> Table:
    """Return the rows of `comparison_rows` for Markdown."""
    rows = [list(row.values()) for row in comparison_rows(result)]
    return Table(["result", "Dice", "95 % interval", "IoU", "protocol", "source"], rows)


def comparison_dots(result: ReportData) -> list[DotPlotRow]:
    """Return a row of the dot plot for each result of this data set, with headings; this result has its own color."""
    same, _ = _recorded_results(result)
    scores = {"this result": result.metrics} | {each.name: each.metrics for each in same}
    own = [
        DotPlotRow(name, *(metrics["dice"][key] for key in ("mean", "low", "high"))) for name, metrics in scores.items()
    ]
    own[0] = own[0]._replace(color=VERMILION)
    published = [
        DotPlotRow(other.name, other.dice, color=PURPLE) for other in published_results(result.config.data.source)
    ]
    return [DotPlotRow("this pipeline"), *own, DotPlotRow("published, protocols differ"), *published]


def _own_row(name: str, metrics: dict[str, Any], protocol: str) -> dict[str, str]:
    return {
        "name": name,
        "dice": format_number(metrics["dice"]["mean"]),
        "interval": format_interval(metrics["dice"]),
        "iou": format_number(metrics["iou"]["mean"]),
        "protocol": protocol,
        "source": "",
    }


def _protocol(recorded: PublishedResult) -> str:
    parts = [f"this pipeline, {recorded.metrics['images']} images", f"settings in {recorded.folder}"]
    return ", ".join([*parts, *[WITHOUT_RECORD] * (not recorded.has_record)])


def _other_data_set(result: ReportData, recorded: PublishedResult) -> str:
    version = "another version of the " * are_versions(result.tested, recorded.data_set)
    return f"{version}data set {recorded.data_set.label}"


def _recorded_results(result: ReportData) -> tuple[list[PublishedResult], list[PublishedResult]]:
    """Return the results in reports/results of this data set, and those of others, best Dice first."""
    best_first = sorted(result.recorded, key=lambda other: (-float(other.metrics["dice"]["mean"]), other.name))
    same = [other for other in best_first if is_same(result.tested, other.data_set)]
    return same, [other for other in best_first if other not in same]
