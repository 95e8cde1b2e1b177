"""What models and results were made from, as fingerprints: equal origins, equal fingerprints."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from naevi import paths
from naevi.config import Config, read_yaml
from naevi.refusal import Refusal

PACKAGES = ["torch", "segmentation-models-pytorch", "timm", "numpy", "pillow"]


def digest(value: Any) -> str:
    """SHA-256 of a value's JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def code(stage: str) -> str:
    """Digest of the code that a stage depends on: the .py and .lock files that dvc.yaml lists for it."""
    deps = read_yaml(paths.PIPELINE)["stages"][stage]["deps"]
    files = sorted(dep for dep in deps if dep.endswith((".py", ".lock")))
    return digest({file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files})


def images(lesions: pd.DataFrame, ids: list[str]) -> dict[str, Any]:
    """Digest and number of the prepared images and masks with these ids."""
    rows = lesions.set_index("image_id").loc[ids]
    return {"images": len(ids), "digest": digest(dict(zip(ids, rows.sha256, strict=True)))}


def of_model(
    config: Config, item: str, runtime: dict[str, Any], lesions: pd.DataFrame, parts: dict[str, list[str]], start: str
) -> dict[str, Any]:
    """All that decides a model's bytes, and their fingerprint: what model.json says of its origin.

    The config is that of `networks.effective`. `start` is the SHA-256 of the network before training: it stands for
    weights that came from elsewhere.
    """
    origin = {
        "item": item,
        "model": config.model.model_dump(),
        "classes": config.data.classes,
        "size": config.preprocess.size,
        "train": config.train.model_dump(),
        "runtime": runtime,
        "dataset": str(lesions.dataset.iloc[0]),
        "data": {part: images(lesions, ids) for part, ids in parts.items()},
        "code": code("train"),
        "versions": {name: version(name) for name in PACKAGES},
        "start": start,
    }
    return {"fingerprint": digest(origin)} | origin


def of_result(config: Config, models: list[dict[str, Any]], figures: dict[str, Any]) -> str:
    """Fingerprint of a result: the whole params.yaml, every model.json (data and code included) and the figures."""
    return digest([config.model_dump(), models, figures])


def described(folder: Path) -> dict[str, Any]:
    """What model.json says; raises Refusal where there is none, or one that isn't what its fingerprint is of."""
    try:
        description: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        origin = {key: value for key, value in description.items() if key not in ("fingerprint", "sha256")}
        if not {"fingerprint", "sha256"} <= set(description) or description["fingerprint"] != digest(origin):
            raise ValueError("it was changed since the training")
    except (OSError, ValueError, AttributeError, RecursionError) as error:  # no dict, or a very deep one
        raise Refusal(f"{folder} holds no readable model.json ({error}); train the model, or `dvc pull` it.") from error
    return description
