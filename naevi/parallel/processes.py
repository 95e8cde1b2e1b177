"""Processors, and processes that don't outlive their parent."""

import os
import time
from threading import Thread

WATCH_SECONDS = 1.0


def cores() -> int:
    """Return the number of processors that this process may use. More threads only wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """End this process soon after its parent was killed. Otherwise it would compute on, and write without being asked.

    On Windows, a process keeps the number of its parent, so there it goes on.
    """
    Thread(target=_wait_for_end, args=(os.getppid(),), daemon=True).start()


def _wait_for_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)  # like a kill, which every stage survives: an exception would not reach the main thread
