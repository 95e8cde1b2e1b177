"""Many items are distributed over processes, with the same results and messages."""

import os
import signal
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
