"""A Dask cluster as an executor. Its workers must have the same code and versions, and see the same files."""

import hashlib
import os
import platform
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from naevi.errors import UserError, describe_error, shorten

SCHEMES = ("tcp://", "tls://", "ucx://", "ws://", "wss://")  # the beginnings of addresses of schedulers
TIMEOUT_S = 30
PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("numpy", "pandas", "pillow", "scipy", "torch")  # whose versions can change a byte

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def open_cluster(address: str) -> Iterator[tuple[Callable[[], Executor], int]]:
    """Yield a function that opens an executor of the cluster, and the number of its threads.

    Raises UserError if Dask isn't installed, the scheduler can't be reached or has no workers, a worker has other code
    or versions, doesn't see this folder, or was lost several times with the same items.
    """
    try:
        from distributed import Client, KilledWorker
        from distributed.comm.core import CommClosedError
    except ModuleNotFoundError as error:
        raise UserError(
            f"{shorten(address)} is a Dask scheduler, but Dask isn't installed. Install it with `python -m pip install "
            "--no-deps --require-hashes --requirement requirements-services.lock`."
        ) from error
    unreachable = f"The Dask scheduler {shorten(address)} can't be reached ({{}}). Check that it runs."
    try:
        client = Client(address, timeout=TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(unreachable.format(shorten(describe_error(error)))) from error
    with client:
        number = sum(client.nthreads().values())
        if not number:
            raise UserError(f"The Dask scheduler {address} has no workers. Start some: `dask worker {address}`.")
        try:
            yield partial(_ClusterExecutor, client), number
        except (CancelledError, CommClosedError) as error:
            raise UserError(unreachable.format("it was lost")) from error
        except KilledWorker as error:
            raise UserError(
                "Dask's workers were lost several times with the same images, probably because their memory was full. "
                "Start workers with more memory and try again."
            ) from error


class _ClusterExecutor(Executor):
    """Submits functions that run in this folder on the workers."""

    def __init__(self, client: Any) -> None:
        """Open Dask's own executor."""
        self._executor = client.get_executor()
        self._origin = os.getcwd(), code_digest()

    def submit(self, function: Callable[..., R], /, *arguments: Any, **named: Any) -> Any:
        """Submit a function."""
        return self._executor.submit(partial(_run_here, *self._origin, function), *arguments, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut Dask's executor down. It cancels what isn't done."""
        self._executor.shutdown(wait=wait)


def _run_here(folder: str, digest: str, function: Callable[..., R], *arguments: Any) -> R:
    """Run a function in a folder, on a worker with the same code."""
    advice = f"Start the workers in {folder}, with the environment of the repository."
    if code_digest() != digest:
        raise UserError(f"The Dask worker on {socket.gethostname()} has other code or other versions. {advice}")
    if not Path(folder).is_dir():
        raise UserError(f"The Dask worker on {socket.gethostname()} doesn't see the folder {folder}. {advice}")
    os.chdir(folder)
    return function(*arguments)


@cache
def code_digest() -> str:
    """Return the MD5 of this package's code and of the versions that can change a byte."""
    digest = hashlib.md5(platform.python_version().encode())
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
