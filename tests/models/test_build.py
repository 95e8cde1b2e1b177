"""Shapes, seeds and refusals of the networks; lite0 is the encoder wherever one is needed, as it is small."""

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch.nn import functional as F

from naevi.config import ARCHITECTURES, LESSON_12, ModelConfig
from naevi.errors import UserError
from naevi.models import lesson12
from naevi.models.build import OWN_NETWORKS, NormalizedNetwork, build_network, check_image_size, create_network
from naevi.models.lesson12 import unpool
from naevi.training.losses import build_loss

pytestmark = pytest.mark.slow

LITE0 = "tu-tf_efficientnet_lite0"


def _model(architecture: str, encoder: str = LITE0, weights: str = "none") -> ModelConfig:
    return ModelConfig.model_validate({"architecture": architecture, "encoder": encoder, "weights": weights})


def _images(number: int, size: int) -> torch.Tensor:
    return torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_the_architectures_of_the_config_are_smps_and_lesson_12s() -> None:
    """Now and then smp adds one; config.py spells them out and must follow."""
    assert set(ARCHITECTURES) == {*smp.MODEL_ARCHITECTURES_MAPPING, *OWN_NETWORKS}
    assert set(LESSON_12) == set(OWN_NETWORKS)


@pytest.mark.filterwarnings("ignore:Encoder does not have prefix tokens")  # dpt is made for transformers
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_can_be_built_with_lite0(architecture: str) -> None:
    """As refusals promise; 128 px are enough for all."""
    check_image_size(build_network(_model(architecture), classes=2), 128)


@pytest.mark.every_encoder
@pytest.mark.filterwarnings("ignore")  # encoders warn of what they will be called
@pytest.mark.parametrize("encoder", [*smp.encoders.encoders, *(f"tu-{name}" for name in timm.list_models())])
def test_every_encoder_fits_or_is_refused(encoder: str) -> None:
    """Without memory: the largest have billions of weights."""
    message = ""
    with torch.device("meta"):
        try:
            build_network(_model("unet", encoder), classes=2)
        except UserError as refusal:
            message = str(refusal)

    assert not message or message.startswith(f"model.architecture unet can't use model.encoder {encoder} (")


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 3)])
@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("architecture", ["segnet", "unet-plain", "unet", "fpn", "pspnet", "segformer"])
def test_logits_are_float32_and_as_large_as_the_images(
    architecture: str, size: int, classes: int, channels: int
) -> None:
    """One channel of logits for two classes, one a class for more."""
    network = build_network(_model(architecture), classes=classes)
    logits = network(_images(2, size))

    assert logits.shape == (2, channels, size, size)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("architecture", ["unet-plain", "unet", "unetplusplus", "fpn", "deeplabv3plus"])
def test_a_step_changes_what_is_trained(architecture: str, classes: int) -> None:
    """The loss is finite, and every parameter moves that has a gradient."""
    network = create_network(_model(architecture), classes=classes, seed=1).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = [parameter.clone() for parameter in network.parameters()]
    masks = (_images(2, 64)[:, :1] * classes).to(torch.uint8)
    loss = build_loss("cross-entropy+dice")(network(_images(2, 64)), masks)
    loss.backward()
    optimizer.step()

    assert loss.isfinite()
    pairs = zip(before, network.parameters(), strict=True)
    assert all(p.isfinite().all() and (p.grad is None or p.grad.any() == (old != p).any()) for old, p in pairs)
    head = next(reversed(list(network.parameters())))
    assert not torch.equal(before[-1], head)


def test_two_classes_are_built_as_ever() -> None:
    """The published models started from these; the head is drawn last."""
    head = create_network(_model("unet-plain"), classes=2, seed=0).state_dict()["body.head.weight"]

    assert head.shape == (1, 16, 1, 1)
    assert head.flatten()[:2].tolist() == pytest.approx([0.173792, -0.102026], abs=1e-6)


def test_logits_are_as_large_as_images_that_are_no_squares() -> None:
    """H and W are free of each other."""
    images = _images(2, 96)[:, :, :64]

    assert build_network(_model("segnet"), classes=2)(images).shape == (2, 1, 64, 96)
    assert build_network(_model("unet-plain"), classes=2)(images).shape == (2, 1, 64, 96)


@pytest.mark.parametrize("architecture", ["segnet", "unet-plain", "unet"])
def test_logits_are_float32_under_autocast_too(architecture: str) -> None:
    """A sum over bfloat16 logits would lose digits in losses and in averages of mirror images."""
    network = build_network(_model(architecture), classes=2).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(_images(2, 64))

    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("architecture", ["segnet", "unet-plain", "unet"])
