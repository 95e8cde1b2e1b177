"""Format numbers, intervals and parameters as text."""

import json
import math
from collections.abc import Sequence, Set
from typing import Any

from naevi.config import Config, flatten


def format_parameters(config: Config, without: Set[str] = frozenset()) -> dict[str, str]:
    """Return each parameter as params.yaml shows it, by its dotted name, except those of some sections."""
    return {name: format_parameter(value) for name, value in flatten(config.model_dump(exclude=set(without))).items()}


def format_parameter(value: Any) -> str:
    """Return a value as params.yaml shows it."""
    text = value if isinstance(value, str) else json.dumps(value).replace('"', "")
    return text.removesuffix(".0")


def format_number(value: float, digits: int = 3) -> str:
    """Return a number with this many decimals, or n/a for NaN."""
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def format_numbers(values: dict[str, float]) -> dict[str, str]:
    """Return each number with three decimals."""
    return {key: format_number(value) for key, value in values.items()}


def format_percent(fraction: float) -> str:
    """Return a fraction as whole percent."""
    return f"{fraction:.0%}".replace("%", " %")


def format_interval(values: dict[str, float], digits: int = 3) -> str:
    """Return the interval between `low` and `high`."""
    return f"{format_number(values['low'], digits)} to {format_number(values['high'], digits)}"


def format_published(value: float) -> str:
    """Return a published score with three or four decimals, as its source has it."""
    return f"{value:.4f}".removesuffix("0")


def format_range(span: dict[str, float]) -> str:
    """Return the range between `lowest` and `highest`, or the one value if they are equal."""
    low, high = span["lowest"], span["highest"]
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def join_words(words: Sequence[str]) -> str:
    """Return the words as an enumeration: "a", "a and b", "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
