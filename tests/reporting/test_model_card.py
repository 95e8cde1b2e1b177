"""Model card and parameter table describe the network that was trained, not what params.yaml asked for."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from naevi.config import Config
from naevi.files import write_csv
from naevi.models.build import effective_model_config
from naevi.provenance import read_description
from naevi.reporting.model_card import OWN_ENCODER, model_card
from naevi.reporting.report import render_html, render_markdown
from naevi.reporting.result import ReportData
from naevi.training.run import train_model
from naevi.workspace import Workspace
from tests.helpers import ROOT
from tests.reporting.report_data import PLOTS, Tiny

ConfigWith = Callable[[dict[str, Any]], Config]
IMAGENET = {"model": {"architecture": "segnet", "encoder": "tu-tf_efficientnet_lite0", "weights": "imagenet"}}


@pytest.mark.usefixtures("torch_threads")
@pytest.mark.parametrize("architecture", ["segnet", "unet-plain"])
def test_a_trained_network_of_lesson_12_claims_no_encoder(
    architecture: str, result: ReportData, tiny: Tiny, tmp_path: Path, config_with: ConfigWith
) -> None:
    """params.yaml keeps an encoder with ImageNet weights beside such a network; training ignores both."""
    config = config_with({"model": IMAGENET["model"] | {"architecture": architecture}, "cv.models": [0]})
    workspace = Workspace(tmp_path)
    for path in (workspace.prepared, workspace.pipeline):
        path.parent.mkdir(exist_ok=True)
    workspace.prepared.symlink_to(tiny.workspace.prepared)
    for name in ("dvc.yaml", "naevi", "stages", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_csv(workspace.split, tiny.split)
    train_model(workspace, config, "0", lambda origin, live: nullcontext(MagicMock()))
    model = read_description(workspace.model("0"))
    assert model["model"] == {"architecture": architecture, "encoder": OWN_ENCODER, "weights": "none"}

    trained = replace(result, config=config, models=[model])

    html, markdown = render_html(trained, [], dict.fromkeys(PLOTS, "<svg></svg>")), render_markdown(trained)
    assert f"<dt>model.architecture</dt><dd>{architecture}</dd>" in html
    assert f"<dt>model.encoder</dt><dd>{OWN_ENCODER}</dd>" in html
    assert "<dt>model.weights</dt><dd>none</dd>" in html
    assert f"| `model.encoder` | `{OWN_ENCODER}` |" in markdown
    assert "| `model.weights` | `none` |" in markdown
    network = f"The network is {architecture} from lesson 12, trained from random weights."
    assert network in model_card(trained)["What it does"]
    for text in (html, markdown):
        assert network in text
        assert "efficientnet" not in text
        assert "imagenet" not in text


def test_the_sentinel_is_that_of_models(config_with: ConfigWith) -> None:
    assert effective_model_config(config_with(IMAGENET)).model.encoder == OWN_ENCODER


def test_an_encoder_without_pretrained_weights_says_so(result: ReportData) -> None:
    network = {"architecture": "unet", "encoder": "resnet18", "weights": "none"}
    random = replace(result, models=[result.models[0] | {"model": network}])

    assert "unet with the encoder resnet18 (random weights)." in model_card(random)["What it does"]


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (
            {"architecture": "unet", "encoder": "resnet18", "weights": "start.safetensors"},
            "unet with the encoder resnet18 (weights: start.safetensors, 312 of 314 tensors of the network).",
        ),
        (
            {"architecture": "segnet", "encoder": OWN_ENCODER, "weights": "start.safetensors"},
            "segnet from lesson 12, trained from weights start.safetensors, 312 of 314 tensors of the network.",
        ),
    ],
)
def test_a_network_that_started_from_a_file_says_how_much_of_it(
    result: ReportData, network: dict[str, str], text: str
) -> None:
    weights = {"loaded": 312, "tensors": 314, "part": "network"}
    started = replace(result, models=[result.models[0] | {"model": network, "start_weights": weights}])

    assert f"The network is {text}" in model_card(started)["What it does"]
