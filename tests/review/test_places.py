"""The order of the page and its sample."""

import pandas as pd

from naevi.review.places import MAX_IMAGES, page_order, sample_places
from tests.review.data import NO_PAIRS


def checks_of(suspicion: dict[str, float], beside: dict[str, str] | None = None) -> pd.DataFrame:
    ids = list(suspicion)
    return pd.DataFrame(
        {"image_id": ids, "suspicion": suspicion.values(), "beside": [(beside or {}).get(name, "") for name in ids]}
    )


def test_the_most_suspicious_image_comes_first() -> None:
    assert page_order(checks_of({"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.5}), NO_PAIRS) == [[1], [2], [3], [0]]


def test_near_duplicates_share_a_place() -> None:
    pairs = pd.DataFrame([("a", "d", 0.99)], columns=NO_PAIRS.columns)

    assert page_order(checks_of({"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.95}), pairs) == [[3, 0], [1], [2]]


def test_swapped_masks_share_a_place_if_neither_names_a_third_image() -> None:
    checks = checks_of({"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.4}, {"a": "b", "c": "d", "d": "a"})

    assert page_order(checks, NO_PAIRS) == [[0, 1], [2], [3]]


def test_a_large_group_takes_several_places() -> None:
    pairs = pd.DataFrame([(f"{i:02}", f"{i + 1:02}", 0.99) for i in range(13)], columns=NO_PAIRS.columns)
    order = page_order(checks_of({f"{i:02}": 0.5 for i in range(14)}), pairs)

    assert [len(place) for place in order] == [6, 6, 2]


def test_up_to_the_limit_all_images_are_shown() -> None:
    places = [[row] for row in range(MAX_IMAGES)]

    assert sample_places(places) == (places, [])
    assert sample_places([]) == ([], [])


def test_above_the_limit_the_first_places_and_a_sample_of_the_others_are_shown() -> None:
    places = [[row] for row in range(2000)]
    first, others = sample_places(places)

    assert first == places[:400]
    assert len(others) == 100
    assert others == sorted(others)
    assert min(others) >= [400]
    assert max(others) > [1500]
    assert sample_places(places) == (first, others)
