"""A model as ONNX gives the probabilities that it gives in torch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from naevi import export, model_file, networks, prediction, provenance
from naevi.config import Config
from naevi.refusal import Refusal
from naevi.runtime import Runtime

FP32 = Runtime(device="cpu", precision="fp32", threads=1)
CLASSES = {"skin": 0, "lesion": 255, "hair": 128}


def model_of(folder: Path, config: Config, classes: dict[str, int]) -> Path:
    """A model with random weights, on disk."""
    network = networks.create(config.model, classes=len(classes), seed=0)
    origin = {"model": config.model.model_dump(), "classes": classes, "size": 32}
    origin |= {"fingerprint": provenance.digest(origin)}
    model_file.write(folder / "0", network, origin, pd.DataFrame({"epoch": [1]}))
    return folder / "0"


@pytest.mark.parametrize(("architecture", "classes"), [("unet-plain", 2), ("segnet", 3)])
def test_onnx_and_torch_give_the_same_probabilities(
    tmp_path: Path, config_with: Callable[[dict[str, Any]], Config], architecture: str, classes: int
) -> None:
    model = {"architecture": architecture, "encoder": "none", "weights": "none"}
    folder = model_of(tmp_path, config_with({"model": model}), dict(list(CLASSES.items())[:classes]))
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    network = model_file.read(folder, device="cpu")

    export.write(folder, tmp_path / "model.onnx", force=False)

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch in (images, images[:1]):
        (found,) = session.run(None, {"images": batch})
        expected = prediction.probabilities(network, torch.from_numpy(batch), FP32).numpy()
        assert found.shape == expected.shape == (len(batch), 1 if classes == 2 else classes, 32, 32)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    told = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert told == {key: description[key] for key in ("size", "classes", "sha256")}


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()

    for name in ("model.onnx", "model.pt"):
        with pytest.raises(Refusal, match=r"--out .* is there already, or is no \.onnx; name a new one, or overwrite"):
            export.write(tmp_path / "0", tmp_path / name, force=False)
