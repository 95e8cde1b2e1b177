"""The registry: the champion, the results that could become it, and models brought from MLflow."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from naevi.errors import UserError
from naevi.files import read_json
from naevi.tracking import store
from naevi.tracking.registry import (
    Champion,
    download_model,
    find_champion,
    finished_results,
    read_per_image,
    register_champion,
    set_champion,
)
from naevi.workspace import Workspace

pytestmark = pytest.mark.slow

Overrides = dict[str, Any]


def add_result(workspace: Workspace, dice: float) -> str:
    """Log a FINISHED result with one image and an MLflow model; return the run's id."""
    client, experiment = store.connect(workspace)
    tags = {"kind": "result", "fingerprint": str(dice), "dataset": "moles", "data": "da7a"}
    tags["dvc.md5.data.raw"] = "f01de2.dir"
    run_id = str(client.create_run(experiment, tags=tags, run_name=f"Dice {dice}").info.run_id)
    client.log_param(run_id, "data.source", "folder")
    file = workspace.root / workspace.per_image.name
    pd.DataFrame({"image_id": ["007"], "dice": [dice]}).to_csv(file, index=False)
    client.log_artifact(run_id, str(file))
    client.set_terminated(run_id, "FINISHED")
    return run_id


def test_a_champion_is_registered_replaced_and_set_back(workspace: Workspace) -> None:
    runs = [add_result(workspace, 0.25), add_result(workspace, 0.5)]
    results = finished_results(workspace)
    assert [(result.run, result.model) for result in results] == [(run, None) for run in runs]
    assert results[1].per_image.to_dict("list") == {"image_id": ["007"], "dice": [0.5]}
    assert find_champion(workspace, "moles") is None

    client, experiment = store.connect(workspace)
    for number, (result, tags) in enumerate(zip(results, [{}, {"before": "1"}], strict=True), start=1):
        model = client.create_logged_model(experiment, source_run_id=result.run).model_id
        client.log_model_artifact(model, str(workspace.root / workspace.per_image.name))
        assert register_champion(workspace, "moles", result._replace(model=model), tags) == str(number)
        champion = find_champion(workspace, "moles")
        assert isinstance(champion, Champion)
        assert champion == (
            "moles",
            str(number),
            tags.get("before"),
            result.run,
            "folder",
            "moles",
            "da7a",
            "f01de2.dir",
        )
        assert read_per_image(workspace, champion.run).equals(result.per_image)

    set_champion(workspace, "moles", "1")

    champion = find_champion(workspace, "moles")
    assert isinstance(champion, Champion)
    assert (champion.version, champion.run) == ("1", runs[0])


def test_a_run_whose_files_are_lost_does_not_hide_the_others(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    lost, kept = add_result(workspace, 0.25), add_result(workspace, 0.5)
    shutil.rmtree(workspace.mlflow_artifacts / lost)

    assert [result.run for result in finished_results(workspace)] == [kept]
    (warning,) = caplog.messages
    place = (workspace.mlflow_artifacts / lost / "artifacts").as_uri()
    assert warning == (
        f"MLflow's run Dice 0.25 is left out: per_image.csv is missing in {place} or can't be read. Bring the files "
        "back, or record the result again with `make verify`."
    )


def logged(workspace: Workspace, files: dict[str, str]) -> str:
    """Log files below `model` to a run; return the address of that folder."""
    client, experiment = store.connect(workspace)
    run_id = str(client.create_run(experiment).info.run_id)
    for name, text in files.items():
        file = workspace.root / "upload" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    client.log_artifacts(run_id, str(workspace.root / "upload"), "model")
    return f"runs:/{run_id}/model"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_model_of_a_run_is_the_folder_with_its_model_json(workspace: Workspace) -> None:
    address = logged(workspace, {"artifacts/predictor/model.json": "{}", "artifacts/predictor/predict.json": "{1}"})

    folder = download_model(workspace, address)

    assert contents(folder) == {"model.json": b"{}", "predict.json": b"{1}"}
    assert folder.name == "predictor"


def test_a_model_without_settings_of_prediction_comes_as_it_is(workspace: Workspace) -> None:
    folder = download_model(workspace, logged(workspace, {"model.json": "{}"}))

    assert contents(folder) == {"model.json": b"{}"}


def test_an_earlier_model_gets_its_settings_from_its_params_and_the_store_stays_as_it_is(
    workspace: Workspace, params_with: Callable[[Overrides], dict[str, Any]]
) -> None:
    pytest.importorskip("torch")
    params = workspace.root / "params.yaml"
    YAML().dump(params_with({"evaluate.threshold": 0.375, "evaluate.turns": True, "runtime.threads": 3}), params)
    text = params.read_text(encoding="utf-8")
    address = logged(
        workspace, {"artifacts/all/model.json": "{}", "artifacts/all/history.csv": "", "artifacts/params.yaml": text}
    )
    before = contents(workspace.mlflow_artifacts)

    folder = download_model(workspace, address)

    assert set(contents(folder)) == {"model.json", "history.csv", "predict.json"}
    settings = read_json(folder / "predict.json")
    assert (settings["threshold"], settings["turns"], settings["threads"]) == (0.375, True, 3)
    assert contents(workspace.mlflow_artifacts) == before


def test_what_is_not_a_model_is_a_user_error(workspace: Workspace) -> None:
    address = logged(workspace, {"report.md": ""})

    with pytest.raises(UserError, match=re.escape(f"{address} doesn't contain a model.json")):
        download_model(workspace, address)
    with pytest.raises(UserError, match=r"has no models:/moles@champion \("):
        download_model(workspace, "models:/moles@champion")
