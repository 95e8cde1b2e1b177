"""Find images that are nearly the same, and group them."""

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from naevi.errors import UserError, first_ten
from naevi.preprocessing.thumbnails import Thumbnails, similarities, unit_vectors

Indices = NDArray[np.intp]

AXES, SAMPLE = 16, 500  # axes of the search, and the number of thumbnails that determine them
ROWS, COLUMNS = 128, 4096  # thumbnails compared at a time, so that the memory doesn't grow with their number
MAX_PAIRS = 20_000_000  # a table of 1 GB
COMPARED_MEMBERS = 1000  # of a group, with all members, to find its weakest pair
MANY = 0.1  # share of near-duplicates among the images from which there is a warning


def find_near_duplicates(
    image_ids: pd.Series, thumbnails: Thumbnails, threshold: float | Literal["off"]
) -> pd.DataFrame:
    """Return a row for each pair of near-duplicates, sorted: first, second (image ids), correlation (4 digits).

    The correlation (see `similarities`) of each pair is at least `threshold`, 0.5..1. With "off" there are no pairs.
    Images of one flat color are left out, because they don't correlate with anything.

    Raises UserError if there are more than 20 million pairs.
    """
    if threshold == "off":
        return pd.DataFrame(columns=["first", "second", "correlation"])
    found = [(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))]
    number = 0
    for rows, columns in _candidates(thumbnails, threshold):
        for first, second, correlation in _compare(thumbnails, rows, columns):
            i, j = np.nonzero(correlation >= threshold)
            found.append((first[i], second[j], correlation[i, j]))
            number += len(i)
        if number > MAX_PAIRS:
            raise UserError(
                f"More than {MAX_PAIRS} pairs of images are near-duplicates. Remove copies, raise "
                "preprocess.near_duplicates, or set it to off and put images that belong together into one group."
            )
    first, second, correlation = (np.concatenate(column) for column in zip(*found, strict=True))
    order, ids = np.lexsort((second, first)), image_ids.to_numpy(object)
    pairs = {"first": ids[first[order]], "second": ids[second[order]]}
    return pd.DataFrame(pairs | {"correlation": correlation[order]})


