"""Synthetic images have equal bytes everywhere, exact masks, and the sizes, dark corners and difficulty of PH2."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.otsu import mean_dice, otsu_mask
from naevi.datasets.synthetic import SyntheticImage, synthetic_image
from tests.helpers import ROOT

# Otsu's mean Dice on PH2's 200 images, measured by `python -m benchmarks.otsu`.
OTSU_ON_PH2 = 0.640

# SHA-256 of ten images and masks. If it changes, every result on synthetic images changes.
EXPECTED_DIGEST = "315a3ef7653cb4a1235f5d1bd4f06aebe6215ca6f7705c6621c64cfdb3fd33d4"
PRINT_DIGEST = """
import hashlib
from naevi.datasets.synthetic import synthetic_image
digest = hashlib.sha256()
for index in range(10):
    generated = synthetic_image(index, height=288, width=384, seed=7)
    digest.update(generated.image.tobytes() + generated.mask.tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def images() -> list[SyntheticImage]:
    """Return as many images as PH2 has, in its shape, at half its size."""
    return [synthetic_image(index, height=288, width=384, seed=7) for index in range(200)]


def digest(**environment: str) -> str:
    """Return the digest that a new Python process prints."""
    command = [sys.executable, "-c", PRINT_DIGEST]
    process = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return process.stdout.strip()


def areas(images: list[SyntheticImage], *diagnoses: str) -> np.ndarray:
    """Return the lesion areas as fractions of the image."""
    return np.array([generated.mask.mean() for generated in images if generated.diagnosis in diagnoses])


def test_ids_are_numbered_and_diagnoses_repeat_two_two_one() -> None:
    images = [synthetic_image(index, height=64, width=64, seed=0) for index in range(10)]

    assert [generated.image_id for generated in images[:2]] == ["phantom-00000", "phantom-00001"]
    assert synthetic_image(12345, height=64, width=64, seed=0).image_id == "phantom-12345"
    assert [generated.diagnosis for generated in images[:5]] == ["common", "atypical", "common", "atypical", "melanoma"]
    assert [generated.diagnosis for generated in images].count("melanoma") == 2


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 97), (288, 384), (64, 700), (301, 64)])
def test_an_image_is_rgb_and_a_mask_has_zeros_and_ones(height: int, width: int) -> None:
    generated = synthetic_image(3, height=height, width=width, seed=1)
    assert (generated.image.shape, generated.image.dtype) == ((height, width, 3), np.uint8)
    assert (generated.mask.shape, generated.mask.dtype) == ((height, width), np.uint8)
    assert set(np.unique(generated.mask)) == {0, 1}
    assert generated.image.flags.c_contiguous


def test_equal_arguments_give_equal_bytes_and_other_arguments_give_others() -> None:
    def content(index: int = 8, height: int = 64, width: int = 80, seed: int = 5) -> tuple[bytes, bytes]:
        generated = synthetic_image(index, height=height, width=width, seed=seed)
        return generated.image.tobytes(), generated.mask.tobytes()

    assert content() == content()
    for other in (content(index=13), content(seed=6), content(height=80, width=64)):
        assert other[0] != content()[0]
        assert other[1] != content()[1]


def test_the_bytes_are_the_expected_ones() -> None:
    digest = hashlib.sha256()
    for index in range(10):
        generated = synthetic_image(index, height=288, width=384, seed=7)
        digest.update(generated.image.tobytes() + generated.mask.tobytes())
    assert digest.hexdigest() == EXPECTED_DIGEST


def test_the_bytes_do_not_depend_on_the_processors_vector_instructions() -> None:
    """An older processor is simulated by disabling all of numpy's vector instructions, or only AVX-512."""
    # Only features that numpy uses and this processor has. With others, importing numpy fails or warns.
    features = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not features:
        pytest.skip("numpy has no vector instructions to disable here")
    newest = [name for name in features if "512" in name or name == "X86_V4"]
    for disabled in (features, newest):
        assert digest(NPY_DISABLE_CPU_FEATURES=" ".join(disabled)) == EXPECTED_DIGEST


