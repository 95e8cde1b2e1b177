"""The fast gradients are torch's own, and a network uses them where they pay."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from naevi.config import ModelConfig
from naevi.models.build import create_network
from naevi.models.device import ComputeSettings
from naevi.training.depthwise import DepthwiseConvolution, FastDepthwise, fast_depthwise
from naevi.training.losses import build_loss

pytestmark = pytest.mark.slow

UNET = ModelConfig(architecture="unet", encoder="tu-tf_efficientnet_lite0", weights="imagenet")
IMAGES = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))

# Kernel, stride, padding and size of the image; lite0 has 3 and 5 at stride 1 and 2, ConvNeXt 7.
CASES = [
    ((3, 3), (2, 2), (0, 0), (9, 9)),
    ((3, 3), (2, 2), (1, 1), (8, 10)),
    ((5, 5), (1, 1), (2, 2), (6, 7)),
    ((5, 5), (2, 2), (0, 0), (11, 12)),
    ((5, 5), (2, 2), (2, 2), (4, 4)),
    ((7, 7), (1, 1), (3, 3), (7, 5)),
    ((2, 2), (2, 2), (0, 0), (6, 5)),
    ((1, 5), (3, 1), (0, 2), (7, 6)),
    ((8, 4), (1, 2), (0, 1), (9, 9)),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), CASES)
def test_value_and_gradients_are_those_of_torch(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], size: tuple[int, int]
) -> None:
    """In float64, where two ways to add differ in the last digits alone."""
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, *size, generator=rng, dtype=torch.float64).requires_grad_()
    weight = torch.rand(3, 1, *kernel, generator=rng, dtype=torch.float64).requires_grad_()
    bias = torch.rand(3, generator=rng, dtype=torch.float64).requires_grad_()
    theirs = functional.conv2d(image, weight, bias, stride, padding, groups=3)
    ours = DepthwiseConvolution.apply(image, weight, bias, stride, padding)
    gradient = torch.rand(theirs.shape, generator=rng, dtype=torch.float64)

    assert torch.equal(ours, theirs)
    for one, other in zip(
        torch.autograd.grad(ours, (image, weight, bias), gradient),
        torch.autograd.grad(theirs, (image, weight, bias), gradient),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@contextmanager
def training_context(precision: Any) -> Iterator[None]:
    """The contexts of a training step on a CPU."""
    compute = ComputeSettings("cpu", precision, 1)
    with compute.autocast(), fast_depthwise(compute):
        yield


def test_a_gradient_worked_out_by_hand() -> None:
    """One row of five pixels, a kernel of 1 x 5 and stride 2 with a margin of 2: three places."""
    image = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).view(1, 1, 1, 5).requires_grad_()
    weight = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0]).view(1, 1, 1, 5).requires_grad_()
    places = DepthwiseConvolution.apply(image, weight, None, (1, 2), (0, 2))
    places.backward(torch.tensor([1.0, 0.0, 2.0]).view(1, 1, 1, 3))

    assert places.flatten().tolist() == [32100.0, 54321.0, 543.0]
    # The first place saw pixels 1, 2, 3 with weights 3 to 5; the last, which counts twice, 3, 4, 5 with 1 to 3.
    assert image.grad.flatten().tolist() == [100, 1000, 10002, 20, 200]
    assert weight.grad.flatten().tolist() == [6, 8, 11, 2, 3]


def step(
    network: nn.Module, images: torch.Tensor, precision: str, context: AbstractContextManager[Any] | None = None
) -> tuple[float, torch.Tensor]:
    """The loss of a copy of the network in training, its forward pass in the context, and all its gradients."""
    network = copy.deepcopy(network).train().to(memory_format=torch.channels_last)
    batch = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"), context or nullcontext():
        logits = network(batch)
    loss = build_loss("cross-entropy+dice")(logits, (batch[:, :1] > 0.5).to(torch.uint8))
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def fast(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the weights whose convolutions are made fast from here on."""
    seen: list[tuple[int, ...]] = []
    apply = DepthwiseConvolution.apply

    def noted(image: torch.Tensor, weight: torch.Tensor, *places: object) -> torch.Tensor:
        seen.append(tuple(weight.shape))
        return apply(image, weight, *places)  # type: ignore[no-any-return]

    monkeypatch.setattr(DepthwiseConvolution, "apply", noted)
    return seen


def test_lite0_uses_them_eleven_times_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its sixteen depthwise convolutions the five of 3 x 3 at stride 1 are fast as they are."""
    network, seen = create_network(UNET, classes=2, seed=0), fast(monkeypatch)
    with training_context("bf16"):
        network(IMAGES)

    sides = [shape[-1] for shape in seen]
    assert (len(sides), sides.count(3), sides.count(5)) == (11, 2, 9)


def test_convnext_uses_them_for_each_of_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of 7 x 7, with a bias."""
    convnext = ModelConfig(architecture="unet", encoder="tu-convnext_atto", weights="none")
    network, seen = create_network(convnext, classes=2, seed=0), fast(monkeypatch)
    with training_context("bf16"):
        network(IMAGES).sum().backward()

    assert [shape[-2:] for shape in seen] == [(7, 7)] * 12
    biases = [value.grad for name, value in network.named_parameters() if name.endswith("conv_dw.bias")]
    assert len(biases) == 12
    assert all(bias.any() for bias in biases)


def test_without_gradients_without_bf16_and_elsewhere_convolutions_stay_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = create_network(UNET, classes=2, seed=0), fast(monkeypatch)
    with training_context("fp32"):
        network(IMAGES)
    with training_context("bf16"), torch.no_grad():
        network(IMAGES)
    with torch.autocast("cpu", torch.bfloat16):
        network(IMAGES)

    assert seen == []


@pytest.mark.parametrize(
    "layer",
    [
        lambda image: functional.conv2d(image, image[:, :, :5, :5]),
        lambda image: functional.conv2d(image, image.new_ones(4, 1, 5, 5), None, 2, 1, 1, 4),
        torch.nn.Conv2d(4, 4, 5, groups=2),
        torch.nn.Conv2d(4, 8, 5, groups=4),
        torch.nn.Conv2d(4, 4, 5, groups=4, dilation=2),
        torch.nn.Conv2d(4, 4, 5, groups=4, padding="same"),
        torch.nn.Conv2d(4, 4, 3, groups=4),
        torch.nn.Conv2d(4, 4, 5),
    ],
)
def test_what_they_are_not_made_for_stays_torchs(
    layer: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = fast(monkeypatch)
    with training_context("bf16"):
        layer(torch.rand(2, 4, 12, 12, requires_grad=True)).sum().backward()

    assert seen == []


def test_a_step_in_bf16_has_the_loss_and_about_the_gradients_of_torch() -> None:
    """Equal forward, so equal loss; gradients as far apart as bf16 rounds, and closer to each other than to fp32's."""
    network = create_network(UNET, classes=2, seed=0)
    loss, ours = step(network, IMAGES, "bf16", FastDepthwise())
    same, theirs = step(network, IMAGES, "bf16")
    _, exact = step(network, IMAGES, "fp32")

    assert loss == same
    assert (ours - theirs).norm() < 0.5 * (theirs - exact).norm()
