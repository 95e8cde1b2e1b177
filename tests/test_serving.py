"""The model as MLflow serves it, over HTTP, from a folder that knows nothing of the repository."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests

from naevi import paths
from tests import pipeline


@pytest.fixture(scope="module")
def address(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of `mlflow models serve` with the result's model."""
    store = f"sqlite:///{small_repository / 'mlflow.db'}"
    (result,) = mlflow.MlflowClient(store).search_runs(["1"], "tags.kind = 'result'")
    environment = {"MLFLOW_TRACKING_URI": store, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = ["mlflow", "models", "serve", "-m", f"runs:/{result.info.run_id}/model", "--env-manager", "local"]
    with pipeline.served(tmp_path_factory.mktemp("elsewhere"), *command, **environment) as address:
        yield address


def asked(address: str, *contents: bytes) -> requests.Response:
    """The answer for these files."""
    rows = [{"image": base64.b64encode(content).decode()} for content in contents]
    return requests.post(f"{address}/invocations", json={"dataframe_records": rows}, timeout=60)


def test_served_masks_are_those_of_predict(small_repository: Path, tmp_path: Path, address: str) -> None:
    images = sorted((small_repository / paths.RAW / "images").iterdir())[:6]
    command = ["python", "-m", "naevi", "predict", *map(str, images), "--out", str(tmp_path / "out")]
    pipeline.run(small_repository, *command)

    answer = asked(address, *(image.read_bytes() for image in images))

    assert answer.status_code == 200
    masks = [base64.b64decode(row["mask"]) for row in answer.json()["predictions"]]
    assert masks == [(tmp_path / "out" / "masks" / image.name).read_bytes() for image in images]


@pytest.mark.parametrize(
    ("request_of", "status", "word"),
    [
        (
            {"json": {"dataframe_records": [{"image": base64.b64encode(b"%PDF-1.7").decode()}]}},
            400,
            "its format is unknown",
        ),
        ({"json": {"dataframe_records": [{"picture": "AAAA"}]}}, 400, "image"),
        ({"json": {"dataframe_records": [{"image": 7}]}}, 400, "image"),
        ({"json": [1, 2]}, 400, "dict"),
        ({"data": "{", "headers": {"Content-Type": "application/json"}}, 400, "JSON"),
        ({"data": b"\x89PNG", "headers": {"Content-Type": "image/png"}}, 415, "content types"),
    ],
)
def test_a_bad_request_is_told_why(address: str, request_of: dict[str, Any], status: int, word: str) -> None:
    answer = requests.post(f"{address}/invocations", **request_of, timeout=60)

    assert answer.status_code == status, answer.text
    assert word in answer.text
    assert "Traceback" not in answer.text


def test_nothing_of_the_model_is_a_pickle(small_repository: Path) -> None:
    store = f"sqlite:///{small_repository / 'mlflow.db'}"
    (result,) = mlflow.MlflowClient(store).search_runs(["1"], "tags.kind = 'result'")
    mlflow.set_tracking_uri(store)

    folder = Path(mlflow.artifacts.download_artifacts(f"runs:/{result.info.run_id}/model"))

    kinds = {file.suffix for file in folder.rglob("*") if file.is_file() and "code" not in file.parts}
    assert kinds <= {"", ".yaml", ".yml", ".txt", ".json", ".py", ".csv", ".safetensors"}
