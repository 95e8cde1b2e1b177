"""Apply a function to many items at the same time."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process
from threading import Thread
from typing import TypeVar

from naevi.errors import UserError

MANY = 1000  # items; for more than that, processes are worth their start
CHUNK = 16  # items sent to a process at a time

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Return the number of processors that this process may use. More threads only wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield the result for each item, in order. `function` and the results must be picklable.

    Many items are distributed over processes, because threads wait for each other: for small images, most of the time
    is spent in Python. Raises UserError if a process is killed.
    """
    pool: Executor = (
        ThreadPoolExecutor(cores()) if len(items) <= MANY else ProcessPoolExecutor(cores(), initializer=_start_process)
    )
    try:
        yield from pool.map(function, items, chunksize=CHUNK)  # threads have no chunks
    except BrokenProcessPool as error:
        raise UserError(
            "A process that read images was killed, probably because the memory was full. Free memory and try again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_process() -> None:
    """Leave Ctrl-C to the parent, and end if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
