"""A training that was ended goes on to the bytes that an undisturbed one comes to."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from naevi.config import Config
from naevi.models.build import create_network
from naevi.training import checkpoint, loop
from naevi.training.checkpoint import Checkpoint, HistoryRow
from tests.training.test_loop import CPU, phantoms

ConfigWith = Callable[[dict[str, Any]], Config]
pytestmark = [pytest.mark.usefixtures("torch_threads"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep each epoch, as if it took long."""
    torch.set_num_threads(1)
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", 0.0)


class Killed(Exception):
    """As SIGKILL would."""


def fit(config: Config, path: Path | None, *, killed_in: int | None = None) -> tuple[bytes, pd.DataFrame, list[int]]:
    """The weights' bytes, the history, and the epochs that were told of."""
    told: list[int] = []

    def tell(row: HistoryRow, _: Any) -> None:
        if row["epoch"] == killed_in:
            raise Killed
        told.append(int(row["epoch"]))

    network = create_network(config.model, classes=2, seed=config.train.seed)
    for layer in network.modules():  # drawn from torch's generator, so it must be kept too
        if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1):
            layer.register_forward_pre_hook(lambda _, given: (torch.dropout(given[0], 0.2, train=True),))
    found = Checkpoint(path)
    torch.manual_seed(5)
    history = loop.fit(network, phantoms(0, 6), phantoms(6, 2), config.train, CPU, found, tell)
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values()), history, told


@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
@pytest.mark.parametrize("average", [0, 0.9])
def test_killed_twice_the_bytes_are_the_same(
    config_with: ConfigWith, tmp_path: Path, schedule: str, average: float
) -> None:
    config = config_with({"train.epochs": 5, "train.schedule": schedule, "train.average": average})
    path = tmp_path / "checkpoints" / "one.pt"
    weights, history, _ = fit(config, None)

    for killed_in in (3, 5):
        with pytest.raises(Killed):
            fit(config, path, killed_in=killed_in)
    again, history_again, told = fit(config, path)

    assert again == weights
    pd.testing.assert_frame_equal(history_again, history)
    assert told == [5]  # epochs 1 to 4 are those of the file
    assert [file.name for file in path.parent.iterdir()] == ["one.pt"]


def test_killed_before_and_after_the_encoder_is_frozen_no_longer(config_with: ConfigWith, tmp_path: Path) -> None:
    """The phase follows from the epoch, and AdamW's state of the encoder begins with the third one."""
    model = {"architecture": "unet", "encoder": "tu-test_resnet", "weights": "none"}
    config = config_with({"model": model, "train.epochs": 4, "train.freeze_encoder": 2, "train.average": 0.9})
    weights, history, _ = fit(config, None)

    for killed_in in (2, 4):
        with pytest.raises(Killed):
            fit(config, tmp_path / "one.pt", killed_in=killed_in)
    again, history_again, _ = fit(config, tmp_path / "one.pt")

    assert again == weights
    pd.testing.assert_frame_equal(history_again, history)


def test_without_a_file_it_begins_at_the_first_epoch(config_with: ConfigWith, tmp_path: Path) -> None:
    config = config_with({"train.epochs": 2})

    assert fit(config, tmp_path / "none.pt")[2] == [1, 2]


def test_a_spoilt_file_is_told_of_and_left_aside(
    config_with: ConfigWith, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, path = config_with({"train.epochs": 2}), tmp_path / "one.pt"
    weights, _, _ = fit(config, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1

    for spoilt in (bytes(content), bytes(content[:1000]), b"no checkpoint"):
        path.write_bytes(spoilt)
        again, _, told = fit(config, path)

        assert again == weights
        assert told == [1, 2]
        warning = f"Training starts from the beginning because {path} can't be read (its bytes have changed)."
        assert [record.getMessage() for record in caplog.records] == [warning]
        caplog.clear()


def test_it_is_written_now_and_then_only(
    config_with: ConfigWith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", 30.0)

    fit(config_with({"train.epochs": 2}), tmp_path / "one.pt")

    assert not (tmp_path / "one.pt").exists()


def test_a_finished_training_removes_its_file_and_those_that_were_left(tmp_path: Path) -> None:
    own, left, other = (tmp_path / f"{name}.pt" for name in ("own", "left", "other"))
    for file in (own, left, other):
        file.write_bytes(b"")
    week = time.time() - 8 * 86_400
    os.utime(left, (week, week))

    own.unlink()
    found = Checkpoint(own)
    own.write_bytes(b"")
    found.remove()

    assert [file.name for file in tmp_path.iterdir()] == ["other.pt"]
