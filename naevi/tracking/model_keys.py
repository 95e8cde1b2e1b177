"""What identifies the model of a run, in the tags of its run and of the results that use it.

The tag `fingerprint` identifies a result. For a model, it is the fingerprint of the inputs. Another machine may compute
other weights from them, so a model is identified by the tag `sha256` of its weights too.
"""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mlflow.entities import Run

WEIGHTS_TAG = "sha256"


class ModelKey(NamedTuple):
    """What identifies a model. `sha256` is empty if it isn't known: runs of earlier versions don't have it."""

    fingerprint: str
    sha256: str

    def is_same(self, other: "ModelKey") -> bool:
        """Return whether this and another key can be those of one model."""
        same = self.sha256 == other.sha256 or not self.sha256 or not other.sha256
        return self.fingerprint == other.fingerprint and same


def model_key(run: "Run") -> ModelKey:
    """Return what identifies the model of a run; without a SHA-256 for a result."""
    return ModelKey(run.data.tags["fingerprint"], run.data.tags.get(WEIGHTS_TAG, ""))


def children_tags(models: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the tags that name the models of a result, from each model.json."""
    models = list(models)
    return {
        "children": " ".join(model["fingerprint"] for model in models),
        "children.sha256": " ".join(model["sha256"] for model in models),
    }


def children_keys(run: "Run") -> list[ModelKey]:
    """Return the keys of a result's models from its tags, without SHA-256 for results of earlier versions."""
    fingerprints, weights = (run.data.tags.get(tag, "").split() for tag in ("children", "children.sha256"))
    return [ModelKey(*pair) for pair in zip_longest(fingerprints, weights, fillvalue="")]
