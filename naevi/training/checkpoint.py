"""Checkpoints: the state of a training after an epoch, kept outside the pipeline's outputs."""

import hashlib
import io
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from naevi.errors import describe_error
from naevi.files import atomic_file
from naevi.models.distributed import world_size

logger = logging.getLogger(__name__)

HistoryRow = dict[str, float]
SAVE_INTERVAL_S = 30.0  # saving takes a tenth of a second, and short epochs shouldn't wait for the disk
MAX_AGE_DAYS = 7.0  # older checkpoints of other trainings are removed


class Stateful(Protocol):
    """Networks, optimizers, schedules."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Restore the state."""


class Checkpoint:
    """The checkpoint of one training. The file name is the training's fingerprint, so no other code or data finds it.

    A resumed training gives the same bytes as an uninterrupted one: the order and augmentation of the images depend on
    seed and epoch alone, and the state of the random generators (for dropout) is saved. Several processes that train
    one model save nothing, because each would have to find the same file. Two trainings with one fingerprint may share
    the file, because their states are equal.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the checkpoint if there is one. An unreadable one is ignored with a warning. None saves nothing."""
        self.path = path if world_size() == 1 else None
        self.history: list[HistoryRow] = []
        self._state: dict[str, Any] = {}
        self._saved_at = time.monotonic()
        if self.path and self.path.exists():
            try:
                self._state = _read_state(self.path)
                self.history = self._state["history"]
                logger.info("Resuming training after epoch %d.", len(self.history))
            except Exception as error:  # unreadable, damaged or from another version of torch
                self._state = {}
                why = describe_error(error)[:100]
                logger.warning("Training starts from the beginning because %s can't be read (%s).", path, why)

    def restore(self, parts: Mapping[str, Stateful]) -> list[HistoryRow]:
        """Restore the parts and return the history so far; without a checkpoint an empty one."""
        if self._state:
            for name, part in parts.items():
                part.load_state_dict(self._state[name])
            torch.set_rng_state(self._state["generator"])
            if self._state["cuda"] is not None:
                torch.cuda.set_rng_state(self._state["cuda"])
        return list(self.history)

    def save(self, parts: Mapping[str, Stateful], history: list[HistoryRow]) -> None:
        """Save the parts and the history, unless that was done in the last SAVE_INTERVAL_S seconds."""
        if not self.path or time.monotonic() - self._saved_at < SAVE_INTERVAL_S:
            return
        state = {name: part.state_dict() for name, part in parts.items()} | {
            "history": history,
            "generator": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }
        content = io.BytesIO()
        torch.save(state, content)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.path) as partial:
            partial.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Remove the checkpoint of a finished training, and old ones that were never resumed."""
        if not self.path:
            return
        self.path.unlink(missing_ok=True)
        for other in self.path.parent.glob("*.pt*"):
            if time.time() - other.stat().st_mtime > MAX_AGE_DAYS * 86_400:
                other.unlink(missing_ok=True)


def _read_state(path: Path) -> dict[str, Any]:
    # The file begins with the SHA-256 of the rest, because torch doesn't notice changed bytes.
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise ValueError("its bytes have changed")
    state: dict[str, Any] = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
    return state
