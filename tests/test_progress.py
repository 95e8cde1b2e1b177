"""A bar where somebody looks, silence where nobody does."""

import io
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from naevi.progress import progress


class Terminal(io.StringIO):
    """A stderr that somebody looks at."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_all_items_come_in_order_and_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress("abc", total=3, label="train", unit="epochs")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("total", "lines"),
    [
        (2, [f"train: {done} of 288 images, less than a minute left" for done in (144, 288)]),
        (None, ["train: 144 images", "train: 288 images"]),
    ],
)
def test_long_work_is_told_of_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, total: int | None, lines: list[str]
) -> None:
    monkeypatch.setattr("naevi.progress.QUIET_SECONDS", -1)
    assert list(progress("ab", total=total, label="train", unit="images", scale=144)) == ["a", "b"]

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == lines


def test_what_is_left_is_estimated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Items of 10, 20 and 30 images take a second for each image: after 30 of 240 images, 210 s are left."""
    clock = [0.0]
    monkeypatch.setattr("naevi.progress.QUIET_SECONDS", 25)
    monkeypatch.setattr("naevi.progress.time", SimpleNamespace(monotonic=lambda: clock[0]))
    for item in progress([10, 20, 30], total=240, label="train", unit="images", size=lambda item: item):
        clock[0] += item

    assert capsys.readouterr().err.splitlines() == [
        "train: 30 of 240 images, about 4 min left",
        "train: 60 of 240 images, about 3 min left",
    ]


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    assert list(progress("ab", total=2, label="train", unit="images", scale=144)) == ["a", "b"]
    assert "train: 100%" in terminal.getvalue()
    assert "288/288" in terminal.getvalue()
    assert " images/s" in terminal.getvalue()


def test_items_are_taken_as_they_are_needed() -> None:
    def endless() -> Iterator[int]:
        yield 1
        raise AssertionError("nobody asked for a second one")

    assert next(progress(endless(), total=None, label="", unit="")) == 1
