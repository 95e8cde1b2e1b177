"""The data set of the report, and the checks that the pipeline made on it."""

from pathlib import Path
from typing import Any

from naevi.rendering.plots import order_diagnoses
from naevi.rendering.tables import Table
from naevi.reporting.formatting import format_percent, format_range
from naevi.reporting.result import ReportData
from naevi.splitting import describe_pooled, with_strata

PH2_CITATION = {
    "text": "T. Mendonça, P. M. Ferreira, J. S. Marques, A. R. S. Marçal, J. Rozeira: PH2 - A dermoscopic image "
    "database for research and benchmarking. EMBC 2013.",
    "url": "https://www.fc.up.pt/addi/ph2%20database.html",
}


def dataset_table(statistics: dict[str, Any]) -> Table:
    """Return number, sizes and areas of the images by diagnosis, and by data set if there are several.

    `statistics` is the content of data.json.
    """
    parts = {name: statistics["by_diagnosis"][name] for name in order_diagnoses(statistics["by_diagnosis"])}
    parts |= {f"data set {name}": part for name, part in statistics.get("by_dataset", {}).items()}
    rows = [
        [
            name,
            str(part["images"]),
            format_range(part["width"]),
            format_range(part["height"]),
            format_percent(part["lesion_fraction"]["median"]),
            " to ".join(format_percent(part["lesion_fraction"][end]) for end in ("lowest", "highest")),
            str(part["touches_frame"]),
            str(part["dark_corners"]),
        ]
        for name, part in (parts | {"all": statistics["all"]}).items()
    ]
    head = ["diagnosis", "images", "width, px", "height, px", "median area", "area", "touch the frame", "dark corners"]
    return Table(head, rows)


def data_checks(result: ReportData) -> list[str]:
    """Return the checks that passed before anything was trained. If one fails, the pipeline stops."""
    config = result.config
    checks = ["As read, every mask has the size of its image and contains only classes of data.classes."]
    if config.data.source == "ph2":
        checks.insert(0, "Every image and mask matches its SHA-256 pixel hash in data/ph2.csv.")
    if config.preprocess.empty_masks == "refuse":
        checks.append("No mask is empty.")
    path = Path(config.data.path)
    if config.data.source == "folder" and result.curves is not None and (path.is_absolute() or ".." in path.parts):
        checks.append(
            "The images are outside the repository (data.path), so others can't reproduce this result. Copy them into "
            "the repository and run `dvc add`."
        )
    return [*checks, *_describe_pooled(result), _describe_near_duplicates(result)]


def _describe_pooled(result: ReportData) -> list[str]:
    """Return which diagnoses were too rare to be stratified alone, if the images were split at random."""
    if result.curves is None or {"split", "fold"} & set(result.image_table.columns):
        return []
    text = describe_pooled(with_strata(result.image_table), result.config.split.folds)
    return [text] * bool(text)


def _describe_near_duplicates(result: ReportData) -> str:
    pairs, threshold = result.statistics["near_duplicates"], result.statistics["near_duplicate_correlation"]
    if threshold == "off":
        return "Near-duplicates weren't searched for, because preprocess.near_duplicates is off."
    sentence = (
        f"Near-duplicates: {pairs} {'pair' if pairs == 1 else 'pairs'} of images that look alike "
        f"(correlation of {threshold} or more)."
    )
    if result.curves is not None:
        sentence += " The images of a pair are never split between training and test."
    return sentence


def decision_table(statistics: dict[str, Any]) -> Table | None:
    """Return the decisions that were made while the data were read and prepared, or None if there were none."""
    rows = [
        [str(row[key]) for key in ("decision", "count", "examples", "parameter")] for row in statistics["decisions"]
    ]
    return Table(["decision", "number", "examples", "parameter"], rows) if rows else None
