"""The view in which MLflow's pages open: all results by Dice, with the parameters in which they differ.

MLflow's pages read a shared view from a tag of the experiment, in JSON of their own (tried with 3.17.2).
"""

import json
from typing import TYPE_CHECKING, Any

from naevi.tracking.store import FINISHED, search_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

NAME = "naevi"
TAG = f"mlflow.sharedViewState.{NAME}"
PAGE = f"#/experiments/{{experiment}}/runs?workflowType=machine_learning&viewStateShareKey={NAME}"
SCORES = ["dice.mean", "dice.low", "dice.high", "iou.mean", "val.dice", "failed"]
MAX_PARAMETERS = 8  # as columns; a screen has no room for more
RESULTS = "tags.kind = 'result'"


def write_view(client: "MlflowClient", experiment_id: str) -> None:
    """Make the results of an experiment the view in which its page opens."""
    results = list(search_runs(client, experiment_id, f"{RESULTS} and {FINISHED}"))
    client.set_experiment_tag(experiment_id, TAG, json.dumps(_view_state(differing_parameters(results))))


def differing_parameters(runs: "list[Run]") -> list[str]:
    """Return the parameters that don't have the same value in all runs, sorted, the first MAX_PARAMETERS of them."""
    values: dict[str, set[str | None]] = {}
    for name in {name for run in runs for name in run.data.params}:
        values[name] = {run.data.params.get(name) for run in runs}
    return sorted(name for name, found in values.items() if len(found) > 1)[:MAX_PARAMETERS]


def _view_state(parameters: list[str]) -> dict[str, Any]:
    columns = [f"metrics.`{name}`" for name in SCORES] + [f"params.`{name}`" for name in parameters]
    return {
        "searchFilter": RESULTS,
        "orderByKey": "metrics.`dice.mean`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "columnOrder": [],
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "groupBy": None,
    }
