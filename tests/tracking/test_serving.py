"""The model as MLflow serves it: over HTTP, from a folder without the repository."""

import ast
import base64
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests

from naevi.tracking.recording import SERVING_REQUIREMENTS
from tests import pipeline
from tests.helpers import HERE, ROOT

pytestmark = pytest.mark.slow


def store(repository: Path) -> str:
    return f"sqlite:///{repository / 'mlflow.db'}"


def model_address(repository: Path) -> str:
    """The address of the model of the one result in a repository's store."""
    (result,) = mlflow.MlflowClient(store(repository)).search_runs(["1"], "tags.kind = 'result'")
    return f"runs:/{result.info.run_id}/model"


@pytest.fixture(scope="module")
def address(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `mlflow models serve` with the result's model."""
    environment = {"MLFLOW_TRACKING_URI": store(small_repository), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = ["mlflow", "models", "serve", "-m", model_address(small_repository), "--env-manager", "local"]
    with pipeline.served(tmp_path_factory.mktemp("elsewhere"), *command, **environment) as address:
        yield address


@pytest.fixture(scope="module")
def download(small_repository: Path) -> Path:
    """The folder of the result's MLflow model."""
    mlflow.set_tracking_uri(store(small_repository))
    return Path(mlflow.artifacts.download_artifacts(model_address(small_repository)))


def send(address: str, *contents: bytes) -> requests.Response:
    """Return the response for these image files."""
    rows = [{"image": base64.b64encode(content).decode()} for content in contents]
    return requests.post(f"{address}/invocations", json={"dataframe_records": rows}, timeout=60)


def test_served_masks_are_those_of_predict(small_repository: Path, tmp_path: Path, address: str) -> None:
    images = sorted((small_repository / HERE.raw / "images").iterdir())[:6]
    command = ["python", "-m", "naevi", "predict", *map(str, images), "--out", str(tmp_path / "out")]
    pipeline.run(small_repository, *command)

    response = send(address, *(image.read_bytes() for image in images))

    assert response.status_code == 200
    masks = [base64.b64decode(row["mask"]) for row in response.json()["predictions"]]
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
def test_a_bad_request_gets_the_reason(address: str, request_of: dict[str, Any], status: int, word: str) -> None:
    response = requests.post(f"{address}/invocations", **request_of, timeout=60)

    assert response.status_code == status, response.text
    assert word in response.text
    assert "Traceback" not in response.text


def test_nothing_of_the_model_is_a_pickle(download: Path) -> None:
    kinds = {file.suffix for file in download.rglob("*") if file.is_file() and "code" not in file.parts}

    assert kinds <= {"", ".yaml", ".yml", ".txt", ".json", ".py", ".safetensors"}


def test_the_model_has_the_predictor_and_the_whole_package(small_repository: Path, download: Path) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        files = [file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}

    predictor = contents(small_repository / HERE.predictor)

    assert set(predictor) == {"model.json", "model.safetensors", "predict.json"}
    assert contents(download / "artifacts" / "predictor") == predictor
    assert contents(download / "code" / "naevi") == contents(small_repository / "naevi")


def test_the_requirements_name_each_library_that_serving_imports() -> None:
    script = (
        "import sys; import naevi.tracking.serving\n"
        "print(*(module.__file__ for name, module in sys.modules.items() if name.split('.')[0] == 'naevi'), sep='\\n')"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {name for file in printed.stdout.split() for name in imports(Path(file))}

    distributions = importlib.metadata.packages_distributions()
    libraries = {name for name in imported - {"naevi"} if name in distributions}
    assert {"mlflow", "torch", "PIL"} <= libraries
    required = {normalized(name) for name in SERVING_REQUIREMENTS}
    assert {name for name in libraries if required.isdisjoint(map(normalized, distributions[name]))} == set()


def normalized(name: str) -> str:
    """The name of a distribution, which tools write with hyphens or underscores."""
    return name.lower().replace("_", "-")


def imports(file: Path) -> set[str]:
    """The packages that a module imports when it is imported itself."""
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in found}
