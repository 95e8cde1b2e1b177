"""Where a training that was killed goes on: its state behind an epoch, in a file of its own beside the pipeline."""

import hashlib
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from naevi import processes, whole
from naevi.refusal import reason

Row = dict[str, float]
SECONDS = 30.0  # between two files: one takes a tenth of a second, and short epochs shouldn't wait for the disk
DAYS = 7.0  # after which what was never gone on with is removed


class Stateful(Protocol):
    """Networks, optimizers, schedules."""

    def state_dict(self) -> dict[str, Any]:
        """All that it has learned."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take that over."""


class Checkpoint:
    """The file of one training. Its name holds the training's fingerprint, so no other parameters or code see it.

    Going on from it gives the bytes that an undisturbed training gives: order and variation of the images depend on
    seed and epoch alone, and the generators' states (of dropout) are kept. Several processes that fit one model keep
    nothing: each would have to find the same file. Two trainings with one fingerprint may share it: their states are
    the same.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the file if there is one; one that can't be read is told of and left aside. None keeps nothing."""
        self.path = path if processes.number() == 1 else None
        self.history: list[Row] = []
        self._state: dict[str, Any] = {}
        self._kept = time.monotonic()
        if self.path and self.path.exists():
            try:
                self._state = _read(self.path)
                self.history = self._state["history"]
                print(f"train: goes on behind epoch {len(self.history)}, where it was ended.", flush=True)
            except Exception as error:  # unreadable, spoilt, or of another torch: begin anew in any case
                self._state = {}
                print(f"train: begins anew, since {path} can't be read ({reason(error)[:100]}).", flush=True)

    def restore(self, parts: Mapping[str, Stateful]) -> list[Row]:
        """Bring the parts to where the file has them; return the history until there, empty without a file."""
        if self._state:
            for name, part in parts.items():
                part.load_state_dict(self._state[name])
            torch.set_rng_state(self._state["generator"])
            if self._state["cuda"] is not None:
                torch.cuda.set_rng_state(self._state["cuda"])
        return list(self.history)

    def keep(self, parts: Mapping[str, Stateful], history: list[Row]) -> None:
        """Write the parts and the history, unless that was done a moment ago."""
        if not self.path or time.monotonic() - self._kept < SECONDS:
            return
        state = {name: part.state_dict() for name, part in parts.items()} | {
            "history": history,
            "generator": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }
        content = io.BytesIO()
        torch.save(state, content)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole.file(self.path) as partial:
            partial.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
        self._kept = time.monotonic()

    def remove(self) -> None:
        """The training is done: remove the file, and those of others that nobody went on with."""
        if not self.path:
            return
        self.path.unlink(missing_ok=True)
        for other in self.path.parent.glob("*.pt*"):
            if time.time() - other.stat().st_mtime > DAYS * 86_400:
                other.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """The state of a checkpoint; before it lies its SHA-256, since torch doesn't notice changed bytes."""
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise ValueError("its bytes have changed")
    state: dict[str, Any] = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
    return state
