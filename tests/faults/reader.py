"""What the fuzzing tests know about a reader."""

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st


class Reader(NamedTuple):
    """What reads an input, valid inputs, and inputs to try."""

    read: Callable[[Any], Any]
    valid: list[Any]
    inputs: st.SearchStrategy[Any]