def test_equal_seeds_give_equal_bytes_and_others_do_not(architecture: str) -> None:
    """Whatever was drawn from the global generator before."""
    first = create_network(_model(architecture), classes=2, seed=1).state_dict()
    torch.rand(3)
    again = create_network(_model(architecture), classes=2, seed=1).state_dict()
    other = create_network(_model(architecture), classes=2, seed=2).state_dict()

    assert list(first) == list(again)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_the_global_generator_is_left_as_it_was() -> None:
    """Else the choice of a network would move everything that is drawn after it."""
    before = torch.random.get_rng_state()
    create_network(_model("unet"), classes=2, seed=1)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_imagenet_weights_go_to_the_encoder_and_leave_the_decoder_at_its_seed() -> None:
    """Every tensor of the encoder changes but the batch counts' type; none of the decoder does."""
    random = create_network(_model("unet"), classes=2, seed=1).state_dict()
    loaded = create_network(_model("unet", weights="imagenet"), classes=2, seed=1).state_dict()

    floats = [key for key in random if random[key].is_floating_point()]
    changed = {key for key in floats if not torch.equal(random[key], loaded[key])}
    assert changed == {key for key in floats if key.startswith("body.encoder.")}


@pytest.mark.filterwarnings("ignore:Encoder does not have prefix tokens")  # lite0 is no transformer
def test_imagenet_weights_fit_an_encoder_that_keeps_its_classifier() -> None:
    """That of dpt does."""
    network = create_network(_model("dpt", weights="imagenet"), classes=2, seed=1)

    assert network.get_submodule("body.encoder.model.classifier").weight.shape == (1000, 1280)


def test_lesson_12s_networks_start_random_though_the_config_says_imagenet() -> None:
    """They have no encoder of smp's, and an encoder that doesn't exist is no matter to them."""
    random = create_network(_model("segnet"), classes=2, seed=1).state_dict()
    loaded = create_network(_model("segnet", "none such", "imagenet"), classes=2, seed=1).state_dict()

    assert all(torch.equal(random[key], loaded[key]) for key in random)


@pytest.mark.parametrize("architecture", ["segnet", "unet-plain"])
def test_gradients_reach_every_parameter(architecture: str) -> None:
    """A level that forward leaves out would stay without."""
    network = create_network(_model(architecture), classes=2, seed=1)
    network(_images(2, 64)).square().mean().backward()

    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("architecture", "number"), [("segnet", 780_865), ("unet-plain", 974_417)])
def test_lesson_12s_networks_have_within_a_percent_its_number_of_parameters(architecture: str, number: int) -> None:
    """Counted from its notebook; ours have a convolution at full size besides, and no bias before norms."""
    network = build_network(_model(architecture), classes=2)

    assert sum(p.numel() for p in network.parameters()) == pytest.approx(number, rel=0.01)


def test_unpooling_puts_each_value_where_the_maximum_was() -> None:
    """Two windows side by side: the maxima stand at row 0, column 1 and row 1, column 2."""
    image = torch.tensor([[[[1.0, 4.0, 0.0, 2.0], [3.0, 2.0, 5.0, 1.0]]]])
    pooled, places = F.max_pool2d(image, 2, return_indices=True)

    assert unpool(pooled, places).tolist() == [[[[0, 4, 0, 0], [0, 0, 5, 0]]]]


def test_unpooling_is_torchs_and_runs_where_only_deterministic_algorithms_may() -> None:
    """On several images and channels, channels last; torch's own refuses."""
    image = _images(2, 16).to(memory_format=torch.channels_last)
    pooled, places = F.max_pool2d(image, 2, return_indices=True)
    before = torch.get_deterministic_debug_mode()
    try:
        torch.set_deterministic_debug_mode("default")
        expected = F.max_unpool2d(pooled, places, 2)

        torch.set_deterministic_debug_mode("error")
        assert torch.equal(unpool(pooled, places), expected)
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
            F.max_unpool2d(pooled, places, 2)
    finally:
        torch.set_deterministic_debug_mode(before)


def test_segnet_unpools_with_the_places_of_its_own_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deepest first: 4, 8, 16 and 32 px for an image of 64 px, with the channels of WIDTHS."""
    seen = []

    def spy(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        assert x.shape == place.shape
        seen.append(tuple(x.shape))
        return original(x, place)

    original = unpool
    monkeypatch.setattr(lesson12, "unpool", spy)
    build_network(_model("segnet"), classes=2)(_images(2, 64))

    assert seen == [(2, 128, 4, 4), (2, 64, 8, 8), (2, 32, 16, 16), (2, 16, 32, 32)]


@pytest.mark.parametrize(
    ("architecture", "encoder", "mean", "std"),
    [
        ("unet", LITE0, 0.5, 0.5),
        ("unet", "resnet18", 0.485, 0.229),
        ("unet", "mit_b0", 0.485, 0.229),  # unknown to timm
        ("unet-plain", LITE0, 0, 1),
    ],
)
def test_a_network_normalizes_as_its_encoder_expects(architecture: str, encoder: str, mean: float, std: float) -> None:
    """The first channel's values; the state dict has no such tensors."""
    network = build_network(_model(architecture, encoder), classes=2)

    assert network.mean[0].item() == pytest.approx(mean)
    assert network.std[0].item() == pytest.approx(std)
    assert not {"mean", "std"} & set(network.state_dict())


