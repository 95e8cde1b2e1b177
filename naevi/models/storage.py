"""Model files: model.safetensors, model.json (enough to rebuild the network) and history.csv. No pickle."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from naevi.config import Classes, ModelConfig, Section, Size, parse_section
from naevi.errors import UserError, describe_error
from naevi.files import atomic_folder, write_csv, write_json
from naevi.models.build import NormalizedNetwork, build_network
from naevi.provenance import read_description

WEIGHTS, DESCRIPTION, HISTORY = "model.safetensors", "model.json", "history.csv"
MAX_HEADER_BYTES = 2**24  # of model.safetensors: far more than the names and shapes of any network's weights


class NetworkDescription(Section):
    """The values of model.json that are needed to predict."""

    model: ModelConfig
    classes: Classes
    size: Size


class StoredModel(NamedTuple):
    """A network that is ready to predict, and the content of its model.json."""

    network: NormalizedNetwork
    description: dict[str, Any]


def save_model(folder: Path, network: nn.Module, origin: dict[str, Any], history: pd.DataFrame) -> None:
    """Write a trained network with its origin and history. Equal input gives equal bytes."""
    data = _to_bytes(network)
    with atomic_folder(folder) as partial:
        (partial / WEIGHTS).write_bytes(data)
        write_csv(partial / HISTORY, history)
        write_json(partial / DESCRIPTION, origin | {"sha256": hashlib.sha256(data).hexdigest()})


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 of the model.safetensors that would be written for a network."""
    return hashlib.sha256(_to_bytes(network)).hexdigest()


def load_model(folder: Path, *, device: str) -> StoredModel:
    """Return a trained network in evaluation mode and its description.

    Raises UserError if model.json can't be read or has invalid values, or if the weights aren't those that it
    describes.
    """
    description = read_description(folder)
    values = {key: description[key] for key in NetworkDescription.model_fields if key in description}
    known = parse_section(NetworkDescription, values, f"{folder / DESCRIPTION}")
    network = build_network(known.model, classes=len(known.classes))
    file = folder / WEIGHTS
    expected = sum(value.nbytes for value in network.state_dict().values()) + MAX_HEADER_BYTES
    data = file.read_bytes() if file.is_file() and file.stat().st_size <= expected else b""
    if hashlib.sha256(data).hexdigest() != description["sha256"]:
        raise UserError(
            f"{file} is missing or is not the file that model.json describes. Train the model again or run `dvc pull`."
        )
    try:
        network.load_state_dict(load(data))
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{file} doesn't hold the weights of this network ({describe_error(error)[:100]}). Use another model."
        ) from error
    return StoredModel(network.to(device).eval(), description)


def _to_bytes(network: nn.Module) -> bytes:
    # No metadata: with two or more keys, safetensors writes them in random order.
    return bytes(save({name: value.cpu().contiguous() for name, value in network.state_dict().items()}))
