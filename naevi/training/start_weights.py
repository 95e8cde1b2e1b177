"""Weights that training starts from, from a .safetensors file: those of a whole network or of an encoder."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from naevi.config import ModelConfig
from naevi.errors import UserError, describe_error
from naevi.models.pretrained import match_encoder

MAX_NAMES = 5  # of tensors that model.json lists
ENCODER = "body.encoder."
HEADS = ("body.segmentation_head.", "body.head.")  # of smp's networks and of lesson 12's; their size depends on classes


def load_start_weights(
    network: nn.Module, model: ModelConfig, part: Literal["network", "encoder"], file: Path
) -> dict[str, Any]:
    """Load the weights of a file into a network, in place; return what matched, as model.json records it.

    The file may hold a network of this project or of smp, an encoder of smp, or a model of timm. The names may begin
    with `model.`, `module.`, `net.` or `body.`. The encoder must be complete, and for lesson 12's networks all but the
    head. Of the rest, every tensor with the same name and shape is loaded, unless `part` is encoder. The others keep
    their random weights.

    Raises UserError if the file can't be read, or tensors of the encoder are missing or have other shapes.
    """
    tensors, sha256 = _read(file, model.weights)
    state = network.state_dict()
    encoder = {key: value for key, value in state.items() if key.startswith(ENCODER)}
    rest = {key: value for key, value in state.items() if key not in encoder} if part == "network" else {}
    by_name = {_without_wrappers(key): key for key in tensors}
    found = {key: by_name[name] for key in rest if (name := _without_wrappers(key)) in by_name}
    matching = {key: name for key, name in found.items() if tensors[name].shape == rest[key].shape}
    # Weights from TensorFlow lack batch counts, and torch doesn't need them.
    missing = [key for key in rest if key not in found and not key.endswith("num_batches_tracked")]
    other_shapes = [key for key in found if key not in matching]
    if encoder:
        matching |= match_encoder(tensors, encoder, model)
    else:
        _check_all_but_head([*missing, *other_shapes], model)
    network.load_state_dict({key: tensors[name] for key, name in matching.items()}, strict=False)
    return {
        "sha256": sha256,
        "part": part,
        "tensors": len(matching) + len(missing) + len(other_shapes),
        "loaded": len(matching),
        "other_shapes": _first_names(other_shapes),
        "missing": _first_names(missing),
        "unused": _first_names(tensors.keys() - {*matching.values(), *found.values()}),
    }


def describe_start_weights(name: str, weights: dict[str, Any]) -> str:
    """Return what `load_start_weights` did, in sentences. `name` is that of the file."""
    shapes, missing, unused = weights["other_shapes"], weights["missing"], weights["unused"]
    text = f"start weights {name}: {weights['loaded']} of {weights['tensors']} tensors of the {weights['part']} loaded"
    if shapes["number"] and all(key.startswith(HEADS) for key in shapes["first"]):
        text += f"; the head ({shapes['number']} tensors) has another number of classes and starts random"
    elif shapes["number"]:
        text += f"; {shapes['number']} have other shapes and start random, such as {shapes['first'][0]}"
    if missing["number"]:
        text += f"; {missing['number']} are not in the file and start random, such as {missing['first'][0]}"
    if unused["number"]:
        text += f"; {unused['number']} of the file are not used, such as {unused['first'][0]}"
    return f"{text}."


def _read(file: Path, name: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a file and its SHA-256."""
    try:
        content = file.read_bytes()
        return load(content), hashlib.sha256(content).hexdigest()
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:  # KeyError: an unknown dtype
        raise UserError(
            f"model.weights {name} can't be read ({describe_error(error)}). "
            "Use another .safetensors file in data/weights, imagenet or none."
        ) from error


def _without_wrappers(key: str) -> str:
    """Return a tensor's name without the names of modules that programs put around a network."""
    return re.sub(r"^((body|model|module|net)\.)*", "", key)


def _check_all_but_head(lacking: list[str], model: ModelConfig) -> None:
    lacking = [key for key in lacking if not key.startswith(HEADS)]
    if lacking:
        raise UserError(
            f"model.weights {model.weights} lacks {len(lacking)} tensors of model.architecture {model.architecture}, "
            f"or has them in other shapes. The first is {lacking[0]}. Use weights of this architecture or none."
        )


def _first_names(names: Iterable[str]) -> dict[str, Any]:
    ordered = sorted(names)
    return {"number": len(ordered), "first": ordered[:MAX_NAMES]}
