"""Nested values of any type, and valid values that are changed at some places."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

JSON_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from([2**40, -1])
)
YAML_LEAVES = JSON_LEAVES | st.dates() | st.binary(max_size=3)
JSON_TREES = st.recursive(
    JSON_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
YAML_TREES = st.recursive(
    YAML_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(YAML_LEAVES | st.just("seed"), inner, max_size=3),
    max_leaves=8,
)


def changed_values(valid: dict[str, Any], trees: st.SearchStrategy[Any] = JSON_TREES) -> st.SearchStrategy[Any]:
    """Return copies of nested values with other values at one to five places, or without the key there."""
    places = [(*above, key) for above, value in _walked(valid) if isinstance(value, dict) for key in value]
    change = st.tuples(st.sampled_from(places), trees | st.just(REMOVED))

    def changed(changes: list[tuple[tuple[str, ...], Any]]) -> Any:
        values = copy.deepcopy(valid)
        for (*sections, key), value in changes:
            place: Any = values
            for each in sections:
                place = place.get(each) if isinstance(place, dict) else None
            if isinstance(place, dict) and value is REMOVED:
                place.pop(key, None)
            elif isinstance(place, dict):
                place[key] = value
        return values

    return st.lists(change, min_size=1, max_size=5).map(changed)


REMOVED = object()


def _walked(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield above, values
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _walked(value, (*above, key))
