"""Many items are distributed over processes, with the same results and messages."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from naevi.errors import UserError
from naevi.preprocessing.parallel import parallel_map
from tests.preprocessing.raw_data import LEFT, noise, prepare_all, settings_with, write_raw

NUMBER = 20  # more than a process gets at a time


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naevi.preprocessing.parallel.MANY", NUMBER - 1)


def process_and_item(item: int) -> tuple[int, int]:
    return os.getpid(), item


def kill(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_few_items_stay_in_this_process_and_many_do_not(many: None) -> None:
    few, others = list(parallel_map(process_and_item, range(3))), list(parallel_map(process_and_item, range(NUMBER)))

    assert few == [(os.getpid(), item) for item in range(3)]
    assert [item for _, item in others] == list(range(NUMBER))
    assert os.getpid() not in {process for process, _ in others}


def test_a_killed_process_is_a_user_error(many: None) -> None:
    with pytest.raises(UserError) as error:
        list(parallel_map(kill, range(NUMBER)))

    assert str(error.value) == (
        "A process that read images was killed, probably because the memory was full. Free memory and try again."
    )


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    """The processes write their ids and wait."""
    script = (
        "import os, time; from functools import partial; from pathlib import Path;"
        "from naevi.preprocessing import parallel; parallel.MANY = 0;"
        f"from tests.preprocessing.test_parallel import note_process as note; folder = Path({str(tmp_path)!r});"
        "list(parallel.parallel_map(partial(note, folder), range(1000)))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
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


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_processes_prepare_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = write_raw(tmp_path, {f"{number:02}": (noise(), LEFT) for number in range(NUMBER)})
    settings = settings_with(near_duplicates="off")

    def result() -> tuple[dict[str, bytes], str, bytes]:
        prepared = prepare_all(workspace, settings)
        files = {path.name: path.read_bytes() for path in workspace.prepared.rglob("*.*")}
        return files, prepared.digest, prepared.reviewed.tobytes()

    threads = result()
    monkeypatch.setattr("naevi.preprocessing.parallel.MANY", NUMBER - 1)

    assert result() == threads
    assert len(threads[0]) == NUMBER + 1  # masks have the names of their images


def test_a_user_error_in_a_process_has_its_message(tmp_path: Path, many: None) -> None:
    pairs = {f"{number:02}": (noise(), LEFT) for number in range(NUMBER)} | {"07": (noise(), np.zeros_like(LEFT[:2]))}

    with pytest.raises(UserError) as error:
        prepare_all(write_raw(tmp_path, pairs), settings_with())

    assert str(error.value) == (
        "An image and its mask must have the same size. 07 is 8x4 px, its mask 8x2 px. Fix them or remove them."
    )
