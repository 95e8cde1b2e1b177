"""MLflow's pages open on the results, sorted by Dice, with the parameters in which they differ."""

import re
import shutil
import stat
import time
from pathlib import Path

import mlflow
import pytest

from naevi.tracking import store, view
from naevi.tracking.view import MAX_PARAMETERS, differing_parameters
from naevi.workspace import Workspace
from tests import pipeline
from tests.browser import load, needs_browser
from tests.helpers import HERE, ROOT

CELL = re.compile(r'role="gridcell"[^>]*? col-id="(?:metrics|params)\.`([^"]*)`"[^>]*>(?:<[^>]*>)*([^<]*)')
RESULTS = [
    (0.91, {"model.architecture": "segnet", "train.epochs": "48", "train.lr": "0.001"}),
    (0.93, {"model.architecture": "unetplusplus", "train.epochs": "96", "train.lr": "0.001"}),
    (0.92, {"model.architecture": "unetplusplus", "train.epochs": "48", "train.lr": "0.001"}),
]


@pytest.fixture
def results(workspace: Workspace) -> Workspace:
    """A workspace with three results, and a model with a curve, in its store."""
    client, experiment = store.connect(workspace)
    for dice, parameters in RESULTS:
        run = client.create_run(experiment, tags={"kind": "result", "fingerprint": str(dice)}).info.run_id
        for name, value in parameters.items():
            client.log_param(run, name, value)
        for name, score in {"dice.mean": dice, "iou.mean": dice - 0.1, "val.dice": 0.9, "failed": 3}.items():
            client.log_metric(run, name, score)
        client.set_terminated(run)
    model = client.create_run(experiment, tags={"kind": "model", "fingerprint": "0"}, run_name="segnet 0").info.run_id
    for epoch in (1, 2):
        client.log_metric(model, "val_dice", epoch / 2, step=epoch)
    client.set_terminated(model)
    for file in (HERE.params, HERE.pipeline):
        shutil.copy(ROOT / file, workspace.root / file)
    return workspace


def test_only_parameters_that_differ_are_columns(results: Workspace) -> None:
    client, experiment = store.connect(results)

    assert differing_parameters(list(store.search_runs(client, experiment, view.RESULTS))) == [
        "model.architecture",
        "train.epochs",
    ]
    assert differing_parameters([]) == []


def test_a_missing_parameter_differs_and_there_are_not_too_many_columns(results: Workspace) -> None:
    client, experiment = store.connect(results)
    run = client.create_run(experiment, tags={"kind": "result", "fingerprint": "0"}).info.run_id
    for index in range(20):
        client.log_param(run, f"a{index:02}", 1)

    found = differing_parameters(list(store.search_runs(client, experiment, view.RESULTS)))

    assert found == [f"a{index:02}" for index in range(MAX_PARAMETERS)]


@pytest.mark.slow
@needs_browser
def test_the_first_screen_has_scores_and_differing_parameters_without_a_click(
    results: Workspace, tmp_path: Path
) -> None:
    opened = tmp_path / "opened"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {opened}\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)

    with pipeline.served(results.root, "naevi", "ui", BROWSER=str(script), DISPLAY=":99"):
        log = (results.root / "log").read_text(encoding="utf-8")
        table, differences, curves = (
            re.findall(rf"^{name}: (.*)$", log, re.MULTILINE)[0]
            for name in ("Results", "Differences", "Learning curves")
        )
        shown, differing, charts = (load(page, tmp_path, "1600,900").stdout for page in (table, differences, curves))
        for _ in range(50):
            if opened.exists():
                break
            time.sleep(0.1)

    cells = CELL.findall(shown)
    names = ["dice.mean", "iou.mean", "model.architecture", "train.epochs", "val.dice", "failed"]
    assert [name for name, _ in cells] == names * 3
    assert [value for name, value in cells if name == "dice.mean"] == ["0.93", "0.92", "0.91"]
    assert [value for name, value in cells if name == "train.epochs"] == ["96", "48", "48"]
    assert "Parameters that differ" in differing
    rows = differing.partition("Show differences only")[2]
    assert [name in rows for name in ("model.architecture", "train.epochs", "train.lr")] == [True, True, False]
    assert "segnet 0" in charts
    assert "Learning curves" in charts
    assert opened.read_text(encoding="utf-8").strip() == table


def test_views_are_for_this_version_of_mlflow() -> None:
    """The JSON is not documented. With another version, look at the pages first."""
    assert mlflow.__version__ == "3.17.2"
