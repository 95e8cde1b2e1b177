"""A model as ONNX gives the probabilities that it gives in torch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from naevi.config import Config
from naevi.deploy.export import export_model
from naevi.errors import UserError
from naevi.models.device import ComputeSettings
from naevi.models.prediction import predict_probabilities
from naevi.models.storage import load_model
from tests.deploy.predictors import write_predictor

FP32 = ComputeSettings(device="cpu", precision="fp32", threads=1)
CLASSES = {"skin": 0, "lesion": 255, "hair": 128}


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "classes"), [("unet-plain", 2), ("segnet", 3)])
def test_onnx_and_torch_give_the_same_probabilities(
    tmp_path: Path, config_with: Callable[[dict[str, Any]], Config], architecture: str, classes: int
) -> None:
    config = config_with({"model": {"architecture": architecture, "encoder": "none", "weights": "none"}})
    folder = write_predictor(tmp_path / "predictor", config, dict(list(CLASSES.items())[:classes]))
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    network, description = load_model(folder, device="cpu")

    export_model(folder, tmp_path / "new" / "model.onnx", force=False)

    session = onnxruntime.InferenceSession(tmp_path / "new" / "model.onnx")
    for batch in (images, images[:1]):
        (probability,) = session.run(None, {"images": batch})
        expected = predict_probabilities(network, torch.from_numpy(batch), FP32).numpy()
        assert probability.shape == expected.shape == (len(batch), 1 if classes == 2 else classes, 32, 32)
        np.testing.assert_allclose(probability, expected, atol=1e-5)
    metadata = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert metadata == {key: description[key] for key in ("size", "classes", "sha256")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.onnx", r"--out .*model\.onnx already exists\. Choose a new name, or overwrite it with --force\."),
        ("model.pt", r"--out .*model\.pt doesn't end in \.onnx or \.safetensors\. Choose a file name that does\."),
    ],
)
def test_out_must_be_a_new_onnx_file(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "model.onnx").touch()

    with pytest.raises(UserError, match=message):
        export_model(tmp_path / "predictor", tmp_path / name, force=False)


def test_a_predictor_without_a_model_says_why(tmp_path: Path, config_with: Callable[[dict[str, Any]], Config]) -> None:
    folder = write_predictor(tmp_path / "predictor", config_with({}))
    for name in ("model.safetensors", "model.json"):
        (folder / name).unlink()

    with pytest.raises(UserError, match=r"predictor holds no model, because cv\.models lacks all\."):
        export_model(folder, tmp_path / "model.onnx", force=False)
