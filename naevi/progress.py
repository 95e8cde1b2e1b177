"""Show progress: a bar with an ETA on a terminal, a quiet line now and then elsewhere. Show warnings on stderr."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from naevi.errors import visible

QUIET_SECONDS = 30.0

T = TypeVar("T")


def progress(items: Iterable[T], *, total: int | None, label: str, unit: str, scale: int = 1) -> Iterator[T]:
    """Yield the items and show on stderr how many are done. Each item counts as `scale` units."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, unit=f" {unit}", unit_scale=scale)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last > QUIET_SECONDS:
            last = time.monotonic()
            number = f"{done * scale} of {total * scale}" if total else f"{done * scale}"
            print(f"{label}: {number} {unit}", file=sys.stderr, flush=True)


def setup_logging() -> None:
    """Print the log messages of this package on stderr, one line each."""
    logger = logging.getLogger("naevi")
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        handler = _StderrHandler()
        handler.setFormatter(_Visible("naevi: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


class _Visible(logging.Formatter):
    """Formats messages without characters that could control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not generic at run time
    """Writes to the current sys.stderr, also if that was replaced later."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
