"""A model on disk: model.safetensors, model.json (enough to rebuild and use it) and history.csv; no pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load, save
from torch import nn

from naevi import networks, provenance, whole
from naevi.config import ModelConfig
from naevi.refusal import Refusal


def write(folder: Path, network: nn.Module, origin: dict[str, Any], history: pd.DataFrame) -> None:
    """Write a fitted network with its origin and history; equal input gives equal bytes."""
    data = _data(network)
    with whole.folder(folder) as partial:
        (partial / "model.safetensors").write_bytes(data)
        history.to_csv(partial / "history.csv", index=False)
        description = origin | {"sha256": hashlib.sha256(data).hexdigest()}
        (partial / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def digest(network: nn.Module) -> str:
    """SHA-256 of the model.safetensors that a network would be written to."""
    return hashlib.sha256(_data(network)).hexdigest()


def _data(network: nn.Module) -> bytes:
    # No metadata: with two or more keys, safetensors would write them in random order.
    return bytes(save({name: value.cpu().contiguous() for name, value in network.state_dict().items()}))


def read(folder: Path, *, device: str) -> networks.Normalized:
    """The fitted network, ready to predict; raises Refusal when its bytes are not those that model.json names."""
    description = provenance.described(folder)
    file = folder / "model.safetensors"
    data = file.read_bytes() if file.exists() else b""
    if hashlib.sha256(data).hexdigest() != description["sha256"]:
        raise Refusal(
            f"{file} is missing or isn't the file that model.json describes; train it again, or `dvc pull` it."
        )
    network = networks.build(ModelConfig.model_validate(description["model"]), classes=len(description["classes"]))
    network.load_state_dict(load(data))
    return network.to(device).eval()
