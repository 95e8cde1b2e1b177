"""A file of weights gives a network its tensors: all that match of a whole network, or those of its encoder."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from naevi.config import Config, ModelConfig
from naevi.errors import UserError
from naevi.models.build import NormalizedNetwork, create_network, effective_model_config
from naevi.models.pretrained import read_packaged_weights
from naevi.training.start_weights import describe_start_weights, load_start_weights

pytestmark = pytest.mark.slow

LITE0, RESNET = "tu-tf_efficientnet_lite0", "tu-test_resnet"
State = dict[str, torch.Tensor]


def _model(encoder: str, source: str, architecture: str = "unet") -> ModelConfig:
    return ModelConfig(architecture=architecture, encoder=encoder, weights=source)


def _network(model: ModelConfig, classes: int = 2, seed: int = 0) -> NormalizedNetwork:
    network = create_network(model, classes=classes, seed=seed)
    if model.weights not in ("imagenet", "none"):
        load_start_weights(network, model, "network", Path(model.weights))
    return network


def _encoder(model: ModelConfig, seed: int = 0) -> torch.nn.Module:
    return _network(model, seed=seed).get_submodule("body.encoder")


def _save(state: State, file: Path) -> None:
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, file)


def _equal(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def _load(
    tmp_path: Path, state: State, part: str = "network", architecture: str = "unet"
) -> tuple[State, State, dict[str, Any], str]:
    """The network's tensors before and after loading a file with `state`, its account, and what is printed."""
    file = tmp_path / "start.safetensors"
    _save(state, file)
    model = _model(RESNET, file.name, architecture)
    network = create_network(model, classes=2, seed=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    account = load_start_weights(network, model, part, file)
    return before, network.state_dict(), account, describe_start_weights(file.name, account)


def _state(classes: int = 2, architecture: str = "unet") -> State:
    return create_network(_model(RESNET, "none", architecture), classes=classes, seed=1).state_dict()


@pytest.mark.parametrize("architecture", ["unet", "fpn", "segnet", "unet-plain"])
@pytest.mark.parametrize("wrapper", ["body.", "", "model.", "module.model.", "net."])
def test_a_whole_network_is_loaded(tmp_path: Path, architecture: str, wrapper: str) -> None:
    """As this project, smp, Lightning and DataParallel name its tensors."""
    state = _state(architecture=architecture)
    renamed = {wrapper + key.removeprefix("body."): tensor for key, tensor in state.items()}

    _, loaded, account, said = _load(tmp_path, renamed, architecture=architecture)

    assert _equal(loaded, state)
    assert account == {
        "sha256": hashlib.sha256((tmp_path / "start.safetensors").read_bytes()).hexdigest(),
        "part": "network",
        "tensors": len(state),
        "loaded": len(state),
        "other_shapes": {"number": 0, "first": []},
        "missing": {"number": 0, "first": []},
        "unused": {"number": 0, "first": []},
    }
    assert said == f"start weights start.safetensors: {len(state)} of {len(state)} tensors of the network loaded."


@pytest.mark.parametrize(("architecture", "head"), [("unet", "segmentation_head.0"), ("segnet", "head")])
def test_a_head_for_other_classes_stays_random(tmp_path: Path, architecture: str, head: str) -> None:
    state = _state(classes=4, architecture=architecture)
    names = [f"body.{head}.bias", f"body.{head}.weight"]

    before, loaded, account, said = _load(tmp_path, state, architecture=architecture)

    assert _equal(loaded, state | {name: before[name] for name in names})
    assert (account["tensors"], account["loaded"]) == (len(state), len(state) - 2)
    assert account["other_shapes"] == {"number": 2, "first": names}
    assert account["unused"]["number"] == 0
    assert said.endswith("loaded; the head (2 tensors) has another number of classes and starts random.")


def test_tensors_of_a_decoder_that_do_not_match_stay_random(tmp_path: Path) -> None:
    """One is missing, one has another shape, and one more has a name that the network lacks."""
    state = _state()
    lost, changed = "body.decoder.blocks.0.conv1.0.weight", "body.decoder.blocks.1.conv1.0.weight"
    lost_tensor = state.pop(lost)
    state["body.decoder.other"] = lost_tensor
    expected = dict(state)
    state[changed] = state[changed][:1]

    before, loaded, account, said = _load(tmp_path, state)

    del expected["body.decoder.other"]
    assert _equal(loaded, expected | {lost: before[lost], changed: before[changed]})
    assert account["missing"] == {"number": 1, "first": [lost]}
    assert account["other_shapes"] == {"number": 1, "first": [changed]}
    assert account["unused"] == {"number": 1, "first": ["body.decoder.other"]}
    assert said == (
        f"start weights start.safetensors: {len(before) - 2} of {len(before)} tensors of the network loaded; 1 have "
        f"other shapes and start random, such as {changed}; 1 are not in the file and start random, such as {lost}; "
        "1 of the file are not used, such as body.decoder.other."
    )


def test_only_the_encoder_of_a_whole_network_can_be_loaded(tmp_path: Path) -> None:
    """As before train.start_from was added."""
    state = _state()
    encoder = {key for key in state if key.startswith("body.encoder.")}

    before, loaded, account, said = _load(tmp_path, state, part="encoder")

    assert _equal(loaded, {key: state[key] if key in encoder else before[key] for key in before})
    assert account["tensors"] == account["loaded"] == len(encoder)
    assert account["unused"]["number"] == len(state) - len(encoder)
    assert said.startswith(
        f"start weights start.safetensors: {len(encoder)} of {len(encoder)} tensors of the encoder loaded; "
        f"{len(state) - len(encoder)} of the file are not used, such as body.decoder."
    )


def test_the_names_are_a_few_in_alphabetical_order(tmp_path: Path) -> None:
    """model.json must not depend on the order in the file."""
    state = {key: tensor for key, tensor in _state().items() if key.startswith("body.encoder.")}
    more = {f"z{number}": torch.zeros(1) for number in (7, 3, 5, 1, 6, 2, 4)}

    _, _, account, _ = _load(tmp_path, more | state)

    assert account["unused"] == {"number": 7, "first": ["z1", "z2", "z3", "z4", "z5"]}
    assert account["missing"]["number"] == account["tensors"] - account["loaded"] > 20
    assert len(account["missing"]["first"]) == 5


def test_a_network_of_lesson_12_must_be_complete_except_for_its_head(tmp_path: Path) -> None:
    state = _state(classes=4, architecture="segnet")
    del state["body.up.0.0.weight"]

    with pytest.raises(UserError) as refusal:
        _load(tmp_path, state, architecture="segnet")
    assert str(refusal.value) == (
        "model.weights start.safetensors lacks 1 tensors of model.architecture segnet, or has them in other shapes. "
        "The first is body.up.0.0.weight. Use weights of this architecture or none."
    )


def test_a_network_of_lesson_12_starts_from_a_file_only_as_a_whole(
    config_with: Callable[[dict[str, Any]], Config],
) -> None:
    segnet = {"model.architecture": "segnet", "model.weights": "start.safetensors"}

    assert effective_model_config(config_with(segnet)).model.weights == "start.safetensors"
    with pytest.raises(UserError) as refusal:
        effective_model_config(config_with(segnet | {"train.start_from": "encoder"}))
    assert str(refusal.value) == (
        "The encoder of segnet is not a module of its own, so its weights can't be loaded alone. "
        "Set train.start_from to network, or model.weights to none."
    )


@pytest.mark.parametrize("layout", ["body.encoder.", "encoder.", ""])
@pytest.mark.parametrize("encoder", [LITE0, "resnet18", "mit_b0"])
def test_a_file_of_this_project_or_of_smps_gives_the_encoder_its_tensors(
    tmp_path: Path, encoder: str, layout: str
) -> None:
    """What a decoder has besides is left alone, and a seed decides no more."""
    file = tmp_path / "some.safetensors"
    expected = _encoder(_model(encoder, "none"), seed=1).state_dict()
    _save({layout + key: t for key, t in expected.items()} | {"body.decoder.bias": torch.zeros(1)}, file)

    assert _equal(_encoder(_model(encoder, str(file)), seed=2).state_dict(), expected)


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("unet", "tf_efficientnet_lite0"),
        ("unet", "test_resnet"),
        ("unet", "test_convnext"),  # features have stages_0 for its stages.0
        ("unet", "test_byobnet"),  # and some of its outermost layers joined, some not
        ("dpt", "test_vit"),  # a whole model in the encoder
        ("fpn", "swin_tiny_patch4_window7_224"),
    ],
)
def test_a_file_of_timms_gives_the_encoder_its_tensors(tmp_path: Path, architecture: str, name: str) -> None:
    """A second way to the same tensors: timm reads the file itself."""
    file = tmp_path / "model.safetensors"
    _save(timm.create_model(name).state_dict(), file)
    expected = smp.create_model(
        architecture, f"tu-{name}", encoder_weights=True, pretrained_cfg_overlay={"file": str(file)}
    ).encoder

    assert _equal(_encoder(_model(f"tu-{name}", str(file), architecture)).state_dict(), expected.state_dict())