def test_an_image_shows_the_same_lesion_at_every_size() -> None:
    small, large = (synthetic_image(4, height=scale * 72, width=scale * 96, seed=2) for scale in (1, 3))
    assert np.mean(small.mask != large.mask[1::3, 1::3]) < 0.01
    gray = [generated.image.mean(axis=2) for generated in (small, large)]
    assert np.corrcoef(gray[0].ravel(), ndimage.uniform_filter(gray[1], 3)[1::3, 1::3].ravel())[0, 1] > 0.97


def test_no_mask_is_empty_or_full_in_the_smallest_frame() -> None:
    for index in range(300):
        mask = synthetic_image(index, height=64, width=64, seed=11).mask
        assert 0 < mask.sum() < mask.size


@pytest.mark.slow
def test_a_lesion_is_one_piece(images: list[SyntheticImage]) -> None:
    """Except for rare ones that the frame cuts in two."""
    assert sum(ndimage.label(generated.mask)[1] > 1 for generated in images) <= 2


@pytest.mark.slow
def test_the_border_is_the_middle_of_the_soft_edge(images: list[SyntheticImage]) -> None:
    """Red changes from 6 % of the frame inside the border to 6 % outside. Half of the change is inside the border."""
    inside, border, outside = [], [], []
    for generated in images:
        if generated.diagnosis != "melanoma":
            distance = ndimage.distance_transform_edt(generated.mask) - ndimage.distance_transform_edt(
                1 - generated.mask
            )
            red = generated.image[..., 0]
            inside.append(np.median(red[np.abs(distance - 20) < 2]))
            border.append(red[np.abs(distance) < 2].mean())
            outside.append(np.median(red[np.abs(distance + 20) < 2]))
    fraction = (np.mean(outside) - np.mean(border)) / (np.mean(outside) - np.mean(inside))
    assert fraction == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_lesions_are_as_large_as_those_of_ph2(images: list[SyntheticImage]) -> None:
    """PH2: .03 to .98 of the image, median .23. Medians: common .17, atypical .22, melanoma .67."""
    everything = areas(images, "common", "atypical", "melanoma")
    assert np.median(everything) == pytest.approx(0.23, abs=0.04)
    assert 0.03 < everything.min() < 0.07
    assert 0.90 < everything.max() < 0.99
    assert np.median(areas(images, "common")) == pytest.approx(0.166, abs=0.03)
    assert np.median(areas(images, "atypical")) == pytest.approx(0.219, abs=0.04)
    assert np.median(areas(images, "melanoma")) == pytest.approx(0.674, abs=0.08)


@pytest.mark.slow
def test_melanomas_touch_the_frame_and_nevi_mostly_do_not(images: list[SyntheticImage]) -> None:
    """PH2: 31 of 40 melanomas, 19 of 160 nevi."""

    def touching(*diagnoses: str) -> int:
        masks = [
            np.pad(generated.mask[1:-1, 1:-1], 1) ^ generated.mask
            for generated in images
            if generated.diagnosis in diagnoses
        ]
        return sum(bool(rim.any()) for rim in masks)

    assert 24 <= touching("melanoma") <= 36
    assert 10 <= touching("common", "atypical") <= 30


@pytest.mark.slow
def test_most_corners_are_dark(images: list[SyntheticImage]) -> None:
    """PH2: in 168 of 200 images the mean gray of some 20 x 20 corner is below 60. At half its size that is 10 x 10."""
    corners = np.ix_([*range(10), *range(-10, 0)], [*range(10), *range(-10, 0)])
    dark = 0
    for generated in images:
        blocks = generated.image.mean(axis=2)[corners].reshape(2, 10, 2, 10)
        dark += blocks.mean(axis=(1, 3)).min() < 60
    assert dark == pytest.approx(168, abs=12)


@pytest.mark.slow
def test_synthetic_images_are_about_as_hard_for_otsu_as_ph2(images: list[SyntheticImage]) -> None:
    assert mean_dice((generated.image, generated.mask) for generated in images) == pytest.approx(OTSU_ON_PH2, abs=0.05)


def test_otsus_threshold_separates_two_grays() -> None:
    image = np.full((4, 4, 3), 200, np.uint8)
    image[1:3, 1:3] = 60
    assert otsu_mask(image).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
