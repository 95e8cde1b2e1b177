"""What tests share: configs from the committed params.yaml, a folder to work in, a PH2 of two, twenty phantoms."""

import contextlib
import copy
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from naevi import lesions, paths, raw, splitting
from naevi.config import Config, parse_config, read_yaml
from naevi.images import Pixels, pixel_sha256
from tests import pipeline

ROOT = Path(__file__).parents[1]
Overrides = dict[str, Any]

# Beside another worker of xdist, two threads on one core would wait for each other; it holds for child processes too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whoever starts the tests in the background may let them ignore Ctrl-C, and child processes would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What tests/faults/test_fuzz.py tries: each time the same few, or with --hypothesis-profile=soak 104,000 new ones.
FUZZ: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("few", max_examples=20, derandomize=True, **FUZZ)
settings.register_profile("soak", max_examples=2000, print_blob=True, **FUZZ)

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
    """A data set of phantoms that is prepared and split; `root` has its data/raw and data/prepared."""

    root: Path
    config: Config
    lesions: pd.DataFrame
    split: pd.DataFrame


@pytest.fixture(scope="session")
def params_with() -> Callable[[Overrides], dict[str, Any]]:
    """The committed params.yaml as nested dicts, with other values by dotted key, such as {"train.lr": 1.0}."""
    committed = read_yaml(ROOT / "params.yaml")

    def changed(overrides: Overrides) -> dict[str, Any]:
        values: dict[str, Any] = copy.deepcopy(committed)
        for key, value in overrides.items():
            *sections, name = key.split(".")
            section = values
            for each in sections:
                section = section[each]
            section[name] = copy.deepcopy(value)
        return values

    return changed


@pytest.fixture(scope="session")
def config_with(params_with: Callable[[Overrides], dict[str, Any]]) -> Callable[[Overrides], Config]:
    """The same as a checked config, and tiny but for the overrides."""
    return lambda overrides: parse_config(params_with(TINY | overrides))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, and the current folder: the committed params.yaml, dvc.yaml and data/ph2.csv."""
    (tmp_path / "data").mkdir()
    for path in (paths.PARAMS, paths.PIPELINE, paths.MANIFEST):
        if (ROOT / path).exists():
            shutil.copy(ROOT / path, tmp_path / path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAEVI_SOURCE", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, config_with: Callable[[Overrides], Config]) -> Tiny:
    """Twenty phantoms of 64 x 96 px through raw, lesions and splitting; read only."""
    config, root = config_with({}), tmp_path_factory.mktemp("tiny")
    raw.fill(root / paths.RAW, partial(raw.phantom_images, settings=config.data.phantoms))
    table = lesions.prepare(root / paths.RAW, root / paths.PREPARED, config.data, config.preprocess)
    return Tiny(root, config, table, splitting.assign(table, config.split))


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """Put torch's thread count back, which naevi.runtime.resolve sets for the whole process."""
    import torch  # not above: it takes seconds, and most tests do without

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ph2_alike(folder: Path) -> dict[str, tuple[Pixels, Pixels]]:
    """Two random images and masks, 6 x 5 px, uint8 (H, W, 3) of 0..255 and of 0 and 255, which data/ph2.csv names."""
    rng = np.random.default_rng(0)
    made = {}
    for image_id in ("IMD001", "IMD002"):
        mask = rng.integers(0, 2, (5, 6, 1), dtype=np.uint8) * np.uint8(255)
        made[image_id] = (rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), np.repeat(mask, 3, axis=2))
    rows = [(name, "common", *map(pixel_sha256, pair)) for name, pair in made.items()]
    table = pd.DataFrame(rows, columns=["image_id", "diagnosis", "image_sha256", "mask_sha256"])
    table.to_csv(paths.MANIFEST, index=False)
    return made


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which the whole pipeline has run once, on twenty phantoms; tests leave it as they found it."""
    base = tmp_path_factory.getbasetemp()
    # xdist's workers share the run, which takes most of a minute, and have a copy each.
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    first, ready = common / "first" / "repository", common / "first" / "ready"
    with FileLock(common / "first.lock"):
        if not ready.exists():
            shutil.rmtree(first.parent, ignore_errors=True)  # where another worker failed
            first.parent.mkdir()
            with contextlib.chdir(ROOT):
                pipeline.make(first)
            pipeline.run(first, "dvc", "repro")
            ready.touch()
    return pipeline.copy(first, tmp_path_factory.mktemp("small") / "repository")
