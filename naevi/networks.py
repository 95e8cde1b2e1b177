"""Networks: images in 0..1 in, logits out; smp's architectures and the two of lesson 12."""

import copy
import difflib
from collections.abc import Callable

import segmentation_models_pytorch as smp
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional as F

from naevi import weights
from naevi.config import Config, ModelConfig
from naevi.refusal import Refusal, reason

# Lesson 12's channels per level. Its networks end in a sigmoid that BCEWithLogitsLoss then applies again; ours don't.
WIDTHS = (16, 32, 64, 128)
BOTTOM = 256
# In px, how far from a size that a network can't take others are tried, and the bounds of preprocess.size.
REACH = 256
SMALLEST, LARGEST = 32, 2048


class Normalized(nn.Module):
    """A body and the normalization that it expects, so that whoever uses a network feeds it images in 0..1."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Mean and std hold one value a channel; they are no part of the state dict, since the config implies them."""
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image float32 (N, 3, H, W) in 0..1 to logits float32 (N, C, H, W), also under autocast."""
        logits: Tensor = self.body((image - self.mean) / self.std)
        return logits.float()


class SegNet(nn.Module):
    """SegNet: the decoder puts each value where the encoder's max-pooling found it; H and W are multiples of 16.

    Badrinarayanan, Kendall, Cipolla: "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
    Segmentation", 2015, https://arxiv.org/abs/1511.00561. Widths, bottom and one convolution a level are those of
    lesson 12 of https://github.com/microsoft/AI-For-Beginners, which upsamples bilinearly instead and has no
    convolution at full size behind it.
    """

    def __init__(self, channels: int) -> None:
        """Random weights, from torch's global generator; as many channels of logits as asked for."""
        super().__init__()
        first, *_, last = WIDTHS
        self.down = nn.ModuleList(map(_convolution, (3, *WIDTHS), WIDTHS))
        self.bottom = nn.Sequential(_convolution(last, BOTTOM), _convolution(BOTTOM, last))
        self.up = nn.ModuleList(map(_convolution, WIDTHS[::-1], (*WIDTHS[-2::-1], first)))
        self.head = nn.Conv2d(first, channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, H, W) to logits (N, C, H, W)."""
        x, places = image, []
        for convolution in self.down:
            x, place = F.max_pool2d(convolution(x), 2, return_indices=True)
            places.append(place)
        x = self.bottom(x)
        for convolution, place in zip(self.up, reversed(places), strict=True):
            x = convolution(unpool(x, place))
        logits: Tensor = self.head(x)
        return logits


class UNet(nn.Module):
    """U-Net: each level of the decoder also sees the encoder's features of that level; H and W are multiples of 16.

    Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015,
    https://arxiv.org/abs/1505.04597; padded here, so that the logits are as large as the image. Widths, bottom, one
    convolution a level and bilinear upsampling are those of lesson 12 of
    https://github.com/microsoft/AI-For-Beginners, which has no convolution behind the last upsampling.
    """

    def __init__(self, channels: int) -> None:
        """Random weights, from torch's global generator; as many channels of logits as asked for."""
        super().__init__()
        below = (BOTTOM, *WIDTHS[:0:-1])
        self.down = nn.ModuleList(map(_convolution, (3, *WIDTHS), WIDTHS))
        self.bottom = _convolution(WIDTHS[-1], BOTTOM)
        self.up = nn.ModuleList(_convolution(b + w, w) for b, w in zip(below, WIDTHS[::-1], strict=True))
        self.head = nn.Conv2d(WIDTHS[0], channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, H, W) to logits (N, C, H, W)."""
        x, skips = image, []
        for convolution in self.down:
            skip = convolution(x)
            skips.append(skip)
            x = F.max_pool2d(skip, 2)
        x = self.bottom(x)
        for convolution, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = convolution(torch.cat([x, skip], dim=1))
        logits: Tensor = self.head(x)
        return logits


LESSON_12: dict[str, Callable[[int], nn.Module]] = {"segnet": SegNet, "unet-plain": UNet}


def create(model: ModelConfig, *, classes: int, seed: int) -> Normalized:
    """The network that training starts from: random by `seed`, and its encoder as `model.weights` says.

    Equal seeds give equal bytes, whatever was drawn before; the global generators are left as they were. Lesson 12's
    networks have no encoder to load and always start random.

    Raises Refusal as `build` and `weights.load` do.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also reseed every GPU.
        torch.default_generator.manual_seed(seed)
        network = build(model, classes=classes)
        if model.weights != "none" and model.architecture not in LESSON_12:
            weights.load(network.body.get_submodule("encoder"), model)
    return network


def effective(config: Config) -> Config:
    """The config with what decides the network: lesson 12's have no encoder of others' and no weights to start from."""
    if config.model.architecture not in LESSON_12:
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"encoder": "own", "weights": "none"})})


