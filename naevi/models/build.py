"""Build networks that map images in 0..1 to logits: those of segmentation_models.pytorch and lesson 12's two."""

import copy
import difflib
from collections.abc import Callable

import segmentation_models_pytorch as smp
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from naevi.config import Config, ModelConfig
from naevi.errors import UserError, describe_error, shorten
from naevi.models.lesson12 import SegNet, UNet
from naevi.models.pretrained import load_encoder_weights

SEARCH_RANGE_PX = 256  # how far from an unsuitable size others are tried
MIN_SIZE_PX, MAX_SIZE_PX = 32, 2048  # the bounds of preprocess.size


# Networks of this repository, from the number of logit channels. All others are smp's.
OWN_NETWORKS: dict[str, Callable[[int], nn.Module]] = {"segnet": SegNet, "unet-plain": UNet}
OWN_ENCODER = "own"  # their model.encoder in model.json


class NormalizedNetwork(nn.Module):
    """A network with the normalization that it expects, so that its input is always an image in 0..1."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Set mean and std, one value per channel. They are not in the state dict, because the config implies them."""
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image, float32 (N, 3, H, W) in 0..1, to logits, float32 (N, C, H, W), also under autocast."""
        logits: Tensor = self.body((image - self.mean) / self.std)
        return logits.float()


def create_network(model: ModelConfig, *, classes: int, seed: int) -> NormalizedNetwork:
    """Return the network that training starts from: random by `seed`, with ImageNet weights if model.weights says so.

    Equal seeds give equal bytes, and the global random generators don't change. Lesson 12's networks have no ImageNet
    weights. `load_start_weights` loads weights from a file.

    Raises UserError as `build_network` and `load_encoder_weights` do.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also reseed every GPU.
        torch.default_generator.manual_seed(seed)
        network = build_network(model, classes=classes)
        if model.weights == "imagenet" and model.architecture not in OWN_NETWORKS:
            load_encoder_weights(network.body.get_submodule("encoder"), model)
    return network


def effective_model_config(config: Config) -> Config:
    """Return the config with the model settings that are really used.

    Lesson 12's networks have an encoder of their own and no ImageNet weights, whatever params.yaml says.

    Raises UserError if only the encoder of such a network is to be loaded from a file.
    """
    model = config.model
    if model.architecture not in OWN_NETWORKS:
        return config
    weights = "none" if model.weights == "imagenet" else model.weights
    if weights != "none" and config.train.start_from == "encoder":
        raise UserError(
            f"The encoder of {model.architecture} is not a module of its own, so its weights can't be loaded alone. "
            "Set train.start_from to network, or model.weights to none."
        )
    return config.model_copy(update={"model": model.model_copy(update={"encoder": OWN_ENCODER, "weights": weights})})


def build_network(model: ModelConfig, *, classes: int) -> NormalizedNetwork:
    """Return the network with random weights from torch's global generator. Nothing is downloaded.

    It maps images, float32 (N, 3, H, W) in 0..1, to logits, float32. With two classes these are (N, 1, H, W), for the
    foreground. Otherwise they are (N, classes, H, W), background first. Most networks need H and W that are multiples
    of 32; `check_image_size` tells.

    Raises UserError if the encoder doesn't exist or the architecture can't use it.
    """
    channels = 1 if classes == 2 else classes
    if model.architecture in OWN_NETWORKS:
        # Lesson 12 uses images in 0..1.
        return NormalizedNetwork(OWN_NETWORKS[model.architecture](channels), mean=(0, 0, 0), std=(1, 1, 1))
    _check_encoder(model.encoder)
    try:
        body = smp.create_model(model.architecture, encoder_name=model.encoder, encoder_weights=None, classes=channels)
        mean, std = _normalization(model.encoder)
        return NormalizedNetwork(body, mean=mean, std=std)
    except Exception as error:  # smp and timm raise anything from KeyError to an AssertionError without a message
        raise UserError(
            f"model.architecture {model.architecture} can't use model.encoder {model.encoder} "
            f"({describe_error(error)}). tu-tf_efficientnet_lite0 works with every architecture."
        ) from error


def check_image_size(network: NormalizedNetwork, size: int) -> None:
    """Run one blank image of `size` x `size` px through the network. Its mode, weights and statistics don't change.

    Raises UserError if the network can't process that size, or its logits have another size. Most networks need
    multiples of 32, some transformers have a fixed size, and PAN needs at least 128 px.
    """
    training = network.training
    try:
        with torch.inference_mode():
            _run_blank(network.eval(), size)
    except (AssertionError, RuntimeError, ValueError) as error:
        sizes = " or ".join(map(str, _nearest_sizes(network, size)))
        remedy = f"Set it to {sizes}." if sizes else "Try another size, model.encoder or model.architecture."
        raise UserError(
            f"The network can't process images of preprocess.size {size} px ({describe_error(error)}). {remedy}"
        ) from error
    finally:
        network.train(training)


def _run_blank(network: NormalizedNetwork, size: int) -> None:
    logits = network(torch.zeros(1, 3, size, size, device=network.mean.device))
    if logits.shape[2:] != (size, size):
        raise ValueError(f"its logits would be {logits.shape[2]} x {logits.shape[3]} px")


def _nearest_sizes(network: NormalizedNetwork, size: int) -> list[int]:
    """Return the next smaller and the next larger size that work; none if memory failed and not the size."""
    # On the meta device only shapes are computed.
    shapes = copy.deepcopy(network).to("meta")

    def fits(number: int) -> bool:
        try:
            _run_blank(shapes, number)
        except Exception:  # a size that fails in any way is not proposed
            return False
        return True

    smaller = range(size - 1, max(MIN_SIZE_PX, size - SEARCH_RANGE_PX) - 1, -1)
    larger = range(size + 1, min(MAX_SIZE_PX, size + SEARCH_RANGE_PX) + 1)
    with torch.inference_mode():
        sizes = [] if fits(size) else [next(filter(fits, candidates), None) for candidates in (smaller, larger)]
    return [number for number in sizes if number]


def _check_encoder(encoder: str) -> None:
    # Checked first, because timm would access the internet for a name such as tu-hf-hub:….
    if encoder in smp.encoders.encoders or (encoder.startswith("tu-") and timm.is_model(encoder.removeprefix("tu-"))):
        return
    # smp will drop its timm-… encoders, so they are not proposed.
    own = [name for name in smp.encoders.encoders if not name.startswith("timm-")]
    names = own + [f"tu-{name}" for name in timm.list_models()]
    close = difflib.get_close_matches(encoder, names) or ["tu-tf_efficientnet_lite0"]
    raise UserError(
        f"model.encoder {shorten(repr(encoder))} is neither one of smp's encoders nor tu- followed by a timm model. "
        f"Did you mean {' or '.join(close)}?"
    )


def _normalization(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # smp keeps the values of its own encoders on a hub; timm has most of them offline.
    config = timm.get_pretrained_cfg(encoder.removeprefix("tu-").removeprefix("timm-"))
    return (config.mean, config.std) if config else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
