"""Fingerprints of models: equal inputs give equal fingerprints."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from naevi.config import Config
from naevi.errors import UserError
from naevi.files import read_json, read_yaml
from naevi.workspace import Workspace

CODE_FOLDERS = ("naevi/", "stages/")  # whose packages count as code
PACKAGES = ["torch", "segmentation-models-pytorch", "timm", "numpy", "pillow"]


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def code_digest(workspace: Workspace, stage: str) -> str:
    """Return the digest of the code that dvc.yaml lists for a stage: its scripts, packages and lock files."""
    files = {workspace.relative(file): file for file in code_files(workspace, stage)}
    return digest({name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in sorted(files)})


def code_files(workspace: Workspace, stage: str) -> list[Path]:
    """Return the code files that a stage depends on; a package counts with all its files."""
    deps = read_yaml(workspace.pipeline)["stages"][stage]["deps"]
    files: list[Path] = []
    for dep in deps:
        path = workspace.root / dep
        if dep.startswith(CODE_FOLDERS) and path.is_dir():
            files += [file for file in sorted(path.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
        elif path.suffix in (".py", ".lock"):
            files.append(path)
    return files


def data_digest(image_table: pd.DataFrame, ids: list[str]) -> dict[str, Any]:
    """Return the digest and the number of the prepared images and masks with these ids."""
    rows = image_table.set_index("image_id").loc[ids]
    return {"images": len(ids), "digest": digest(dict(zip(ids, rows.sha256, strict=True)))}


def model_origin(
    workspace: Workspace,
    config: Config,
    name: str,
    compute: dict[str, Any],
    image_table: pd.DataFrame,
    parts: dict[str, list[str]],
    start: str,
    start_weights: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return everything that determines a model's bytes, with its fingerprint, as model.json records it.

    The config is that of `effective_model_config`. `parts` holds the image ids of train and val. `start` is the SHA-256
    of the network before training. It represents weights that come from elsewhere. `start_weights` is the account of
    `load_start_weights`, only for weights from a file.
    """
    origin = {
        "item": name,
        "model": config.model.model_dump(),
        "classes": config.data.classes,
        "size": config.preprocess.size,
        "train": config.train.model_dump(),
        "runtime": compute,
        "dataset": " and ".join(sorted(image_table.dataset.unique())),
        "data": {part: data_digest(image_table, ids) for part, ids in parts.items()},
        "code": code_digest(workspace, "train"),
        "versions": {name: version(name) for name in PACKAGES},
        "start": start,
    } | ({"start_weights": start_weights} if start_weights else {})
    return {"fingerprint": digest(origin)} | origin


def read_description(folder: Path) -> dict[str, Any]:
    """Return the content of model.json. Raises UserError if it is missing or doesn't match its fingerprint."""
    try:
        description: dict[str, Any] = read_json(folder / "model.json")
        origin = {key: value for key, value in description.items() if key not in ("fingerprint", "sha256")}
        if not {"fingerprint", "sha256"} <= set(description) or description["fingerprint"] != digest(origin):
            raise ValueError("it was changed after the training")
    except (OSError, ValueError, AttributeError, RecursionError) as error:  # not a dict, or a very deep one
        raise UserError(f"{folder} has no readable model.json ({error}). Train the model or run `dvc pull`.") from error
    return description