def test_batch_counts_may_be_missing(tmp_path: Path) -> None:
    """Weights from TensorFlow have none; torch starts at 0."""
    file = tmp_path / "some.safetensors"
    state = read_packaged_weights(LITE0)
    _save({key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}, file)
    loaded = _encoder(_model(LITE0, str(file))).state_dict()
    expected = _encoder(_model(LITE0, "imagenet")).state_dict()

    floats = [key for key, tensor in expected.items() if tensor.is_floating_point()]
    assert all(torch.equal(loaded[key], expected[key]) for key in floats)
    assert loaded["model.bn1.num_batches_tracked"] == 0


def test_weights_leave_the_decoder_at_its_seed_and_the_generator_alone(tmp_path: Path) -> None:
    """Wherever they come from."""
    file = tmp_path / "some.safetensors"
    _save(read_packaged_weights(LITE0), file)
    random, imagenet, read = (
        _network(_model(LITE0, source), classes=3, seed=1).state_dict() for source in ("none", "imagenet", str(file))
    )

    assert _equal(imagenet, read)
    rest = [key for key in random if not key.startswith("body.encoder.")]
    assert all(torch.equal(random[key], read[key]) for key in rest)


def test_a_file_that_lacks_tensors_is_refused(tmp_path: Path) -> None:
    """With their number and the first of them; other shapes count as missing."""
    file = tmp_path / "some.safetensors"
    state = read_packaged_weights(LITE0)
    del state["bn1.weight"]
    state["conv_stem.weight"] = state["conv_stem.weight"][:, :1]
    _save(state, file)

    with pytest.raises(UserError) as refusal:
        _network(_model(LITE0, str(file)))
    assert str(refusal.value) == (
        f"model.weights {file} lacks 2 of the 288 tensors of model.encoder {LITE0}, or has them in other shapes. "
        "The first is body.encoder.model.conv_stem.weight (32, 3, 3, 3). Use weights of this encoder, imagenet or none."
    )


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (lambda _: None, "No such file or directory"),
        (Path.mkdir, "."),
        (lambda path: path.write_bytes(b""), "header"),
        (lambda path: torch.save({"weight": torch.zeros(1)}, path), "header"),  # a pickle stays closed
    ],
)
def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path, fill: Callable[[Path], None], reason: str) -> None:
    """With the reason."""
    file = tmp_path / "some.safetensors"
    fill(file)

    with pytest.raises(
        UserError,
        match=rf"model.weights {file} can't be read \(.*{reason}.*\)\. Use another .safetensors file in data/weights, ",
    ):
        _network(_model(LITE0, str(file)))
