"""Equal origins, equal fingerprints; whatever can change a model or a result changes its fingerprint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from naevi import provenance
from naevi.config import Config
from naevi.models.build import effective_model_config
from naevi.models.device import ComputeSettings
from naevi.provenance import digest, model_origin
from naevi.record import result_fingerprint
from tests.helpers import HERE

ConfigWith = Callable[[dict[str, Any]], Config]

PIPELINE = """
stages:
  train:
    cmd: python -m stages.train
    deps: [stages/train.py, naevi/training, requirements.lock, data/images]
  evaluate:
    cmd: python -m stages.evaluate
    deps: [naevi/training, naevi/other.py]
"""
CODE = ["stages/train.py", "naevi/training/loop.py", "naevi/training/templates/x.j2", "requirements.lock"]
IMAGE_TABLE = pd.DataFrame({"image_id": ["a", "b", "c"], "dataset": "phantoms", "sha256": ["1", "2", "3"]})
CPU = ComputeSettings("cpu", "fp32", 1)


@pytest.fixture
def small(folder: Path) -> Path:
    """A repository of two stages with a script, a package, a module and a lock file."""
    (folder / "dvc.yaml").write_text(PIPELINE)
    for name in (*CODE, "naevi/other.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n")
    return folder


def of_model(config: Config, **changes: Any) -> dict[str, Any]:
    """A model's origin with some of its inputs changed."""
    parts = {"train": ["a"], "val": ["b"]}
    inputs = {"name": "0", "compute": vars(CPU), "image_table": IMAGE_TABLE, "parts": parts, "start": "0"} | changes
    return model_origin(HERE, effective_model_config(config), **inputs)


def test_the_origin_names_all_data_sets(small: Path, config_with: ConfigWith) -> None:
    several = IMAGE_TABLE.assign(dataset=["PH2", "HAM", "PH2"])

    assert of_model(config_with({}), image_table=several)["dataset"] == "HAM and PH2"


def test_equal_origins_have_equal_fingerprints(small: Path, config_with: ConfigWith) -> None:
    origin = of_model(config_with({}))

    assert of_model(config_with({}), image_table=IMAGE_TABLE.copy()) == origin
    assert len(origin["fingerprint"]) == 64
    assert next(iter(origin)) == "fingerprint"
    assert origin["data"]["train"]["images"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "1"},
        {"compute": vars(ComputeSettings("cpu", "fp32", 2))},
        {"compute": vars(ComputeSettings("cpu", "bf16", 1))},
        {"parts": {"train": ["a", "c"], "val": ["b"]}},
        {"parts": {"train": ["b"], "val": ["a"]}},
        {"image_table": IMAGE_TABLE.assign(sha256=["1", "2 changed", "3"])},
        {"image_table": IMAGE_TABLE.assign(dataset="ph2")},
        {"start": "1"},
    ],
)
def test_another_name_compute_or_data_is_another_model(
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
        # These don't change the bytes of a model.
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
    changed = IMAGE_TABLE.assign(sha256=["1", "2", "3 changed"])

    assert of_model(config_with({}), image_table=changed) == of_model(config_with({}))


@pytest.mark.parametrize(
    ("file", "same"),
    [*((name, False) for name in CODE), ("naevi/other.py", True), ("naevi/training/__pycache__/loop.pyc", True)],
)
def test_every_file_of_the_code_that_dvc_yaml_lists_counts(
    small: Path, config_with: ConfigWith, file: str, same: bool
) -> None:
    origin = of_model(config_with({}))
    (small / file).parent.mkdir(exist_ok=True)
    (small / file).write_text("2\n")

    assert (of_model(config_with({}))["fingerprint"] == origin["fingerprint"]) == same


def test_a_new_file_in_a_package_counts(small: Path, config_with: ConfigWith) -> None:
    origin = of_model(config_with({}))
    (small / "naevi/training/new.py").write_text("")

    assert of_model(config_with({}))["fingerprint"] != origin["fingerprint"]


def test_no_checkpoint_is_resumed_after_an_edit_of_the_training_loop(small: Path, config_with: ConfigWith) -> None:
    path = HERE.checkpoint(of_model(config_with({}))["fingerprint"])
    path.parent.mkdir(parents=True)
    path.touch()
    (small / "naevi/training/loop.py").write_text("2\n")

    assert not HERE.checkpoint(of_model(config_with({}))["fingerprint"]).exists()


def test_another_version_of_a_package_is_another_model(
    small: Path, config_with: ConfigWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = of_model(config_with({}))
    monkeypatch.setattr(provenance, "version", lambda name: "0.0" if name == "timm" else origin["versions"][name])

    assert of_model(config_with({}))["fingerprint"] != origin["fingerprint"]


def test_a_result_is_its_params_its_models_and_its_scores(config_with: ConfigWith) -> None:
    config, models, scores = config_with({}), [{"sha256": "1"}, {"sha256": "2"}], {"dice": {"mean": 0.9}}
    first = result_fingerprint(config, models, scores)

    assert result_fingerprint(config_with({}), [dict(model) for model in models], dict(scores)) == first
    assert result_fingerprint(config_with({"evaluate.threshold": 0.4}), models, scores) != first
    assert result_fingerprint(config, models[:1], scores) != first
    assert result_fingerprint(config, [{"sha256": "1"}, {"sha256": "3"}], scores) != first
    assert result_fingerprint(config, models, {"dice": {"mean": 0.8}}) != first


def test_equal_images_in_another_folder_and_under_another_name_are_one_result(config_with: ConfigWith) -> None:
    own = {"data.source": "folder", "data.path": "data/mine"}
    first = result_fingerprint(config_with(own), [], {})

    assert result_fingerprint(config_with(own | {"data.path": "/elsewhere", "data.name": "clinic"}), [], {}) == first


def test_the_order_of_keys_is_no_difference() -> None:
    assert digest({"a": 1, "b": [1.5, "x"]}) == digest({"b": [1.5, "x"], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
