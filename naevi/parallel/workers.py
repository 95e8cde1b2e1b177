"""Apply a function to many items on threads, processes or a Dask cluster. The results never depend on which.

By default there is a thread or a process for each processor. The environment variable NAEVI_WORKERS sets the number of
processes, such as 4, or names a Dask scheduler, such as tcp://scheduler:8786. Dask's workers need the same code and
versions, and see the same files: start them in the repository.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TypeVar

from threadpoolctl import threadpool_limits

from naevi.errors import UserError, shorten
from naevi.parallel.dask_cluster import SCHEMES, open_cluster
from naevi.parallel.processes import cores, end_with_parent

VARIABLE = "NAEVI_WORKERS"
MAX_WORKERS = 1000
AHEAD = 2  # chunks for each worker that are read before their results are needed; more would only fill the memory
ATTEMPTS = 3  # at a chunk whose process was killed
LOST = "A worker process was killed several times, probably because the memory was full. Free memory and try again."

T = TypeVar("T")
R = TypeVar("R")


def parallel_map(
    function: Callable[[T], R], items: Iterable[T], *, chunk: int = 1, processes_from: int | None = None
) -> Iterator[R]:
    """Yield the result for each item, in order. Items are read a few ahead, so there may be very many.

    `function`, items and results must be picklable. `chunk` is the number of items that a process gets at a time. By
    default there are threads, or processes from `processes_from` items on, if their number is known: threads wait for
    each other where most of the time is spent in Python.

    An exception of `function` is raised here. Raises UserError for an invalid NAEVI_WORKERS, if the cluster can't be
    used, and if a worker was killed ATTEMPTS times at the same items. Otherwise others do them again.
    """
    setting = os.environ.get(VARIABLE, "")
    if setting == "1":
        yield from map(function, items)
        return
    many = processes_from is not None and isinstance(items, Sized) and len(items) >= processes_from
    with _open_pool(setting, processes=many) as (new_executor, number):
        iterator = iter(items)
        chunks = iter(lambda: list(islice(iterator, chunk)), [])
        yield from _in_order(new_executor, partial(_run, function), chunks, ahead=AHEAD * number)


def _in_order(
    new_executor: Callable[[], Executor], run: Callable[[list[T]], list[R]], chunks: Iterator[list[T]], ahead: int
) -> Iterator[R]:
    """Yield the results of all chunks. After a lost process, a new pool gets all that isn't done."""
    executor, losses = new_executor(), 0
    waiting, futures = deque[list[T]](), deque[Future[list[R]]]()  # the futures of the first chunks
    try:
        while True:
            waiting.extend(islice(chunks, ahead - len(waiting)))
            if not waiting:
                return
            try:
                for items in islice(waiting, len(futures), None):
                    futures.append(executor.submit(run, items))
                results = futures[0].result()
            except BrokenExecutor as error:
                losses += 1
                if losses == ATTEMPTS:
                    raise UserError(LOST) from error
                executor.shutdown()
                futures.clear()
                executor = new_executor()
                continue
            losses = 0
            waiting.popleft()
            futures.popleft()
            yield from results
    finally:
        executor.shutdown(cancel_futures=True)


def _run(function: Callable[[T], R], items: list[T]) -> list[R]:
    return [function(item) for item in items]


@contextmanager
def _open_pool(setting: str, *, processes: bool) -> Iterator[tuple[Callable[[], Executor], int]]:
    """Yield a function that opens an executor, and the number of its workers."""
    if setting.startswith(SCHEMES):
        with open_cluster(setting) as cluster:
            yield cluster
        return
    if setting and not (setting.isdecimal() and 1 <= int(setting) <= MAX_WORKERS):
        raise UserError(
            f"{VARIABLE} is {shorten(repr(setting))}. Set it to a number of processes, such as 4, or to the address of "
            "a Dask scheduler, such as tcp://scheduler:8786."
        )
    number = int(setting or cores())
    if setting or processes:
        # Not forked, because a copy of a process with threads, such as torch's, can hang.
        context = multiprocessing.get_context("spawn")
        yield partial(ProcessPoolExecutor, number, context, _start_process), number
    else:
        yield partial(ThreadPoolExecutor, number), number


def _start_process() -> None:
    """Leave Ctrl-C to the parent, end with it, and compute with one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    threadpool_limits(1)
