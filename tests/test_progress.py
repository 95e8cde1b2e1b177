"""A bar where somebody looks, silence where nobody does."""

import io
import sys
from collections.abc import Iterator

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
    [(2, ["train: 144 of 288 images", "train: 288 of 288 images"]), (None, ["train: 144 images", "train: 288 images"])],
)
def test_long_work_is_told_of_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, total: int | None, lines: list[str]
) -> None:
    monkeypatch.setattr("naevi.progress.QUIET_SECONDS", -1)
    assert list(progress("ab", total=total, label="train", unit="images", scale=144)) == ["a", "b"]

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == lines


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
