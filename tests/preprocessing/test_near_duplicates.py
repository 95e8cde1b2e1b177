"""Images that are nearly the same are found by their thumbnails, and they form groups."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from naevi.datasets.synthetic import synthetic_image
from naevi.errors import UserError
from naevi.images.files import Pixels, resize_image
from naevi.preprocessing import near_duplicates
from naevi.preprocessing.near_duplicates import (
    find_chains,
    find_near_duplicates,
    group_images,
    near_duplicate_warnings,
)
from naevi.preprocessing.thumbnails import similarities, thumbnail, unit_vectors

SIZE = 96
Change = Callable[[Pixels], Pixels]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Return 200 different synthetic images, uint8 (200, 96, 96, 3)."""
    return np.stack([synthetic_image(index, height=SIZE, width=SIZE, seed=0).image for index in range(200)])


def thumbnails_of(images: list[Pixels] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([thumbnail(image) for image in images])


def image_ids(number: int) -> pd.Series:
    return pd.Series([f"IMD{index:03}" for index in range(number)])


def pattern(*weights: float) -> Pixels:
    """Return a weighted sum of random patterns that hardly correlate, as a gray image, uint8 (32, 32, 3)."""
    patterns = np.random.default_rng(0).choice([-1.0, 1.0], (len(weights), 32, 32))
    gray = 128 + 80 * np.tensordot(weights, patterns, 1)
    return np.repeat(gray.round().astype(np.uint8)[..., None], 3, axis=2)


def rotated(degrees: float) -> Pixels:
    """Return a pattern that correlates with another one by the cosine of the angle between them."""
    return pattern(np.cos(np.radians(degrees)), np.sin(np.radians(degrees)))


def largest_group(images: NDArray[np.uint8]) -> int:
    ids = image_ids(len(images))
    pairs = find_near_duplicates(ids, thumbnails_of(images), 0.985)
    return int(pd.Series(group_images(pd.DataFrame({"image_id": ids}), pairs)).value_counts().max())


def dark_field(images: Pixels, radius: float) -> Pixels:
    """Return images, (..., 96, 96, 3), seen through a round hole with a soft edge; `radius` is a part of the side."""
    axis = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    visible = np.clip((radius - np.hypot(axis[:, None], axis)) / 0.05 + 0.5, 0, 1)
    return (images * visible[..., None]).astype(np.uint8)


def frame(images: Pixels, width: int, level: int, sides: str = "top bottom left right") -> Pixels:
    """Return images, (..., 96, 96, 3), with a flat border of `width` pixels on these sides."""
    framed = images.copy()
    for side, place in {
        "top": np.s_[..., :width, :, :],
        "bottom": np.s_[..., -width:, :, :],
        "left": np.s_[..., :width, :],
        "right": np.s_[..., -width:, :],
    }.items():
        if side in sides:
            framed[place] = level
    return framed


def ruler(images: Pixels, width: int, level: int) -> Pixels:
    """Return images, (..., 96, 96, 3), with a ruler of `width` pixels on the right, with ticks of the opposite gray."""
    ruled = frame(images, width, level, "right")
    ruled[..., ::8, -width // 2 :, :] = 255 - level
    return ruled


def test_a_thumbnail_is_the_mean_gray_of_blocks_and_marks_the_middle() -> None:
    gray = np.random.default_rng(0).integers(150, 250, (32, 32), dtype=np.uint8)

    result = thumbnail(np.repeat(gray.repeat(3, axis=0).repeat(3, axis=1)[..., None], 3, axis=2))

    middle = np.zeros((32, 32))
    middle[6:26, 6:26] = 1
    assert (result.shape, result.dtype) == ((2, 32, 32), np.uint8)
    np.testing.assert_array_equal(result, [gray, middle])


def test_dark_fields_and_borders_are_left_out_of_the_middle_with_one_pixel_more_and_dark_lesions_are_not() -> None:
    """A border of 8 px at the top in white, a dark field of 9 px at the left, a dark lesion in the middle."""
    image = np.random.default_rng(0).integers(150, 250, (32, 32, 3), dtype=np.uint8)
    image[:, :9] = np.random.default_rng(0).integers(0, 50, (32, 9, 3))
    image[:8] = 255
    image[15:20, 15:20] = 20

    middle = thumbnail(image)[1]

    expected = np.zeros((32, 32))
    expected[9 + 1 : 26, 10:26] = 1  # the row next to the border counts as border
    np.testing.assert_array_equal(middle, expected)


def test_the_middle_is_complete_if_almost_nothing_of_it_would_remain() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[15:18, 15:18] = 200

    assert thumbnail(image)[1].sum() == 20 * 20


def test_the_similarity_is_the_lower_of_the_correlation_and_half_way_to_1_from_that_of_the_middle() -> None:
    """The second image differs most in the middle, the third in its margin, and a part of their middles is dark."""
    rng = np.random.default_rng(0)
    gray = rng.integers(100, 200, (4, 32, 32)).astype(np.uint8)
    gray[1] = gray[2] = gray[0]
    gray[1, 12:18, 12:18] = rng.integers(100, 200, (6, 6))
    gray[2, :5] = rng.integers(100, 200, (5, 32))
    gray[1:3, :, 20:] = 0
    stored = thumbnails_of(np.repeat(gray[..., None], 3, axis=3))

    expected = np.ones((4, 4))
    for i, j in np.argwhere(expected):
        pixels = (stored[i, 1] & stored[j, 1]).astype(bool)
        whole, middle = (np.corrcoef(gray[i][part], gray[j][part])[0, 1] for part in (np.s_[:], pixels))
        whole = np.corrcoef(gray[i].ravel(), gray[j].ravel())[0, 1]
        expected[i, j] = min(whole, (1 + middle) / 2)

    assert 19 * 6 < (stored[0, 1] & stored[1, 1]).sum() < 20 * 20
    np.testing.assert_allclose(similarities(stored, stored), expected, atol=1e-4)


def test_the_correlation_decides_alone_if_the_middle_has_no_contrast() -> None:
    gray = np.random.default_rng(0).integers(100, 200, (2, 32, 32)).astype(np.uint8)
    gray[1] = gray[0] // 2 + 50
    gray[:, 6:26, 6:26] = [[[120]], [[121]]]
    expected = np.corrcoef(gray[0].ravel(), gray[1].ravel())[0, 1]

    stored = thumbnails_of(np.repeat(gray[..., None], 3, axis=3))

    assert similarities(stored, stored)[0, 1] == pytest.approx(expected, abs=1e-4)


def test_images_of_one_flat_color_are_similar_to_nothing() -> None:
    flat = thumbnails_of(np.full((3, 64, 64, 3), 90, np.uint8))

    assert not unit_vectors(flat).any()
    assert find_near_duplicates(image_ids(3), flat, 0.985).empty
    assert find_near_duplicates(image_ids(1), thumbnails_of([rotated(0)]), 0.985).empty


@pytest.mark.parametrize("radius", [0.2, 0.3, 0.4])
def test_different_images_behind_a_dark_field_are_not_near_duplicates(images: NDArray[np.uint8], radius: float) -> None:
    assert largest_group(dark_field(images, radius)) <= 2


@pytest.mark.parametrize(
    ("width", "level", "sides"),
    [(15, 0, "top bottom left right"), (20, 255, "top bottom left right"), (20, 0, "top bottom")],
)
def test_different_images_with_equal_borders_are_not_near_duplicates(
    images: NDArray[np.uint8], width: int, level: int, sides: str
) -> None:
    assert largest_group(frame(images, width, level, sides)) <= 2


def test_different_images_with_equal_rulers_are_not_near_duplicates(images: NDArray[np.uint8]) -> None:
    assert largest_group(ruler(images, 28, 10)) <= 2
    assert largest_group(ruler(dark_field(images, 0.4), 16, 240)) <= 2


def jpeg(image: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def brightness(image: Pixels, factor: float) -> Pixels:
    return np.clip(image * factor, 0, 255).astype(np.uint8)


COPIES: dict[str, Change] = {
    "smaller": lambda image: resize_image(image, SIZE // 2),
    "larger": lambda image: resize_image(image, SIZE * 3 // 2),
    "JPEG": lambda image: jpeg(image, 50),
    "darker": lambda image: brightness(image, 0.9),
    "brighter": lambda image: brightness(image, 1.1),
    "all": lambda image: jpeg(brightness(resize_image(image, SIZE * 3 // 4), 1.1), 80),
}


@pytest.mark.parametrize(
    "surround",
    [lambda image: image, lambda image: dark_field(image, 0.4), lambda image: frame(image, 10, 0)],
    ids=["plain", "dark field", "black border"],
)
def test_copies_are_found(images: NDArray[np.uint8], surround: Change) -> None:
    """Of 20 images each copy is found, and nothing else."""
    originals = [surround(image) for image in images[:20]]
    copies = [resize_image(change(image), SIZE) for change in COPIES.values() for image in originals]
    ids = pd.Series([f"{name} {index:02}" for name in ["original", *COPIES] for index in range(20)])

    pairs = find_near_duplicates(ids, thumbnails_of([*originals, *copies]), 0.985)

    found = {(first, second) for first, second in zip(pairs["first"], pairs["second"], strict=True)}
    assert [name for name in COPIES for i in range(20) if (f"original {i:02}", f"{name} {i:02}") not in found] == []
    assert [(first, second) for first, second in found if first[-2:] != second[-2:]] == []


def test_100_frames_of_one_lesion_are_one_group_and_all_alike(images: NDArray[np.uint8]) -> None:
    """The search must not subtract the mean of all images."""
    rng = np.random.default_rng(0)
    frames = np.stack([brightness(images[0], rng.uniform(0.9, 1.1)) for _ in range(100)])
    stored = thumbnails_of(np.clip(frames + rng.normal(0, 4, frames.shape), 0, 255).astype(np.uint8))
    ids = image_ids(100)

    pairs = find_near_duplicates(ids, stored, 0.985)

    assert len(pairs) == 100 * 99 / 2
    assert group_images(pd.DataFrame({"image_id": ids}), pairs) == ["IMD000"] * 100
    assert find_chains(ids, stored, pairs).empty


@pytest.mark.parametrize("threshold", [0.8, 0.985, 1])
def test_the_search_finds_the_same_pairs_as_a_comparison_of_all(
    monkeypatch: pytest.MonkeyPatch, images: NDArray[np.uint8], threshold: float
) -> None:
    """300 thumbnails, compared in blocks of 70 x 50. A third are copies with more and more noise."""
    monkeypatch.setattr(near_duplicates, "ROWS", 70)
    monkeypatch.setattr(near_duplicates, "COLUMNS", 50)
    rng = np.random.default_rng(0)
    stored = np.concatenate([thumbnails_of(images[:200]), thumbnails_of(images[:100])])
    noise = rng.normal(0, 1, (100, 32, 32)) * np.linspace(0, 40, 100).reshape(-1, 1, 1)
    stored[200:, 0] = np.clip(stored[200:, 0] + noise, 0, 255)
    stored = stored[rng.permutation(300)]

    pairs = find_near_duplicates(image_ids(300), stored, threshold)

    similarity = similarities(stored, stored)
    expected = [(i, j) for i, j in np.argwhere(similarity >= threshold) if i < j]
    assert len(expected) > 0
    assert pairs[["first", "second"]].values.tolist() == [[f"IMD{i:03}", f"IMD{j:03}"] for i, j in expected]
    assert pairs.correlation.tolist() == [similarity[pair] for pair in expected]


def test_the_lowest_correlation_is_the_threshold_and_off_finds_nothing() -> None:
    stored = thumbnails_of([rotated(0), rotated(12), rotated(90)])
    correlation = float(similarities(stored, stored)[0, 1])
    assert correlation == pytest.approx(np.cos(np.radians(12)), abs=0.002)

    found = [len(find_near_duplicates(image_ids(3), stored, t)) for t in (correlation, correlation + 0.0001)]

    assert found == [1, 0]
    nothing = find_near_duplicates(image_ids(3), stored, "off")
    assert (nothing.columns.tolist(), len(nothing)) == (["first", "second", "correlation"], 0)
    assert group_images(pd.DataFrame({"image_id": image_ids(3)}), nothing) == ["IMD000", "IMD001", "IMD002"]


def test_more_pairs_than_memory_allows_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_PAIRS", 5)

    with pytest.raises(UserError) as error:
        find_near_duplicates(image_ids(4), thumbnails_of([rotated(0)] * 4), 0.985)

    assert str(error.value) == (
        "More than 5 pairs of images are near-duplicates. Remove copies, raise preprocess.near_duplicates, or set it "
        "to off and put images that belong together into one group."
    )


def chain() -> tuple[pd.Series, NDArray[np.uint8], pd.DataFrame]:
    """Return five ids, thumbnails and pairs. Patterns at 0, 8 and 16 degrees form a chain, and two others a pair.

    Neighbors correlate by cos 8 = .990, the ends of the chain by cos 16 = .961.
    """
    ids = pd.Series(["far", "other", "start", "between", "copy"])
    stored = thumbnails_of([rotated(16), rotated(90), rotated(0), rotated(8), rotated(90)])
    return ids, stored, find_near_duplicates(ids, stored, 0.985)


def test_a_chain_of_near_duplicates_is_one_group_named_after_its_first_image() -> None:
    ids, _, pairs = chain()

    assert pairs[["first", "second"]].values.tolist() == [["far", "between"], ["other", "copy"], ["start", "between"]]
    assert pairs.correlation.tolist() == pytest.approx([0.990, 1, 0.990], abs=0.002)
    groups = group_images(pd.DataFrame({"image_id": ids}), pairs)
    assert groups == ["far", "other", "far", "far", "other"]


def test_a_chain_is_reported_with_its_size_and_weakest_pair() -> None:
    chains = find_chains(*chain())

    assert chains.drop(columns="correlation").to_dict("records") == [
        {"images": 3, "first": "far", "second": "start", "members": "far, start, between"}
    ]
    assert chains.correlation.tolist() == pytest.approx([0.961], abs=0.002)


def test_the_largest_chain_comes_first_and_the_weakest_pair_is_found_in_any_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Patterns at 0, 8, … 48 degrees, and three others. Thumbnails are compared in blocks of 2 x 3."""
    monkeypatch.setattr(near_duplicates, "ROWS", 2)
    monkeypatch.setattr(near_duplicates, "COLUMNS", 3)
    third = [pattern(0, 0, np.cos(angle), np.sin(angle)) for angle in np.radians([0, 8, 16])]
    stored = thumbnails_of([*third, *(rotated(degrees) for degrees in (8, 24, 0, 48, 40, 32, 16))])
    ids = image_ids(10)

    chains = find_chains(ids, stored, find_near_duplicates(ids, stored, 0.985))

    assert chains[["images", "first", "second"]].values.tolist() == [[7, "IMD005", "IMD006"], [3, "IMD000", "IMD002"]]
    assert chains.correlation.tolist() == pytest.approx([np.cos(np.radians(48)), 0.961], abs=0.03)
    monkeypatch.setattr(near_duplicates, "COMPARED_MEMBERS", 1)
    chains = find_chains(ids, stored, find_near_duplicates(ids, stored, 0.985))
    assert chains[["first", "second"]].values.tolist() == [["IMD003", "IMD006"], ["IMD000", "IMD002"]]


def test_near_duplicates_join_the_groups_of_the_labels() -> None:
    """One patient has a and b, c is a copy of b, the next patient has d, and the last has e and f."""
    labels = pd.DataFrame({"image_id": list("abcdef"), "group": ["007", "007", "8", "7", "NA", "NA"]})
    pairs = pd.DataFrame({"first": ["b"], "second": ["c"], "correlation": [0.99]})

    assert group_images(labels, pairs) == ["a", "a", "a", "d", "e", "e"]


def table(*columns: str, rows: list[tuple[str | int | float, ...]] | None = None) -> pd.DataFrame:
    return pd.DataFrame(rows or [], columns=list(columns))


def test_more_than_a_tenth_of_the_images_in_near_duplicates_is_a_warning() -> None:
    images = pd.DataFrame({"image_id": image_ids(30)})
    rows = [("IMD000", "IMD001", 0.99), ("IMD001", "IMD002", 0.99), ("IMD004", "IMD005", 0.99)]
    pairs = table("first", "second", "correlation", rows=list(rows))
    none = find_chains(image_ids(0), np.empty((0, 2, 32, 32), np.uint8), pairs[:0])

    assert near_duplicate_warnings(images, pairs[:2], none) == []
    assert near_duplicate_warnings(images, pairs, none) == [
        "near-duplicates: 5 of 30 images look nearly the same as another image. Check data/checks/near_duplicates.csv. "
        "preprocess.near_duplicates sets the lowest correlation, and off turns the search off."
    ]


def test_chains_are_a_warning() -> None:
    images = pd.DataFrame({"image_id": image_ids(100)})
    pairs = table("first", "second", "correlation", rows=[("a", "b", 0.99), ("b", "c", 0.99)])
    columns = ["images", "first", "second", "correlation", "members"]

    warnings = near_duplicate_warnings(images, pairs, table(*columns, rows=[(3, "a", "c", 0.9613, "a, b, c")]))

    assert warnings == [
        "near-duplicates: 1 group(s) contain images that aren't alike but are linked by others. Sizes and weakest "
        "pairs: 3 images (a and c: 0.9613). Check data/checks/near_duplicates.csv. "
        "A higher preprocess.near_duplicates separates them."
    ]
