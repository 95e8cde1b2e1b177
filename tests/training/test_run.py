"""Training from a file of weights: what matched is printed and recorded, and the result depends on the file."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from safetensors.torch import load_file, save_file

from naevi.config import Config
from naevi.files import write_csv
from naevi.provenance import read_description
from naevi.training.run import train_model
from naevi.workspace import Workspace
from tests.helpers import ROOT

ConfigWith = Callable[[dict[str, Any]], Config]
pytestmark = [pytest.mark.usefixtures("torch_threads"), pytest.mark.slow]


@pytest.fixture
def train(tiny: Any, tmp_path: Path, config_with: ConfigWith) -> Callable[..., dict[str, Any]]:
    """Train the model of fold 0 and return its model.json."""
    workspace = Workspace(tmp_path)
    workspace.weights("").mkdir(parents=True)
    workspace.prepared.symlink_to(tiny.workspace.prepared)
    for name in ("dvc.yaml", "naevi", "stages", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_csv(workspace.split, tiny.split)

    def fit(**overrides: Any) -> dict[str, Any]:
        config = config_with({key.replace("__", "."): value for key, value in overrides.items()})
        train_model(workspace, config, "0", lambda origin, live: nullcontext(MagicMock()))
        return read_description(workspace.model("0"))

    return fit


def test_a_model_records_the_file_that_it_started_from(
    train: Callable[..., dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = Workspace(tmp_path)
    first = train()
    file = workspace.weights("start.safetensors")
    workspace.model("0").joinpath("model.safetensors").rename(file)
    with caplog.at_level(logging.INFO):
        second = train(model__weights="start.safetensors")
    said = list(caplog.messages)
    again = train(model__weights="start.safetensors")
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    other = train(model__weights="start.safetensors")

    assert "start_weights" not in first
    assert second["model"]["weights"] == "start.safetensors"
    assert second["start_weights"]["sha256"] == first["sha256"]
    assert second["start_weights"]["loaded"] == second["start_weights"]["tensors"] == 56
    assert second["start"] == first["sha256"]  # training starts from exactly the weights in the file
    assert said == ["start weights start.safetensors: 56 of 56 tensors of the network loaded."]
    assert again == second
    assert other["fingerprint"] != second["fingerprint"]
    assert str(tmp_path) not in (workspace.model("0") / "model.json").read_text(encoding="utf-8")
