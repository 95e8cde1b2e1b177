"""A Dask cluster on this machine computes what this process computes, also if a worker is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from naevi.errors import UserError
from naevi.parallel.workers import parallel_map
from tests import pipeline
from tests.faults.test_workers import make_large, write_again
from tests.helpers import ROOT

NUMBER = 40


def start(*command: str, folder: Path = ROOT, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *command],
        cwd=folder,
        env=pipeline.clean() | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Cluster:
    """A scheduler and its workers."""

    def __init__(self) -> None:
        """Start a scheduler."""
        self.address = f"tcp://127.0.0.1:{pipeline.free_port()}"
        self.processes = [start("scheduler", "--no-dashboard", "--host", self.address)]

    def add_worker(self, folder: Path = ROOT, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until the scheduler knows it."""
        from distributed import Client

        name = f"worker {len(self.processes)}"
        options = ("--name", name, "--nthreads", "1", "--no-dashboard", "--no-nanny")
        self.processes.append(start("worker", self.address, *options, folder=folder, **environment))
        end = time.monotonic() + 60
        with Client(self.address, timeout=60) as client:
            while name not in {worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}:
                assert time.monotonic() < end
                time.sleep(0.1)
        return self.processes[-1]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="install requirements-services.lock")
    cluster = Cluster()
    monkeypatch.setenv("NAEVI_WORKERS", cluster.address)
    try:
        yield cluster
    finally:
        for process in cluster.processes:
            process.kill()
            process.wait()


def place_and_item(folder: Path, item: int) -> tuple[int, str, int]:
    """Note that an item is begun, and return the process, its folder and the item."""
    (folder / f"{item}-{os.getpid()}").touch()
    time.sleep(0.05)
    return os.getpid(), os.getcwd(), item


def test_both_workers_compute_in_this_folder_and_results_come_in_order(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = {cluster.add_worker().pid, cluster.add_worker().pid}
    monkeypatch.chdir(tmp_path)

    found = list(parallel_map(partial(place_and_item, tmp_path), range(NUMBER)))

    assert [item for _, _, item in found] == list(range(NUMBER))
    assert {process for process, _, _ in found} == workers
    assert {folder for _, folder, _ in found} == {str(tmp_path)}


def test_what_a_killed_worker_had_is_done_again(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker()
    killed = cluster.add_worker()
    results = parallel_map(partial(place_and_item, tmp_path), range(NUMBER))
    found = [next(results)]
    os.kill(killed.pid, signal.SIGKILL)
    found += list(results)

    assert [item for _, _, item in found] == list(range(NUMBER))


def test_a_killed_worker_changes_no_byte_of_the_pipeline(cluster: Cluster, tmp_path: Path) -> None:
    """2,000 images. Every five seconds, one of two workers is killed and another one is started."""
    folder = tmp_path / "repository"
    make_large(folder, 2000)
    threads = write_again(folder, "")
    cluster.add_worker(folder)
    stop = Event()

    def kill_now_and_then() -> None:
        while not stop.is_set():
            worker = cluster.add_worker(folder)
            stop.wait(5)
            worker.kill()

    with ThreadPoolExecutor() as pool:
        killing = pool.submit(kill_now_and_then)
        try:
            on_cluster = write_again(folder, cluster.address)
        finally:
            stop.set()
        killing.result()

    assert on_cluster == threads


def test_problems_of_a_cluster_are_user_errors(cluster: Cluster, tmp_path: Path) -> None:
    def message() -> str:
        with pytest.raises(UserError) as error:
            list(parallel_map(abs, range(NUMBER)))
        return str(error.value)

    none = message()
    other = tmp_path / "other"
    pipeline.make(other)
    (other / "naevi" / "metrics.py").write_text("# other code\n", encoding="utf-8")
    cluster.add_worker(other, PYTHONPATH=os.pathsep.join([str(other), os.environ.get("PYTHONPATH", "")]))
    other_code = message()

    assert none == (
        f"The Dask scheduler {cluster.address} has no workers. Start some: `dask worker {cluster.address}`."
    )
    assert "has other code or other versions. Start the workers in" in other_code


def test_a_scheduler_that_cannot_be_reached_is_a_user_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("distributed", reason="install requirements-services.lock")
    monkeypatch.setattr("naevi.parallel.dask_cluster.TIMEOUT_S", 1)
    address = f"tcp://127.0.0.1:{pipeline.free_port()}"
    monkeypatch.setenv("NAEVI_WORKERS", address)
    with pytest.raises(UserError) as error:
        list(parallel_map(abs, range(NUMBER)))

    assert str(error.value).startswith(f"The Dask scheduler {address} can't be reached (")
