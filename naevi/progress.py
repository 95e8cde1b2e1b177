"""Show progress: a bar with an ETA on a terminal, a quiet line now and then elsewhere. Show warnings on stderr."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from naevi.errors import visible

QUIET_SECONDS = 30.0

T = TypeVar("T")


def progress(
    items: Iterable[T],
    *,
    total: int | None,
    label: str,
    unit: str,
    scale: int = 1,
    size: Callable[[T], int] | None = None,
) -> Iterator[T]:
    """Yield the items and show on stderr how much is done, and how long the rest takes if `total` is known.

    Each item counts as `scale` units, or as many as `size` returns for it. Then `total` is in units.
    """
    total = total and total * scale
    if sys.stderr.isatty():
        with tqdm(total=total, desc=label, unit=f" {unit}") as bar:
            for item in items:
                yield item
                bar.update(size(item) if size else scale)
        return
    done, start = 0, time.monotonic()
    last = start
    for item in items:
        yield item
        done += size(item) if size else scale
        now = time.monotonic()
        if now - last > QUIET_SECONDS:
            last = now
            left = f" of {total} {unit}, {_minutes((now - start) / done * (total - done))}" if total else f" {unit}"
            print(f"{label}: {done}{left}", file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min left" if seconds > 60 else "less than a minute left"


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
