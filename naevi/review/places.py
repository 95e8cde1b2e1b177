"""The order of the page: its places, each with one image or with several that belong side by side."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

MAX_IMAGES = 500  # on the page
RANDOM_IMAGES = 100  # of these, if the data set has more: a random sample of the less suspicious images
MAX_BESIDE = 6  # images side by side
SEED = 0


def page_order(checks: pd.DataFrame, pairs: pd.DataFrame) -> list[list[int]]:
    """Return the places as lists of rows of `checks`. Places and the images in each are in order of suspicion.

    Near-duplicates share a place, and so do two images whose masks seem to be swapped. A larger group of
    near-duplicates takes several places.
    """
    ids = checks.image_id.tolist()
    row = {image_id: index for index, image_id in enumerate(ids)}
    links = [(row[first], row[second]) for first, second in zip(pairs["first"], pairs["second"], strict=True)]
    beside = checks.beside.tolist()
    links += [(index, row[name]) for index, name in enumerate(beside) if name and beside[row[name]] in ("", ids[index])]
    ends = np.array(links, dtype=np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(ids), len(ids)))
    _, group = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for index in sorted(range(len(ids)), key=lambda index: (-checks.suspicion[index], ids[index])):
        groups.setdefault(int(group[index]), []).append(index)
    return [
        members[start : start + MAX_BESIDE]
        for members in groups.values()  # in the order of their most suspicious image
        for start in range(0, len(members), MAX_BESIDE)
    ]


def sample_places(places: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the first places, and a random sample of the others in their order. Together they have up to MAX_IMAGES.

    If there are no more images than that, all are in the first places.
    """
    ends = np.cumsum([len(place) for place in places])
    if not len(ends) or ends[-1] <= MAX_IMAGES:
        return places, []
    number = int(np.searchsorted(ends, MAX_IMAGES - RANDOM_IMAGES, side="right"))
    others = places[number:]
    chosen = np.random.default_rng(SEED).permutation(len(others))
    room = np.cumsum([len(others[index]) for index in chosen]) <= MAX_IMAGES - (ends[number - 1] if number else 0)
    return places[:number], [others[index] for index in sorted(chosen[room])]
