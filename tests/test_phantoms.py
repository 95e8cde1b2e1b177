"""Phantoms: equal bytes everywhere, exact masks, and PH2's sizes, dark corners and difficulty."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.otsu import mean_dice, otsu_mask
from naevi.phantoms import Phantom, phantom

# Otsu's mean Dice on PH2's 200 images; measured by `python -m benchmarks.otsu`.
OTSU_ON_PH2 = 0.640

# SHA-256 over ten phantoms' images and masks. Another value means other data: every result on phantoms changes.
PINNED = "315a3ef7653cb4a1235f5d1bd4f06aebe6215ca6f7705c6621c64cfdb3fd33d4"
PRINT_DIGEST = """
import hashlib
from naevi.phantoms import phantom
digest = hashlib.sha256()
for index in range(10):
    each = phantom(index, height=288, width=384, seed=7)
    digest.update(each.image.tobytes() + each.mask.tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    """As many as PH2 has, in its shape, at half its size."""
    return [phantom(index, height=288, width=384, seed=7) for index in range(200)]


def digest(**environment: str) -> str:
    """The digest that a fresh Python prints."""
    command = [sys.executable, "-c", PRINT_DIGEST]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=os.environ | environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def areas(phantoms: list[Phantom], *diagnoses: str) -> np.ndarray:
    """Lesion area as a part of the frame."""
    return np.array([each.mask.mean() for each in phantoms if each.diagnosis in diagnoses])


def test_ids_are_numbered_and_classes_come_two_two_one(phantoms: list[Phantom]) -> None:
    assert [each.image_id for each in phantoms[:2]] == ["phantom-00000", "phantom-00001"]
    assert phantom(12345, height=64, width=64, seed=0).image_id == "phantom-12345"
    assert [each.diagnosis for each in phantoms[:5]] == ["common", "atypical", "common", "atypical", "melanoma"]
    assert [each.diagnosis for each in phantoms].count("melanoma") == 40


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 97), (288, 384), (64, 700), (301, 64)])
def test_an_image_is_rgb_bytes_and_a_mask_is_zeros_and_ones(height: int, width: int) -> None:
    each = phantom(3, height=height, width=width, seed=1)
    assert (each.image.shape, each.image.dtype) == ((height, width, 3), np.uint8)
    assert (each.mask.shape, each.mask.dtype) == ((height, width), np.uint8)
    assert set(np.unique(each.mask)) == {0, 1}
    assert each.image.flags.c_contiguous


def test_equal_arguments_give_equal_bytes_and_any_other_argument_gives_others() -> None:
    def content(index: int = 8, height: int = 64, width: int = 80, seed: int = 5) -> tuple[bytes, bytes]:
        each = phantom(index, height=height, width=width, seed=seed)
        return each.image.tobytes(), each.mask.tobytes()

    assert content() == content()
    for other in (content(index=13), content(seed=6), content(height=80, width=64)):
        assert other[0] != content()[0]
        assert other[1] != content()[1]


def test_the_bytes_are_the_pinned_ones(phantoms: list[Phantom]) -> None:
    found = hashlib.sha256()
    for each in phantoms[:10]:
        found.update(each.image.tobytes() + each.mask.tobytes())
    assert found.hexdigest() == PINNED


def test_the_bytes_do_not_depend_on_the_processors_vector_instructions() -> None:
    """An older processor is played by numpy with all that this one has, or only AVX-512, switched off."""
    # Only features that numpy dispatches on and this processor has: naming others makes numpy's import fail or warn.
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("numpy has no vector instructions to switch off here")
    newest = [name for name in found if "512" in name or name == "X86_V4"]
    for disabled in (found, newest):
        assert digest(NPY_DISABLE_CPU_FEATURES=" ".join(disabled)) == PINNED