def test_the_body_sees_normalized_images() -> None:
    """Black is -1 and white is 1 for lite0."""
    network = NormalizedNetwork(torch.nn.Identity(), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    assert network(torch.tensor([0.0, 0.5, 1.0]).expand(1, 3, 1, 3))[0, 2].tolist() == [[-1, 0, 1]]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("resnet3", r"model.encoder 'resnet3' is neither .*\. Did you mean resnet34 or .*\?$"),
        ("tf_efficientnet_lite0", "Did you mean tu-tf_efficientnet_lite0 or tu-"),
        ("tu-hf-hub:someone/something", "is neither one of smp's encoders nor tu- followed by a timm model"),
        ("?", r"Did you mean tu-tf_efficientnet_lite0\?$"),
    ],
)
def test_an_unknown_encoder_is_refused_with_close_names(encoder: str, message: str) -> None:
    """Before anything is asked of a hub."""
    with pytest.raises(UserError, match=message):
        build_network(_model("unet", encoder), classes=2)


@pytest.mark.parametrize(
    ("architecture", "encoder", "reason"),
    [
        ("dpt", "resnet18", "Only Timm encoders are supported for DPT"),
        ("linknet", "mit_b0", "Encoder `mit_b0` is not supported for Linknet"),
        ("unet", "tu-vit_tiny_patch16_224", "Unsupported model downsampling pattern"),
        ("deeplabv3", "tu-vgg11", r"\(AssertionError\)"),
        ("unet", "tu-resnet18.no_such_tag", "no_such_tag"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(architecture: str, encoder: str, reason: str) -> None:
    """With smp's or timm's reason, and one that fits."""
    with pytest.raises(
        UserError, match=f"model.architecture {architecture} can't use model.encoder {encoder}"
    ) as refusal:
        build_network(_model(architecture, encoder), classes=2)

    assert refusal.match(reason)
    assert refusal.match("tu-tf_efficientnet_lite0 works with every architecture")


@pytest.mark.parametrize(
    ("architecture", "encoder", "size", "reason", "near"),
    [
        ("segnet", LITE0, 200, "Expected index", [192, 208]),
        ("unet-plain", LITE0, 36, "Sizes of tensors must match", [32, 48]),
        ("unetplusplus", LITE0, 200, "divisible by 32", [192, 224]),
        ("deeplabv3plus", LITE0, 193, "divisible by 16", [192, 208]),
        ("pan", LITE0, 64, "too small", [128]),  # it halves the deepest features three times more
        ("unet", "tu-swin_tiny_patch4_window7_224", 64, r"Input height .64. doesn't match model .224.", [224]),
        ("unet", "tu-swin_tiny_patch4_window7_224", 300, r"Input height .300. doesn't match model .224.", [224]),
    ],
)
def test_a_size_that_a_network_can_not_take_is_refused(
    architecture: str, encoder: str, size: int, reason: str, near: list[int]
) -> None:
    """With torch's, smp's or timm's reason, and the next sizes that do."""
    network = build_network(_model(architecture, encoder), classes=2)

    told = " or ".join(map(str, near))
    with pytest.raises(
        UserError, match=rf"can't process images of preprocess.size {size} px \(.*{reason}.*\)\. Set it to {told}\.$"
    ):
        check_image_size(network, size)
    for number in near:
        check_image_size(network, number)


def test_a_size_far_from_any_that_does_is_refused_with_advice() -> None:
    """224 px are more than 256 px away."""
    network = build_network(_model("unet", "tu-swin_tiny_patch4_window7_224"), classes=2)

    with pytest.raises(UserError, match=r"\. Try another size, model.encoder or model.architecture\.$"):
        check_image_size(network, 512)


class Short(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of 64 px, whatever the image."""
        return image[:, :1, :64, :64]


def test_logits_of_another_size_than_the_image_are_refused() -> None:
    """They would fail in the loss."""
    network = NormalizedNetwork(Short(), mean=(0, 0, 0), std=(1, 1, 1))

    check_image_size(network, 64)
    with pytest.raises(UserError, match=r"96 px \(its logits would be 64 x 64 px\)\. Set it to 64\.$"):
        check_image_size(network, 96)


class Full(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """What torch says when memory is full."""
        if image.is_meta:
            return image
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_no_size_is_proposed_where_memory_is_the_reason() -> None:
    """A few pixels fewer would hardly do."""
    network = NormalizedNetwork(Full(), mean=(0, 0, 0), std=(1, 1, 1))

    with pytest.raises(UserError, match=r"96 px \(CUDA out of memory.\)\. Try another size, model.encoder or"):
        check_image_size(network, 96)


def test_checking_a_size_changes_nothing() -> None:
    """Neither mode nor running statistics; nor does a refusal."""
    network = build_network(_model("segnet"), classes=2).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    check_image_size(network, 64)
    with pytest.raises(UserError):
        check_image_size(network, 65)

    assert network.training
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