def _candidates(thumbnails: Thumbnails, threshold: float) -> Iterator[tuple[Indices, Indices]]:
    """Yield rows (up to ROWS) and columns. Their pairs include all pairs with a correlation of at least `threshold`.

    The distance of two unit vectors is sqrt(2 - 2 correlation). Projected to a few axes, it can only become smaller.
    So a search in a few dimensions finds all pairs without comparing every image with every other.
    """
    varied = np.flatnonzero([gray.min() < gray.max() for gray in thumbnails[:, 0]])
    if len(varied) < 2:
        return
    sample = unit_vectors(thumbnails[varied[:: -(-len(varied) // SAMPLE)]])
    axes = np.linalg.svd(sample - sample.mean(axis=0), full_matrices=False)[2][:AXES].T
    starts = range(0, len(varied), ROWS)
    points = np.concatenate([unit_vectors(thumbnails[varied[start : start + ROWS]]) @ axes for start in starts])
    tree = cKDTree(points)
    radius = np.sqrt(2 * (1 - threshold) + 2e-4)  # similarities are rounded to four digits
    for start in starts:
        block = tree.indices[start : start + ROWS]  # in the order of the tree, so that a block's images share neighbors
        neighbors = tree.query_ball_point(points[block], radius, return_sorted=False)
        first = np.repeat(block, [len(found) for found in neighbors])
        second = np.fromiter(itertools.chain.from_iterable(neighbors), np.intp, len(first))
        later = second > first
        yield varied[np.unique(first[later])], varied[np.unique(second[later])]


def _compare(
    thumbnails: Thumbnails, rows: Indices, columns: Indices
) -> Iterator[tuple[Indices, Indices, NDArray[np.float64]]]:
    """Yield rows, a part of the columns, and their correlations as a matrix, NaN where the column isn't larger."""
    for start in range(0, len(columns), COLUMNS):
        part = columns[start : start + COLUMNS]
        correlation = similarities(thumbnails[rows], thumbnails[part])
        yield rows, part, np.where(rows[:, None] < part, correlation, np.nan)


def group_images(image_table: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """Return the group of each image, named after the first image in it.

    Near-duplicates belong to the same group, and so do images with the same `group` in the table if it has one.
    """
    row = pd.Series(range(len(image_table)), index=image_table.image_id)
    links = [(row[pairs["first"]], row[pairs["second"]])]
    if "group" in image_table:
        links.append((row, row.groupby(image_table.group.to_numpy()).transform("min")))
    first, second = (np.concatenate(ends) for ends in zip(*links, strict=True))
    component = _components(len(image_table), first, second)
    leaders: list[str] = image_table.image_id.groupby(component).transform("first").tolist()
    return leaders


def _components(number: int, first: Indices, second: Indices) -> Indices:
    """Return the connected component of each of `number` images that pairs of indices link, as numbers from 0."""
    graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(number, number))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.intp)


def find_chains(image_ids: pd.Series, thumbnails: Thumbnails, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each group of near-duplicates in which not all pairs are near-duplicates, the largest first.

    images              number of images in the group
    first, second       ids of the two least similar images. In groups of more than 1000 images, only pairs with one of
                        the first 1000 are compared.
    correlation         of these two, see `similarities`
    members             the first ten image ids as text
    """
    row = pd.Series(range(len(image_ids)), index=image_ids.to_numpy())
    first, second = (np.asarray(row[pairs[end]], np.intp) for end in ("first", "second"))
    component = _components(len(row), first, second)
    size, links = np.bincount(component), np.bincount(component[first], minlength=component.max(initial=0) + 1)
    chains = np.flatnonzero(links[: len(size)] < size * (size - 1) // 2)
    members = {chain: np.flatnonzero(component == chain) for chain in chains}
    ids = image_ids.to_numpy(object)
    rows = []
    for chain in sorted(chains, key=lambda chain: (-size[chain], members[chain][0])):
        a, b, correlation = _weakest_pair(thumbnails, members[chain])
        rows.append((size[chain], ids[a], ids[b], correlation, first_ten(ids[members[chain]])))
    return pd.DataFrame(rows, columns=["images", "first", "second", "correlation", "members"])


def _weakest_pair(thumbnails: Thumbnails, members: Indices) -> tuple[int, int, float]:
    """Return the two members that correlate least, the first such pair, and their correlation."""
    weakest = (members[0], members[0], np.inf)
    for start in range(0, min(len(members), COMPARED_MEMBERS), ROWS):
        rows = members[start : min(start + ROWS, COMPARED_MEMBERS)]
        for first, second, correlation in _compare(thumbnails, rows, members[start + 1 :]):
            i, j = np.unravel_index(np.nanargmin(correlation), correlation.shape)
            if correlation[i, j] < weakest[2]:
                weakest = (first[i], second[j], correlation[i, j])
    return int(weakest[0]), int(weakest[1]), float(weakest[2])


def near_duplicate_warnings(image_table: pd.DataFrame, pairs: pd.DataFrame, chains: pd.DataFrame) -> list[str]:
    """Return a warning if more than a tenth of the images are near-duplicates, and one if there are chains.

    `chains` is the result of `find_chains`.
    """
    warnings = []
    images, alike = len(image_table), len({*pairs["first"], *pairs["second"]})
    if alike > MANY * images:
        warnings.append(
            f"near-duplicates: {alike} of {images} images look nearly the same as another image. "
            "Check data/checks/near_duplicates.csv. preprocess.near_duplicates sets the lowest "
            "correlation, and off turns the search off."
        )
    if len(chains):
        groups = first_ten(
            f"{chain.images} images ({chain.first} and {chain.second}: {chain.correlation})"
            for chain in chains.itertuples()
        )
        warnings.append(
            f"near-duplicates: {len(chains)} group(s) contain images that aren't alike but are linked by others. "
            f"Sizes and weakest pairs: {groups}. Check data/checks/near_duplicates.csv. "
            "A higher preprocess.near_duplicates separates them."
        )
    return warnings
