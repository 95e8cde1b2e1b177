"""Equal origins, equal fingerprints; whatever can change a model or a result changes its fingerprint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from naevi import networks, provenance
from naevi.config import Config
from naevi.runtime import Runtime

ConfigWith = Callable[[dict[str, Any]], Config]

PIPELINE = """
stages:
  train:
    cmd: python -m stages.train
    deps: [code.py, requirements.lock, data/images]
  evaluate:
    cmd: python -m stages.evaluate
    deps: [code.py, other.py]
"""
LESIONS = pd.DataFrame({"image_id": ["a", "b", "c"], "dataset": "phantoms", "sha256": ["1", "2", "3"]})
CPU = Runtime("cpu", "fp32", 1)


@pytest.fixture
def small(folder: Path) -> Path:
    """A repository of two stages and three files of code."""
    (folder / "dvc.yaml").write_text(PIPELINE)
    for name in ("code.py", "other.py", "requirements.lock"):
        (folder / name).write_text("1\n")
    return folder


def of_model(config: Config, **changes: Any) -> dict[str, Any]:
    """A model's origin, with some of what decides it changed."""
    parts = {"train": ["a"], "val": ["b"]}
    given = {"item": "0", "runtime": vars(CPU), "lesions": LESIONS, "parts": parts, "start": "0"} | changes
    return provenance.of_model(networks.effective(config), **given)


def test_equal_origins_have_equal_fingerprints(small: Path, config_with: ConfigWith) -> None:
    origin = of_model(config_with({}))

    assert of_model(config_with({}), lesions=LESIONS.copy()) == origin
    assert len(origin["fingerprint"]) == 64
    assert next(iter(origin)) == "fingerprint"
    assert origin["data"]["train"]["images"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"item": "1"},
        {"runtime": vars(Runtime("cpu", "fp32", 2))},
        {"runtime": vars(Runtime("cpu", "bf16", 1))},
        {"parts": {"train": ["a", "c"], "val": ["b"]}},
        {"parts": {"train": ["b"], "val": ["a"]}},
        {"lesions": LESIONS.assign(sha256=["1", "2 changed", "3"])},
        {"lesions": LESIONS.assign(dataset="ph2")},
        {"start": "1"},
    ],
)
def test_another_item_runtime_or_data_is_another_model(
    small: Path, config_with: ConfigWith, changes: dict[str, Any]
) -> None:
    config = config_with({})

    assert of_model(config, **changes)["fingerprint"] != of_model(config)["fingerprint"]


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        ({"train.lr": 0.5}, False),
        ({"train.augment.tint": 0.5}, False),
        ({"model.architecture": "segnet"}, False),
        ({"data.classes": {"skin": 0, "naevus": 255}}, False),
        ({"preprocess.size": 64}, False),
        ({"model.encoder": "resnet18", "model.weights": "imagenet"}, True),  # unet-plain has its own encoder
        # What the model's bytes don't depend on, but for the data that come of it.
        ({"evaluate.threshold": 0.4}, True),
        ({"cv.models": [0]}, True),
    ],
)
def test_other_params_are_another_model_where_they_count(
    small: Path, config_with: ConfigWith, overrides: dict[str, Any], same: bool
) -> None:
    changed, origin = of_model(config_with(overrides)), of_model(config_with({}))

    assert (changed["fingerprint"] == origin["fingerprint"]) == same


def test_an_image_that_a_model_does_not_see_does_not_count(small: Path, config_with: ConfigWith) -> None:
    changed = LESIONS.assign(sha256=["1", "2", "3 changed"])

    assert of_model(config_with({}), lesions=changed) == of_model(config_with({}))


@pytest.mark.parametrize(("file", "same"), [("code.py", False), ("requirements.lock", False), ("other.py", True)])
def test_code_counts_where_dvc_yaml_lists_it(small: Path, config_with: ConfigWith, file: str, same: bool) -> None:
    origin = of_model(config_with({}))
    (small / file).write_text("2\n")

    assert (of_model(config_with({}))["fingerprint"] == origin["fingerprint"]) == same


def test_another_version_of_a_package_is_another_model(
    small: Path, config_with: ConfigWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = of_model(config_with({}))
    monkeypatch.setattr(provenance, "version", lambda name: "0.0" if name == "timm" else origin["versions"][name])

    assert of_model(config_with({}))["fingerprint"] != origin["fingerprint"]


def test_a_result_is_its_params_its_models_and_its_figures(config_with: ConfigWith) -> None:
    config, models, figures = config_with({}), [{"sha256": "1"}, {"sha256": "2"}], {"dice": {"mean": 0.9}}
    first = provenance.of_result(config, models, figures)

    assert provenance.of_result(config_with({}), [dict(each) for each in models], dict(figures)) == first
    assert provenance.of_result(config_with({"evaluate.threshold": 0.4}), models, figures) != first
    assert provenance.of_result(config, models[:1], figures) != first
    assert provenance.of_result(config, [{"sha256": "1"}, {"sha256": "3"}], figures) != first
    assert provenance.of_result(config, models, {"dice": {"mean": 0.8}}) != first


def test_the_order_of_keys_is_no_difference() -> None:
    assert provenance.digest({"a": 1, "b": [1.5, "x"]}) == provenance.digest({"b": [1.5, "x"], "a": 1})
    assert provenance.digest({"a": 1}) != provenance.digest({"a": "1"})
