"""The views in which MLflow's pages open: results by Dice, their differences, and the learning curves of all models.

MLflow's pages read a shared view from a tag of the experiment, in JSON of their own (tried with 3.17.2).
"""

import json
from typing import TYPE_CHECKING, Any

from naevi.tracking.store import FINISHED_RESULTS, RESULTS, search_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TAG = "mlflow.sharedViewState."
RESULTS_VIEW, CURVES_VIEW = "naevi", "naevi-curves"
PAGE = "#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey="
RESULTS_PAGE = PAGE + RESULTS_VIEW
DIFFERENCES_PAGE = f"{RESULTS_PAGE}&compareRunsMode=CHART"
CURVES_PAGE = f"{PAGE}{CURVES_VIEW}&compareRunsMode=CHART"
MODELS = "tags.kind = 'model'"
CURVES = ["val_dice", "val_iou", "train_loss"]
FIRST_SCORES, LAST_SCORES = ["dice.mean", "iou.mean"], ["val.dice", "failed"]
MAX_PARAMETERS = 8  # as columns; a screen has no room for more
SCORE_PX, PARAMETER_PX = 90, 140  # widths of columns


def write_views(client: "MlflowClient", experiment_id: str) -> None:
    """Save both views in the experiment. That of the results has a column for each parameter in which they differ."""
    results = list(search_runs(client, experiment_id, FINISHED_RESULTS))
    views = {RESULTS_VIEW: _results_view(differing_parameters(results)), CURVES_VIEW: _curves_view()}
    for name, view in views.items():
        client.set_experiment_tag(experiment_id, TAG + name, json.dumps(view))


def differing_parameters(runs: "list[Run]") -> list[str]:
    """Return the parameters that don't have the same value in all runs, sorted, the first MAX_PARAMETERS of them."""
    names = sorted({name for run in runs for name in run.data.params})
    return [name for name in names if len({run.data.params.get(name) for run in runs}) > 1][:MAX_PARAMETERS]


def _results_view(parameters: list[str]) -> dict[str, Any]:
    widths = (
        {_column("metrics", name): SCORE_PX for name in FIRST_SCORES}
        | {_column("params", name): PARAMETER_PX for name in parameters}
        | {_column("metrics", name): SCORE_PX for name in LAST_SCORES}
    )
    columns = {"selectedColumns": list(widths), "columnOrder": list(widths), "columnWidths": widths}
    differences = {
        "type": "DIFFERENCE",
        "compareGroups": ["Parameters"],
        "showDifferencesOnly": True,
        "showChangeFromBaseline": False,
        "baselineColumnUuid": "",
    }
    lines = {"type": "PARALLEL", "selectedParams": parameters, "selectedMetrics": FIRST_SCORES[:1], "showAllRuns": True}
    charts = _charts("Parameters that differ", [differences, lines], columns=1)
    return _view(RESULTS, _column("metrics", FIRST_SCORES[0])) | columns | charts


def _curves_view() -> dict[str, Any]:
    line = {"type": "LINE", "lineSmoothness": 0}
    charts = [line | {"metricKey": name, "selectedMetricKeys": [name]} for name in CURVES]
    return _view(MODELS, _column("attributes", "Created")) | _charts("Learning curves", charts, columns=2)


def _charts(title: str, charts: list[dict[str, Any]], columns: int) -> dict[str, Any]:
    """Return the part of a view that shows these charts under a title, so many side by side."""
    return {
        "compareRunCharts": [
            chart | {"uuid": f"{title} {number}", "metricSectionId": title} for number, chart in enumerate(charts)
        ],
        "compareRunSections": [{"uuid": title, "name": title, "display": True, "columns": columns}],
    }


def _view(search: str, order: str) -> dict[str, Any]:
    """Return a view of the runs that meet a condition, the highest first."""
    return {"searchFilter": search, "orderByKey": order, "orderByAsc": False, "startTime": "ALL"}


def _column(kind: str, name: str) -> str:
    """Return the name that MLflow's pages give a column."""
    return f"{kind}.`{name}`"
