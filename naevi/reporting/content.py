"""The tables and texts that both report templates show, as one dict composed of the report's sections."""

from typing import Any

from naevi.metrics import FAILURE_IOU
from naevi.provenance import data_digest
from naevi.rendering.data_sets import SYNTHETIC_LABEL
from naevi.rendering.plots import order_diagnoses
from naevi.reporting import data_checks, origin, scores, subgroups
from naevi.reporting.confidence import CONFIDENCE_NOTE, failure_detection, selective_table
from naevi.reporting.formatting import format_number, format_numbers, join_words
from naevi.reporting.image_tables import describe_worst
from naevi.reporting.model_card import model_card
from naevi.reporting.other_results import comparison_rows, has_published_results
from naevi.reporting.result import ReportData

# The headings by their ids in the page, in an expert's order.
SECTIONS = {
    "others": "Comparison with other results",
    "scores": "Scores",
    "examples": "Worst, median and best images",
    "subgroups": "Subgroups",
    "confidence": "Failure detection",
    "calibration": "Calibration",
    "curves": "Learning curves",
    "images": "All images",
    "data": "Data and checks",
    "origin": "Provenance",
    "card": "Model card",
}


def report_content(result: ReportData) -> dict[str, Any]:
    """Return the content of both templates, numbers as text."""
    sections = (_header, _scores, _subgroups, _confidence, _data, _origin)
    content = {name: value for section in sections for name, value in section(result).items()}
    return content | {"card": model_card(result)}


def _header(result: ReportData) -> dict[str, Any]:
    optional = {"others": has_published_results(result), "curves": result.curves is not None}
    return {
        "sections": {name: text for name, text in SECTIONS.items() if optional.get(name, True)},
        "dataset_name": result.data_set,
        "heading": join_words(result.config.data.names()[1:]).capitalize(),
        "tested": scores.describe_test(result),
        "synthetic_label": SYNTHETIC_LABEL if result.is_synthetic else "",
        "headline": {name: format_numbers(result.metrics[name]) for name in scores.POOLED_LABELS},
        "scores_note": scores.describe_scores(result),
        "others": comparison_rows(result) if has_published_results(result) else [],
    }


def _scores(result: ReportData) -> dict[str, Any]:
    metrics, sides = result.metrics, result.statistics["all"]
    return {
        "n_images": metrics["images"] - metrics.get("unscored", 0),
        "n_failed": metrics["failed"],
        "failure_iou": FAILURE_IOU,
        "score_table": scores.score_table(metrics),
        "part_table": scores.part_table(metrics),
        "class_table": scores.class_table(metrics),
        "fold_table": scores.fold_table(result),
        "median_size": " by ".join(f"{sides[side]['median']:.0f}" for side in ("width", "height")),
        "training_size": result.config.preprocess.size,
        "calibration_error": format_number(metrics["calibration"]["expected_error"]),
        "brier": format_number(metrics["brier"]["mean"]),
    }


def _subgroups(result: ReportData) -> dict[str, Any]:
    return {
        "diagnoses": order_diagnoses(result.per_image.diagnosis),
        "subgroup_tables": subgroups.subgroup_tables(result),
        "weakest": subgroups.describe_weakest(result),
        "worst": describe_worst(result.per_image),
        "subgroup_note": subgroups.SUBGROUP_NOTE,
    }


def _confidence(result: ReportData) -> dict[str, Any]:
    return {
        "failure_detection": failure_detection(result),
        "selective_table": selective_table(result),
        "confidence_note": CONFIDENCE_NOTE,
    }


def _data(result: ReportData) -> dict[str, Any]:
    return {
        "citation": data_checks.PH2_CITATION if result.config.data.source == "ph2" else None,
        "dataset_table": data_checks.dataset_table(result.statistics),
        "checks": data_checks.data_checks(result),
        "decisions": data_checks.decision_table(result.statistics),
        "data_warnings": result.statistics["warnings"],
        "data_set_digest": result.statistics["digest"],
        "data_digest": data_digest(result.image_table, result.image_table.image_id.tolist())["digest"],
    }


def _origin(result: ReportData) -> dict[str, Any]:
    return {
        "fingerprint": result.fingerprint,
        "parameters": origin.used_parameters(result),
        "versions": origin.merge_values([model["versions"] for model in result.models]),
        "runtime": origin.merge_values([model["runtime"] for model in result.models]),
        "training_code": " / ".join(dict.fromkeys(model["code"] for model in result.models)),
        "model_table": origin.model_table(result.models),
        "has_model_all": result.curves is not None and "all" in result.config.model_names(),
        "inputs": result.inputs,
    }
