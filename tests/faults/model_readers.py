"""Readers of models, weights and checkpoints, and a served model, with inputs to try."""

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations
from safetensors.torch import save

from naevi.config import ModelConfig
from naevi.errors import UserError
from naevi.inference.segmenter import load_segmenter
from naevi.models.storage import load_model
from naevi.provenance import digest
from naevi.tracking import serving
from naevi.tracking.guard import Limits, Refusal, check_body
from naevi.tracking.serving import EXAMPLE, SIGNATURE
from naevi.training import checkpoint
from naevi.training.checkpoint import Checkpoint
from naevi.training.start_weights import load_start_weights
from naevi.workspace import Workspace
from tests.faults.damaged_bytes import spoilt
from tests.faults.image_readers import pictures
from tests.faults.reader import Reader
from tests.faults.values import JSON_TREES, changed_values


def model_json(folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Reader:
    """model.json beside the weights that it describes."""
    valid = [(model / "model.json").read_bytes()]
    (folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())

    def read(data: bytes) -> None:
        (folder / "model.json").write_bytes(data)
        load_segmenter(folder, Workspace(model.parent))

    return Reader(read, valid, spoilt(valid))


def model_values(folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Reader:
    """model.json with other values and a fingerprint that fits them, beside the weights."""
    valid = json.loads((model / "model.json").read_bytes())
    (folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())

    def read(values: Any) -> None:
        if isinstance(values, dict):
            origin = {key: value for key, value in values.items() if key not in ("fingerprint", "sha256")}
            values["fingerprint"] = digest(origin)
        (folder / "model.json").write_text(json.dumps(values), encoding="utf-8")
        load_segmenter(folder, Workspace(model.parent))

    return Reader(read, [valid], changed_values(valid) | JSON_TREES)


def model_weights(folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Reader:
    """model.safetensors with one changed byte beside the model.json that has its hash: none is read."""
    whole = (model / "model.safetensors").read_bytes()
    (folder / "model.json").write_bytes((model / "model.json").read_bytes())

    def read(change: tuple[int, int]) -> None:
        data = bytearray(whole)
        data[change[0]] ^= change[1]
        (folder / "model.safetensors").write_bytes(data)
        load_model(folder, device="cpu")
        assert change[1] == 0

    return Reader(read, [(0, 0)], st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)))


def start_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """The .safetensors that model.weights names, which has no hash."""
    encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2))
    body = torch.nn.ModuleDict({"encoder": encoder, "decoder": torch.nn.Conv2d(2, 1, 1)})
    network = torch.nn.ModuleDict({"body": body})
    valid = [save(dict(encoder.state_dict())), save({k: v.half() for k, v in network.state_dict().items()})]
    settings = ModelConfig(architecture="unet", encoder="resnet18", weights=str(folder / "a.safetensors"))

    def read(data: bytes) -> None:
        (folder / "a.safetensors").write_bytes(data)
        load_start_weights(network, settings, "network", folder / "a.safetensors")

    return Reader(read, valid, spoilt(valid, mend=_header_as_long_as_it_says))


def _header_as_long_as_it_says(data: bytes) -> bytes:
    """Safetensors whose first number is the length of the JSON behind it again."""
    end = data.rfind(b"}") + 1
    return struct.pack("<Q", end - 8) + data[8:] if end > 8 else data


def training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """The file where a training goes on; mended, it has the hash of what was changed."""
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", -1)
    parts = {"network": torch.nn.Conv2d(1, 1, 1)}
    Checkpoint(folder / "a.pt").save(parts, [{"epoch": 1.0}])
    valid = [(folder / "a.pt").read_bytes()]

    def read(data: bytes) -> None:
        (folder / "a.pt").write_bytes(data)
        if not Checkpoint(folder / "a.pt").history:
            raise UserError("training starts from the beginning")

    def rehashed(data: bytes) -> bytes:
        return hashlib.sha256(data[32:]).digest() + data[32:]

    return Reader(read, valid, spoilt(valid, mend=rehashed))


def request(folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Reader:
    """The body of a request to the served model, through all that MLflow's server does with it."""

    def body(content: bytes) -> bytes:
        return json.dumps({"dataframe_records": [{"image": base64.b64encode(content).decode()}]}).encode()

    known = pictures()[:12]
    columns = json.dumps({"dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(known[0]).decode()]]}})
    valid = [*map(body, known), columns.encode()]
    return Reader(_server(folder, model), valid, spoilt(valid) | spoilt(known).map(body))


def _server(folder: Path, model: Path) -> Callable[[bytes], None]:
    """What MLflow's server does with the body of a request. Raises UserError if it says what is wrong with it."""
    mlflow.pyfunc.save_model(
        folder / "served",
        python_model=serving.__file__,
        artifacts={"model": str(model)},
        signature=SIGNATURE,
        input_example=EXAMPLE,
        pip_requirements=[],
    )
    served = mlflow.pyfunc.load_model(str(folder / "served"))
    schema = served.metadata.get_input_schema()

    def read(data: bytes) -> None:
        try:
            answer = invocations(data, "application/json", served, schema)
        except MlflowException as error:
            if error.get_http_status_code() == 400 and "unexpected error" not in error.message:
                raise UserError(error.message) from error
            raise
        assert answer.status == 200, answer

    return read


def request_values(folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Reader:
    """A request with any JSON in it, as it comes to the guard and then to the server."""
    server = _server(folder, model)
    image = base64.b64encode(pictures()[0]).decode()
    valid = {"dataframe_records": [{"image": image}]}

    def read(body: bytes) -> None:
        try:
            check_body(body, Limits())
        except Refusal as refusal:
            if refusal.status < 500:
                raise UserError(str(refusal)) from refusal
            raise
        server(body)

    records = st.lists(st.dictionaries(st.just("image") | st.text(max_size=3), JSON_TREES | st.just(image), max_size=2))
    whole = st.fixed_dictionaries({"dataframe_records": records | JSON_TREES}) | JSON_TREES
    deep = st.integers(1, 200_000).map(lambda depth: b'{"dataframe_records": ' + b"[" * depth)
    digits = st.integers(1, 100_000).map(lambda number: b'{"dataframe_records": [{"image": ' + b"9" * number + b"}]}")
    bodies = (whole | changed_values(valid)).map(lambda value: json.dumps(value).encode())
    return Reader(read, [json.dumps(valid).encode()], bodies | deep | digits)
