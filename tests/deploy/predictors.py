"""Predictors with random weights."""

from pathlib import Path
from typing import Any

import pandas as pd

from naevi.config import Config
from naevi.inference.predictor import write_predict_settings
from naevi.models.build import create_network
from naevi.models.storage import save_model
from naevi.provenance import PACKAGES, digest

TWO_CLASSES = {"skin": 0, "lesion": 255}


def write_predictor(folder: Path, config: Config, classes: dict[str, int] = TWO_CLASSES) -> Path:
    """Write a predictor for images of 32 px into a new folder, and return it. The network is not trained."""
    network = create_network(config.model, classes=len(classes), seed=0)
    origin: dict[str, Any] = {
        "item": "all",
        "model": config.model.model_dump(),
        "classes": classes,
        "size": 32,
        "train": config.train.model_dump(),
        "runtime": config.runtime.model_dump(),
        "dataset": "phantoms",
        "data": {"train": {"images": 20, "digest": "0" * 64}},
        "code": "0" * 64,
        "versions": dict.fromkeys(PACKAGES, "1"),
        "start": "0" * 64,
    }
    save_model(folder, network, {"fingerprint": digest(origin)} | origin, pd.DataFrame({"epoch": [1]}))
    write_predict_settings(folder, config.evaluate, config.runtime)
    return folder
