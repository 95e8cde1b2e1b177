"""Fixtures: configs from the committed params.yaml, an empty workspace, a PH2 of two images, a tiny data set."""

import copy
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from naevi.config import Config, parse_config
from naevi.datasets.raw import build_raw
from naevi.files import read_yaml
from naevi.images.files import Pixels, pixel_sha256
from naevi.preprocessing.checks import check_data
from naevi.preprocessing.prepare import prepare
from naevi.splitting import assign_parts
from naevi.workspace import Workspace
from tests import pipeline
from tests.helpers import HERE, ROOT

Overrides = dict[str, Any]

# With several xdist workers, two threads on one core would wait for each other. Child processes inherit this.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests started in the background may ignore Ctrl-C, and child processes would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Inputs of tests/faults/test_fuzz.py: always the same few, or 12,800 with --hypothesis-profile=soak.
FUZZ: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("few", max_examples=20, derandomize=True, **FUZZ)
settings.register_profile("soak", max_examples=200, print_blob=True, **FUZZ)

# Two folds of ten: 4 common, 4 atypical, 2 melanomas. One thread, so that equal runs give equal bytes.
TINY: Overrides = {
    "data.source": "phantoms",
    "data.phantoms": {"number": 20, "height": 64, "width": 96, "seed": 7},
    "preprocess.size": 32,
    "split": {"folds": 2, "validation": 0.5, "seed": 42},
    "model": {"architecture": "unet-plain", "encoder": "none", "weights": "none"},
    "train.epochs": 1,
    "train.batch_size": 4,
    "evaluate.resamples": 100,
    "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    "cv.models": [0, 1, "all"],
}


class Tiny(NamedTuple):
    """A synthetic data set, prepared and split; `workspace` has its data/raw and data/prepared."""

    workspace: Workspace
    config: Config
    image_table: pd.DataFrame
    split: pd.DataFrame
    statistics: dict[str, Any]  # the content of data.json


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that run the pipeline and those of faults as slow; `make check` leaves these out."""
    for item in items:
        if "small_repository" in getattr(item, "fixturenames", ()) or ROOT / "tests/faults" in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def params_with() -> Callable[[Overrides], dict[str, Any]]:
    """Return the committed params.yaml as nested dicts, with other values by dotted key, such as {"train.lr": 1.0}."""
    committed = read_yaml(ROOT / "params.yaml")

    def changed(overrides: Overrides) -> dict[str, Any]:
        values: dict[str, Any] = copy.deepcopy(committed)
        for key, value in overrides.items():
            *sections, name = key.split(".")
            section = values
            for part in sections:
                section = section[part]
            section[name] = copy.deepcopy(value)
        return values

    return changed


@pytest.fixture(scope="session")
def config_with(params_with: Callable[[Overrides], dict[str, Any]]) -> Callable[[Overrides], Config]:
    """Return the same as a checked config, with TINY below the overrides."""
    return lambda overrides: parse_config(params_with(TINY | overrides))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a workspace that is the current folder: the committed params.yaml, dvc.yaml and data/ph2.csv."""
    (tmp_path / "data").mkdir()
    for path in (HERE.params, HERE.pipeline, HERE.ph2_manifest):
        if (ROOT / path).exists():
            shutil.copy(ROOT / path, tmp_path / path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAEVI_SOURCE", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, config_with: Callable[[Overrides], Config]) -> Tiny:
    """Return twenty synthetic images of 64 x 96 px, prepared and split. Read only."""
    config, workspace = config_with({}), Workspace(tmp_path_factory.mktemp("tiny"))
    build_raw(workspace, config.data)
    prepared = prepare(workspace, config.data, config.preprocess)
    table, statistics = prepared.image_table, check_data(workspace, prepared, config.preprocess)
    return Tiny(workspace, config, table, assign_parts(table, config.split), statistics)


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """Restore torch's thread count, which resolve_compute_settings sets for the whole process."""
    import torch  # not above: it takes seconds, and most tests don't need it

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ph2_alike(folder: Path) -> dict[str, tuple[Pixels, Pixels]]:
    """Return two random images and masks, 6 x 5 px, uint8 (H, W, 3), masks of 0 and 255, listed in data/ph2.csv."""
    rng = np.random.default_rng(0)
    pairs = {}
    for image_id in ("IMD001", "IMD002"):
        mask = rng.integers(0, 2, (5, 6, 1), dtype=np.uint8) * np.uint8(255)
        pairs[image_id] = (rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), np.repeat(mask, 3, axis=2))
    rows = [(name, "common", *map(pixel_sha256, pair)) for name, pair in pairs.items()]
    table = pd.DataFrame(rows, columns=["image_id", "diagnosis", "image_sha256", "mask_sha256"])
    table.to_csv(HERE.ph2_manifest, index=False)
    return pairs


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository in which the pipeline has run once, on twenty synthetic images. Tests must not change it."""
    base = tmp_path_factory.getbasetemp()
    # The xdist workers share this run, which takes most of a minute, and each has a copy.
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    first, ready = common / "first" / "repository", common / "first" / "ready"
    with FileLock(common / "first.lock"):
        if not ready.exists():
            shutil.rmtree(first.parent, ignore_errors=True)  # if another worker failed
            first.parent.mkdir()
            pipeline.make(first)
            pipeline.run(first, "dvc", "repro")
            ready.touch()
    return pipeline.copy(first, tmp_path_factory.mktemp("small") / "repository")
