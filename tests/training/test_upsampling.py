"""Joined blocks compute what smp's compute."""

import copy
from collections.abc import Callable

import pytest
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import Tensor, nn
from torch.nn import functional as F

from naevi.models.build import create_network
from naevi.training.upsampling import FusedDecoderBlock, fuse_upsampling, transposed_kernel
from tests.training.test_depthwise import UNET, step

pytestmark = pytest.mark.slow


def random(*shape: int, seed: int = 0) -> Tensor:
    """Numbers in 0..1, float64, in which two ways to add differ in the last digits alone."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def joined(network: nn.Module) -> int:
    """How many of its modules are joined blocks."""
    return sum(isinstance(module, FusedDecoderBlock) for module in network.modules())


def test_a_kernel_worked_out_by_hand() -> None:
    """Two pixels, 1 and 10, each doubled, seen by the weights 1, 2, 3 with a margin of one zero."""
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1] = torch.tensor([1.0, 2.0, 3.0])
    kernel = transposed_kernel(weight)

    assert kernel[0, 0].tolist() == [[0, 0, 0, 0], [3, 5, 3, 1], [3, 5, 3, 1], [0, 0, 0, 0]]
    found = F.conv_transpose2d(torch.tensor([[[[1.0, 10.0]]]]), kernel, stride=2, padding=1)
    # 0 1 1 10 10 0: 0 + 2 + 3, 1 + 2 + 30, 1 + 20 + 30, 10 + 20 + 0.
    assert found[0, 0].tolist() == [[5, 33, 51, 30]] * 2


@pytest.mark.parametrize(("outputs", "channels", "height", "width"), [(3, 2, 5, 4), (1, 1, 1, 1), (2, 5, 3, 1)])
def test_a_transposed_convolution_equals_upsampling_and_convolution(
    outputs: int, channels: int, height: int, width: int
) -> None:
    image, weight = random(2, channels, height, width), random(outputs, channels, 3, 3, seed=1)
    theirs = F.conv2d(F.interpolate(image, scale_factor=2, mode="nearest"), weight, padding=1)
    ours = F.conv_transpose2d(image, transposed_kernel(weight), stride=2, padding=1)

    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["batchnorm", "identity"])  # without norm, the convolution has a bias
def test_a_network_has_smps_values_and_gradients(norm: str) -> None:
    theirs = smp.Unet("resnet18", encoder_weights=None, decoder_use_norm=norm).double().train()
    ours = copy.deepcopy(theirs)
    fuse_upsampling(ours)
    image, gradient = random(2, 3, 64, 96), random(2, 1, 64, 96, seed=1)
    for network in (theirs, ours):
        network(image).backward(gradient)

    assert joined(ours) == 5
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-9, atol=1e-9)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-9)


def test_a_size_that_is_not_doubled_goes_smps_way() -> None:
    theirs = UnetDecoderBlock(2, 3, 4).double()
    ours = copy.deepcopy(theirs)
    fuse_upsampling(ours)
    feature_map, skip = random(2, 2, 4, 4), random(2, 3, 7, 8, seed=1)

    assert type(ours) is FusedDecoderBlock
    assert torch.equal(ours(feature_map, 7, 8, skip), theirs(feature_map, 7, 8, skip))


@pytest.mark.parametrize(
    "network",
    [
        lambda: smp.Unet("resnet18", encoder_weights=None, decoder_attention_type="scse"),
        lambda: smp.Unet("resnet18", encoder_weights=None, decoder_interpolation="bilinear"),
        lambda: smp.UnetPlusPlus("resnet18", encoder_weights=None),
        lambda: create_network(UNET.model_copy(update={"architecture": "unet-plain"}), classes=2, seed=0),
    ],
)
def test_other_networks_stay_as_they_are(network: Callable[[], nn.Module]) -> None:
    found = network()
    kinds = [type(module) for module in found.modules()]
    fuse_upsampling(found)

    assert [type(module) for module in found.modules()] == kinds


def test_without_onednn_all_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    network = create_network(UNET, classes=2, seed=0)
    fuse_upsampling(network)

    assert joined(network) == 0


def test_in_bf16_it_is_as_near_to_fp32_as_smps_and_a_mirrored_kernel_is_not() -> None:
    """The gradients, summed over five networks; the last comparison shows that the bound can be missed."""
    images, errors = random(8, 3, 96, 96).float(), {"smp": 0.0, "fused": 0.0, "mirrored": 0.0}
    for seed in range(5):
        network = create_network(UNET, classes=2, seed=seed)
        _, exact = step(network, images, "fp32")
        _, of_smp = step(network, images, "bf16")
        fuse_upsampling(network)
        _, fused = step(network, images, "bf16")
        with torch.no_grad():
            block = next(module for module in network.modules() if isinstance(module, FusedDecoderBlock))
            block.conv1[0].weight.copy_(block.conv1[0].weight.flip(3))
        _, mirrored = step(network, images, "bf16")
        for name, gradients in (("smp", of_smp), ("fused", fused), ("mirrored", mirrored)):
            errors[name] += float((gradients - exact).norm())

    assert errors["fused"] < 1.1 * errors["smp"] < errors["mirrored"]
