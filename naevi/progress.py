"""A bar with an estimate of the time left on a terminal; elsewhere one quiet line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

QUIET_SECONDS = 30.0

T = TypeVar("T")


def progress(items: Iterable[T], *, total: int | None, label: str, unit: str, scale: int = 1) -> Iterator[T]:
    """The items, while stderr shows how many are done, counted in units of which an item holds `scale`."""
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