def test_a_phantom_shows_the_same_lesion_at_every_size() -> None:
    small, large = (phantom(4, height=scale * 72, width=scale * 96, seed=2) for scale in (1, 3))
    assert np.mean(small.mask != large.mask[1::3, 1::3]) < 0.01
    gray = [each.image.mean(axis=2) for each in (small, large)]
    assert np.corrcoef(gray[0].ravel(), ndimage.uniform_filter(gray[1], 3)[1::3, 1::3].ravel())[0, 1] > 0.97


def test_no_mask_is_empty_or_full_in_the_smallest_frame() -> None:
    for index in range(300):
        mask = phantom(index, height=64, width=64, seed=11).mask
        assert 0 < mask.sum() < mask.size


def test_a_lesion_is_one_piece(phantoms: list[Phantom]) -> None:
    """But for rare ones that the frame cuts in two."""
    assert sum(ndimage.label(each.mask)[1] > 1 for each in phantoms) <= 2


def test_the_border_is_the_middle_of_the_soft_edge(phantoms: list[Phantom]) -> None:
    """From 6 % of the frame's side within the border to 6 % outside, half of the change in red happens within it."""
    within, at, outside = [], [], []
    for each in phantoms:
        if each.diagnosis != "melanoma":
            distance = ndimage.distance_transform_edt(each.mask) - ndimage.distance_transform_edt(1 - each.mask)
            red = each.image[..., 0]
            within.append(np.median(red[np.abs(distance - 20) < 2]))
            at.append(red[np.abs(distance) < 2].mean())
            outside.append(np.median(red[np.abs(distance + 20) < 2]))
    share = (np.mean(outside) - np.mean(at)) / (np.mean(outside) - np.mean(within))
    assert share == pytest.approx(0.5, abs=0.1)


def test_lesions_are_as_large_as_ph2s(phantoms: list[Phantom]) -> None:
    """PH2: .03 to .98 of the frame, median .23; common .17, atypical .22, melanoma .67."""
    everything = areas(phantoms, "common", "atypical", "melanoma")
    assert np.median(everything) == pytest.approx(0.23, abs=0.04)
    assert 0.03 < everything.min() < 0.07
    assert 0.90 < everything.max() < 0.99
    assert np.median(areas(phantoms, "common")) == pytest.approx(0.166, abs=0.03)
    assert np.median(areas(phantoms, "atypical")) == pytest.approx(0.219, abs=0.04)
    assert np.median(areas(phantoms, "melanoma")) == pytest.approx(0.674, abs=0.08)


def test_melanomas_touch_the_frame_and_naevi_mostly_do_not(phantoms: list[Phantom]) -> None:
    """PH2: 31 of 40 melanomas, 19 of 160 naevi."""

    def touching(*diagnoses: str) -> int:
        masks = [np.pad(each.mask[1:-1, 1:-1], 1) ^ each.mask for each in phantoms if each.diagnosis in diagnoses]
        return sum(bool(rim.any()) for rim in masks)

    assert 24 <= touching("melanoma") <= 36
    assert 10 <= touching("common", "atypical") <= 30


def test_most_corners_are_dark(phantoms: list[Phantom]) -> None:
    """PH2: in 168 of 200 images the mean gray of some 20 x 20 corner is below 60; at half its size that is 10 x 10."""
    corners = np.ix_([*range(10), *range(-10, 0)], [*range(10), *range(-10, 0)])
    dark = 0
    for each in phantoms:
        blocks = each.image.mean(axis=2)[corners].reshape(2, 10, 2, 10)
        dark += blocks.mean(axis=(1, 3)).min() < 60
    assert dark == pytest.approx(168, abs=12)


def test_otsu_finds_phantoms_about_as_hard_as_ph2(phantoms: list[Phantom]) -> None:
    assert mean_dice((each.image, each.mask) for each in phantoms) == pytest.approx(OTSU_ON_PH2, abs=0.05)


def test_otsus_threshold_separates_two_grays() -> None:
    image = np.full((4, 4, 3), 200, np.uint8)
    image[1:3, 1:3] = 60
    assert otsu_mask(image).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
