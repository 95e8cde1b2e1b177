"""A model on disk is the model, byte for byte, and is refused when it isn't."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from naevi.config import Config
from naevi.errors import UserError
from naevi.models.build import NormalizedNetwork, create_network
from naevi.models.storage import load_model, save_model
from naevi.provenance import digest, read_description

HISTORY = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, 1 / 3]})


@pytest.fixture
def origin(config_with: Callable[[dict[str, Any]], Config]) -> dict[str, Any]:
    """What provenance says of a model, as far as it is needed to use it."""
    config = config_with({})
    known = {"item": "0", "model": config.model.model_dump(), "classes": config.data.classes, "size": 32}
    return {"fingerprint": digest(known)} | known


@pytest.fixture
def network(config_with: Callable[[dict[str, Any]], Config]) -> NormalizedNetwork:
    """A network whose running statistics are not the initial ones."""
    network = create_network(config_with({}).model, classes=2, seed=0)
    network(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    return network.eval()


def contents(folder: Path) -> dict[str, bytes]:
    """Names and bytes of a folder's files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_that_is_read_gives_the_logits_of_the_one_that_was_written(
    tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any]
) -> None:
    save_model(tmp_path / "0", network, origin, HISTORY)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    again = load_model(tmp_path / "0", device="cpu").network

    assert not again.training
    with torch.inference_mode():
        assert torch.equal(again(images), network(images))


def test_equal_models_are_equal_bytes(tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any]) -> None:
    """Also where the weights lie otherwise in memory."""
    save_model(tmp_path / "first", network, origin, HISTORY)
    save_model(tmp_path / "second", network.to(memory_format=torch.channels_last), dict(origin), HISTORY.copy())

    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_the_files_hold_what_was_given_and_no_pickle(
    tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any]
) -> None:
    """Safetensors: the length of a JSON header, the header, the numbers; and nothing of when or where."""
    save_model(tmp_path, network, origin, HISTORY)
    files = contents(tmp_path)
    weights = files["model.safetensors"]
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])

    assert sorted(files) == ["history.csv", "model.json", "model.safetensors"]
    assert set(header) == set(network.state_dict())
    assert json.loads(files["model.json"]) == origin | {"sha256": hashlib.sha256(weights).hexdigest()}
    assert read_description(tmp_path) == json.loads(files["model.json"])
    assert pd.read_csv(tmp_path / "history.csv").equals(HISTORY)  # to the last digit


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_changed_byte_is_refused(
    tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any], position: int
) -> None:
    save_model(tmp_path, network, origin, HISTORY)
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[position] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)

    message = (
        r"model.safetensors is missing or is not the file that model.json describes\. "
        r"Train the model again or run `dvc pull`\.$"
    )
    with pytest.raises(UserError, match=message):
        load_model(tmp_path, device="cpu")


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    message = rf"^{tmp_path}/3 has no readable model.json \(.*No such file.*\)\. Train the model or run `dvc pull`\.$"
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "3", device="cpu")


def test_a_model_json_that_is_cut_is_refused(
    tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any]
) -> None:
    save_model(tmp_path, network, origin, HISTORY)
    (tmp_path / "model.json").write_bytes((tmp_path / "model.json").read_bytes()[:40])

    with pytest.raises(UserError, match=r"has no readable model.json"):
        load_model(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"lesion": 255', '"lesion": 254', "it was changed after the training"),
        ('"sha256"', '"sha255"', "it was changed after the training"),
        ('"fingerprint"', '"fingerprind"', "it was changed after the training"),
        ("{", "[" * 100_000 + "{", "maximum recursion depth exceeded.*"),
    ],
)
def test_a_model_json_that_was_changed_is_refused(
    tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any], old: str, new: str, why: str
) -> None:
    save_model(tmp_path, network, origin, HISTORY)
    text = (tmp_path / "model.json").read_text(encoding="utf-8")
    (tmp_path / "model.json").write_text(text.replace(old, new, 1), encoding="utf-8")

    message = rf"^{tmp_path} has no readable model.json \({why}\)\. Train the model or run `dvc pull`\.$"
    with pytest.raises(UserError, match=message):
        load_model(tmp_path, device="cpu")


def test_a_model_json_that_is_another_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("[]", encoding="utf-8")

    with pytest.raises(UserError, match=r"has no readable model\.json"):
        load_model(tmp_path, device="cpu")


def test_missing_weights_are_refused(tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any]) -> None:
    """As after a `dvc pull` that was cut off."""
    save_model(tmp_path, network, origin, HISTORY)
    (tmp_path / "model.safetensors").unlink()

    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_model(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"size": 2**40}, "size: Input should be less than or equal to 2048; got 1099511627776"),
        ({"size": 0}, "size: Input should be greater than or equal to 32; got 0"),
        ({"size": "large"}, "size: Input should be a valid integer; got 'large'"),
        ({"classes": None}, "classes: Input should be a valid dictionary; got None"),
        ({"classes": {"skin": 0}}, "classes: Dictionary should have at least 2 items after validation, not 1; got"),
        ({"model": {"architecture": "unet"}}, "model.encoder: is missing"),
    ],
    ids=str,
)
def test_a_model_json_with_impossible_values_is_refused(
    tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    """Its fingerprint fits, as an attacker could make it."""
    inputs = {key: value for key, value in (origin | changes).items() if key not in ("fingerprint", "sha256")}
    save_model(tmp_path, network, {"fingerprint": digest(inputs)} | inputs, HISTORY)

    with pytest.raises(UserError) as error:
        load_model(tmp_path, device="cpu")
    assert str(error.value).startswith(f"{tmp_path}/model.json has ")
    assert problem in str(error.value)


def test_weights_larger_than_the_network_are_not_read(
    tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any]
) -> None:
    """The file is sparse: it takes no disk space."""
    save_model(tmp_path / "0", network, origin, HISTORY)
    with (tmp_path / "0/model.safetensors").open("r+b") as file:
        file.truncate(20 * 2**30)

    with pytest.raises(UserError, match=r"model\.safetensors is missing or is not the file that model\.json describes"):
        load_model(tmp_path / "0", device="cpu")


def test_weights_that_are_no_safetensors_are_refused(
    tmp_path: Path, network: NormalizedNetwork, origin: dict[str, Any]
) -> None:
    """The header claims 2^60 bytes. The SHA-256 fits."""
    save_model(tmp_path, network, origin, HISTORY)
    weights = (2**60).to_bytes(8, "little") + b"{}"
    (tmp_path / "model.safetensors").write_bytes(weights)
    description = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(description | {"sha256": hashlib.sha256(weights).hexdigest()}))

    with pytest.raises(UserError, match=r"model\.safetensors doesn't hold the weights of this network \(.*header"):
        load_model(tmp_path, device="cpu")