def build(model: ModelConfig, *, classes: int) -> Normalized:
    """The network with random weights from torch's global generator; nothing is downloaded.

    It turns images float32 (N, 3, H, W) in 0..1 into logits float32: (N, 1, H, W) of the class that isn't the
    background where there are two, else (N, classes, H, W), background first. Most take H and W that are multiples of
    32; `check_size` says what does.

    Raises Refusal when there is no such encoder or the architecture can't use it.
    """
    channels = 1 if classes == 2 else classes
    if model.architecture in LESSON_12:
        # Lesson 12 feeds 0..1.
        return Normalized(LESSON_12[model.architecture](channels), mean=(0, 0, 0), std=(1, 1, 1))
    _check_encoder(model.encoder)
    try:
        body = smp.create_model(model.architecture, encoder_name=model.encoder, encoder_weights=None, classes=channels)
        mean, std = _normalization(model.encoder)
        return Normalized(body, mean=mean, std=std)
    except Exception as error:  # smp and timm raise anything from KeyError to an AssertionError without words
        raise Refusal(
            f"model.architecture {model.architecture} can't use model.encoder {model.encoder} "
            f"({reason(error)}); tu-tf_efficientnet_lite0 fits every architecture."
        ) from error


def check_size(network: Normalized, size: int) -> None:
    """Run one blank image of `size` x `size` px through; the network's mode, weights and statistics stay.

    Raises Refusal when it can't take that size, or its logits have another: most want multiples of 32, some
    transformers have a fixed size, and PAN needs at least 128 px.
    """
    training = network.training
    try:
        with torch.inference_mode():
            _run_blank(network.eval(), size)
    except (AssertionError, RuntimeError, ValueError) as error:
        near = " or ".join(map(str, _near(network, size)))
        raise Refusal(
            f"The network can't take images of preprocess.size {size} px ({reason(error)}); "
            f"{f'{near} px' if near else 'another size, model.encoder or model.architecture'} would do."
        ) from error
    finally:
        network.train(training)


def unpool(x: Tensor, place: Tensor) -> Tensor:
    """Values (N, C, H, W) put at their places in (N, C, 2H, 2W), zeros elsewhere.

    `place` is int64 (N, C, H, W): the flat index in a channel that F.max_pool2d returns. Equals F.max_unpool2d, which
    refuses to run under torch.use_deterministic_algorithms.
    """
    n, c, h, w = x.shape
    zeros = x.new_zeros(n, c, 4 * h * w)
    return zeros.scatter(2, place.flatten(2), x.flatten(2)).view(n, c, 2 * h, 2 * w)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    # The batch norm has the bias.
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _run_blank(network: Normalized, size: int) -> None:
    logits = network(torch.zeros(1, 3, size, size, device=network.mean.device))
    if logits.shape[2:] != (size, size):
        raise ValueError(f"its logits would be {logits.shape[2]} x {logits.shape[3]} px")


def _near(network: Normalized, size: int) -> list[int]:
    """The next smaller and the next larger size that do; none where it isn't the size that fails, but the memory."""
    # Shapes only: nothing is computed.
    shapes = copy.deepcopy(network).to("meta")

    def fits(number: int) -> bool:
        try:
            _run_blank(shapes, number)
        except Exception:  # whatever check_size wouldn't turn into a refusal is no size to propose either
            return False
        return True

    smaller = range(size - 1, max(SMALLEST, size - REACH) - 1, -1)
    larger = range(size + 1, min(LARGEST, size + REACH) + 1)
    with torch.inference_mode():
        found = [] if fits(size) else [next(filter(fits, sizes), None) for sizes in (smaller, larger)]
    return [number for number in found if number]


def _check_encoder(encoder: str) -> None:
    # Asked first, because timm would go to the network for a name such as tu-hf-hub:….
    if encoder in smp.encoders.encoders or (encoder.startswith("tu-") and timm.is_model(encoder.removeprefix("tu-"))):
        return
    # smp will drop its timm-… encoders, so none of them is proposed.
    own = [name for name in smp.encoders.encoders if not name.startswith("timm-")]
    names = own + [f"tu-{name}" for name in timm.list_models()]
    close = difflib.get_close_matches(encoder, names) or ["tu-tf_efficientnet_lite0"]
    raise Refusal(
        f"model.encoder {encoder!r} is neither an encoder of smp's own nor tu- and a model of timm's; "
        f"{' or '.join(close)} would do."
    )


def _normalization(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # smp keeps the values of its own encoders on a hub; timm knows most of them offline.
    config = timm.get_pretrained_cfg(encoder.removeprefix("tu-").removeprefix("timm-"))
    return (config.mean, config.std) if config else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
