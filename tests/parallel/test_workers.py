"""Results come in order and don't depend on where they are computed. Lost processes are replaced."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from naevi.errors import UserError
from naevi.parallel.workers import LOST, parallel_map
from tests.helpers import wait_until
from tests.preprocessing.raw_data import LEFT, noise, prepare_all, settings_with, write_raw

NUMBER = 20


def place_and_item(item: int) -> tuple[int, int, int]:
    return os.getpid(), threading.get_ident(), item


@pytest.mark.parametrize("setting", ["", "1", "2"])
def test_results_come_in_order(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_WORKERS", setting)
    found = list(parallel_map(place_and_item, range(NUMBER), chunk=3))
    here = os.getpid() in {process for process, _, _ in found}, threading.get_ident() in {found[0][1]}

    assert [item for _, _, item in found] == list(range(NUMBER))
    assert here == {"": (True, False), "1": (True, True), "2": (False, False)}[setting]


def test_many_items_go_to_processes() -> None:
    few = list(parallel_map(place_and_item, range(3), processes_from=4))
    many = list(parallel_map(place_and_item, range(4), processes_from=4))

    assert {process for process, _, _ in few} == {os.getpid()}
    assert os.getpid() not in {process for process, _, _ in many}


def test_items_are_read_only_a_few_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naevi.parallel.workers.cores", lambda: 2)
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            read.append(item)
            yield item

    results = parallel_map(abs, items(), chunk=5)
    next(results)

    assert len(read) == 20  # two chunks for each of two threads


@pytest.mark.parametrize("setting", ["0", "1001", "many", "-2", "http://scheduler"])
def test_an_invalid_setting_is_a_user_error(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_WORKERS", setting)
    with pytest.raises(UserError) as error:
        list(parallel_map(abs, range(NUMBER)))

    assert str(error.value) == (
        f"NAEVI_WORKERS is '{setting}'. Set it to a number of processes, such as 4, or to the address of a Dask "
        "scheduler, such as tcp://scheduler:8786."
    )


def kill_once(folder: Path, item: int) -> int:
    """Kill the process at item 7, unless that was done before."""
    if item == 7 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def kill(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_what_a_lost_process_had_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_WORKERS", "2")

    assert list(parallel_map(partial(kill_once, tmp_path), range(NUMBER))) == [item * item for item in range(NUMBER)]
    assert (tmp_path / "killed").exists()


def test_a_process_that_is_lost_again_and_again_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_WORKERS", "2")
    with pytest.raises(UserError) as error:
        list(parallel_map(kill, range(NUMBER)))

    assert str(error.value) == LOST


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    """The processes write their ids and wait."""
    script = (
        "from functools import partial; from pathlib import Path; from naevi.parallel.workers import parallel_map;"
        f"from tests.parallel.test_workers import note_process as note; folder = Path({str(tmp_path)!r});"
        "list(parallel_map(partial(note, folder), range(1000)))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"NAEVI_WORKERS": "2"})
    wait_until(lambda: any(tmp_path.iterdir()))
    parent.kill()
    parent.wait()
    processes = [int(path.name) for path in tmp_path.iterdir()]

    wait_until(lambda: not any(is_running(process) for process in processes))


def note_process(folder: Path, item: int) -> int:
    (folder / str(os.getpid())).touch()
    time.sleep(0.01)
    return item


def is_running(process: int) -> bool:
    """Return whether a process exists. One that ended but has no parent to notice it isn't running."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_processes_prepare_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = write_raw(tmp_path, {f"{number:02}": (noise(), LEFT) for number in range(NUMBER)})
    settings = settings_with(near_duplicates="off")

    def result() -> tuple[dict[str, bytes], str, bytes]:
        prepared = prepare_all(workspace, settings)
        files = {path.name: path.read_bytes() for path in workspace.prepared.rglob("*.*")}
        return files, prepared.digest, prepared.reviewed.tobytes()

    threads = result()
    monkeypatch.setenv("NAEVI_WORKERS", "2")

    assert result() == threads
    assert len(threads[0]) == NUMBER + 1  # masks have the names of their images


def test_a_user_error_in_a_process_has_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAEVI_WORKERS", "2")
    pairs = {f"{number:02}": (noise(), LEFT) for number in range(NUMBER)} | {"07": (noise(), np.zeros_like(LEFT[:2]))}

    with pytest.raises(UserError) as error:
        prepare_all(write_raw(tmp_path, pairs), settings_with())

    assert str(error.value) == (
        "An image and its mask must have the same size. 07 is 8x4 px, its mask 8x2 px. Fix them or remove them."
    )
