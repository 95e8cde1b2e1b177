"""This result compared with those in reports/results and with published ones. Only PH2 has published results."""

from typing import Any

from naevi.rendering.colors import PURPLE, VERMILION
from naevi.rendering.plots import DotPlotRow
from naevi.rendering.tables import Table
from naevi.reporting.formatting import format_interval, format_number, format_published
from naevi.reporting.literature import published_results
from naevi.reporting.result import RecordedResult, ReportData


def has_published_results(result: ReportData) -> bool:
    """Whether others published results on these images."""
    return bool(published_results(result.config.data.source))


def comparison_rows(result: ReportData) -> list[dict[str, str]]:
    """Return name, scores, protocol and source of this result, the recorded ones and the published ones."""
    own = [
        {
            "name": name,
            "dice": format_number(metrics["dice"]["mean"]),
            "interval": format_interval(metrics["dice"]),
            "iou": format_number(metrics["iou"]["mean"]),
            "protocol": f"this pipeline, {metrics['images']} images" + (f", settings in {folder}" if folder else ""),
            "source": "",
        }
        for name, folder, metrics in _own_results(result)
    ]
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
    return own + published


def comparison_table(result: ReportData) -> Table:
    """Return the rows of `comparison_rows` for Markdown."""
    rows = []
    for row in comparison_rows(result):
        link = f"[source]({row['source']})" if row["source"] else ""
        rows.append([*(row[key] for key in ("name", "dice", "interval", "iou", "protocol")), link])
    return Table(["result", "Dice", "95 % interval", "IoU", "protocol", "source"], rows)


def comparison_dots(result: ReportData) -> list[DotPlotRow]:
    """Return a row of the dot plot for each result, with headings; this result has a color of its own."""
    own = [
        DotPlotRow(name, *(metrics["dice"][key] for key in ("mean", "low", "high")))
        for name, _, metrics in _own_results(result)
    ]
    own[0] = own[0]._replace(color=VERMILION)
    published = [
        DotPlotRow(other.name, other.dice, color=PURPLE) for other in published_results(result.config.data.source)
    ]
    return [DotPlotRow("this pipeline"), *own, DotPlotRow("published, protocols differ"), *published]


def _own_results(result: ReportData) -> list[RecordedResult]:
    """Return this result, then the recorded ones, best Dice first."""
    recorded = sorted(result.recorded, key=lambda other: (-_mean_dice(other.metrics), other.name))
    return [RecordedResult("this result", "", result.metrics), *recorded]


def _mean_dice(metrics: dict[str, Any]) -> float:
    return float(metrics["dice"]["mean"])
