"""Where a result comes from: parameters, versions and models."""

from typing import Any

from naevi.rendering.tables import Table
from naevi.reporting.formatting import format_parameters
from naevi.reporting.result import ReportData

TRAINING_SECTIONS = frozenset({"split", "cv"})  # an external validation trains nothing


def used_parameters(result: ReportData) -> dict[str, str]:
    """Return each parameter that decided the result, with the network that was trained."""
    config = result.config.model_copy(update={"model": result.network})
    return format_parameters(config, without=TRAINING_SECTIONS if result.curves is None else frozenset())


def merge_values(sections: list[dict[str, Any]]) -> dict[str, str]:
    """Return the values of all models by name; different values are separated by slashes."""
    return {name: " / ".join(dict.fromkeys(str(section[name]) for section in sections)) for name in sections[0]}


def model_table(models: list[dict[str, Any]]) -> Table:
    """Return the numbers of images and the hashes of each model."""
    rows = []
    for model in models:
        numbers = [str(model["data"].get(part, {"images": 0})["images"]) for part in ("train", "val")]
        rows.append([model["item"], *numbers, model["fingerprint"], model["sha256"]])
    head = ["model", "training images", "validation images", "fingerprint", "SHA-256 of model.safetensors"]
    return Table(head, rows)
