"""Parameters that were added after the first release, for params.yaml files and records that lack them."""

import copy
from typing import Any, NamedTuple

from naevi.errors import UserError

# The data.path of records that lack it, by data.source. Own images came from NAEVI_SOURCE or from data/external.
EARLIER_PATHS = {"ph2": "data/ph2.csv", "phantoms": "data/ph2.csv", "folder": "data/external"}


class Added(NamedTuple):
    """A parameter that was added later."""

    before: Any  # the value that reproduces the behavior before this parameter was added
    suggested: Any  # the value of the committed params.yaml


# By dotted key, in the order of params.yaml. data.path depends on data.source, see EARLIER_PATHS.
ADDED_PARAMETERS = {
    "data.datasets": Added("one", "one"),
    "data.name": Added("auto", "auto"),
    "data.classes_by_dataset": Added("none", "none"),
    "data.patterns.images": Added("auto", "auto"),
    "data.patterns.masks": Added("auto", "auto"),
    "data.columns.image": Added("image_id", "auto"),
    "data.columns.diagnosis": Added("auto", "auto"),
    "data.columns.group": Added("group", "auto"),
    "data.split_folders": Added("ignore", "use"),
    "data.group_folders": Added("ignore", "ignore"),
    "data.mismatches": Added("refuse", "refuse"),
    "data.extra_rows": Added("refuse", "ignore"),
    "data.repeated_rows": Added("refuse", "refuse"),
    "data.masks.values": Added("refuse", "refuse"),
    "data.masks.void": Added([], []),
    "data.masks.sizes": Added("refuse", "resize"),
    "data.masks.several": Added("refuse", "refuse"),
    "data.masks.missing": Added("mismatch", "mismatch"),
    "data.reading.orientation": Added("apply", "auto"),
    "data.reading.white": Added(65535, "auto"),
    "data.reading.image_alpha": Added("white", "white"),
    "data.reading.mask_alpha": Added("ignore", "auto"),
    "data.reading.pages": Added("first", "refuse"),
    "preprocess.near_duplicates": Added(0.985, 0.985),
    "train.start_from": Added("encoder", "network"),
    "train.freeze_encoder": Added(0, 0),
}


def missing_parameters(values: Any) -> dict[str, Added]:
    """Return the added parameters that parsed values of params.yaml lack, by dotted key."""
    missing = {}
    if not isinstance(values, dict) or not isinstance(values.get("data"), dict):
        return {}
    if "path" not in values["data"]:
        path = EARLIER_PATHS.get(values["data"].get("source"), EARLIER_PATHS["folder"])
        missing["data.path"] = Added(path, path)
    for key, added in ADDED_PARAMETERS.items():
        *sections, name = key.split(".")
        section: Any = values
        for part in sections:
            section = section.get(part, {}) if isinstance(section, dict) else None
        if isinstance(section, dict) and name not in section:
            missing[key] = added
    return missing


def complete_record(values: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of an old commit, result or model, completed by the values that reproduce its behavior."""
    completed = copy.deepcopy(values)
    for key, added in missing_parameters(values).items():
        _set(completed, key, added.before)
    return completed


def check_complete(values: Any, text: Any) -> None:
    """Raise UserError if the values of params.yaml lack added parameters. The message has the lines to paste.

    `text` converts nested values to YAML.
    """
    missing = missing_parameters(values)
    if not missing:
        return
    suggested: dict[str, Any] = {}
    for key, added in missing.items():
        _set(suggested, key, added.suggested)
    raise UserError(
        f"params.yaml lacks {len(missing)} parameter(s) of this version. Add these lines to its sections of the same "
        f"names:\n{text(suggested)}"
    )


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = value
