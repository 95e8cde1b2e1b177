"""What the draws do, by hand on 4 x 4 pixels; a draw of .5 is the middle, so it does nothing but not to flip."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from naevi.config import AugmentConfig
from naevi.images.files import VOID
from naevi.training import augmentation
from naevi.training.augmentation import CONTROL_POINTS, N_DRAWS, _to_class_map, draw_random_numbers

OFF = {
    "flips": False,
    "rotation": 0,
    "scale": 0,
    "shift": 0,
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "tint": 0,
    "elastic": 0,
    "vignette": 0,
    "hairs": 0,
}
EVERYTHING = {
    "flips": True,
    "rotation": 180,
    "scale": 0.9,
    "shift": 0.5,
    "brightness": 0.9,
    "contrast": 0.9,
    "saturation": 1,
    "tint": 0.9,
    "elastic": 0.2,
    "vignette": 1,
    "hairs": 20,
}
# Each pixel its own value, the left upper corner lesion.
PIXELS = (torch.arange(16) / 16).view(1, 1, 4, 4).expand(1, 3, 4, 4)
MASK = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).view(1, 1, 4, 4)


def settings(**on: float) -> AugmentConfig:
    """Everything off but these."""
    return AugmentConfig.model_validate(OFF | on)


def augment(images: Tensor, masks: Tensor, draws: Tensor, settings: AugmentConfig) -> tuple[Tensor, Tensor]:
    """Of two classes."""
    return augmentation.augment(images, masks, draws, settings, classes=2, void=False)


def drawn(values: dict[int, float]) -> Tensor:
    """Draws (1, DRAWS) in the middle but for these, by position; 1 is what [0, 1) comes close to."""
    row = torch.full((1, N_DRAWS), 0.5)
    for position, value in values.items():
        row[0, position] = value
    return row


def batch(number: int = 4, size: int = 32) -> tuple[list[str], Tensor, Tensor]:
    """Ids, noisy images and smooth masks."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(number, 3, size, size, generator=generator)
    coarse = torch.rand(number, 1, 4, 4, generator=generator)
    masks = (torch.nn.functional.interpolate(coarse, size=size, mode="bilinear") > 0.5).float()
    return [f"image-{row}" for row in range(number)], images, masks


def test_with_everything_off_nothing_changes() -> None:
    images, masks = augment(PIXELS, MASK, drawn({0: 0, 1: 0, 2: 1, 6: 1}), settings())

    assert images is PIXELS
    assert masks is MASK


@pytest.mark.parametrize(
    ("on", "values", "expected"),
    [
        ({"flips": True}, {}, lambda x: x),
        ({"flips": True}, {0: 0.0}, lambda x: x.flip(3)),
        ({"flips": True}, {1: 0.0}, lambda x: x.flip(2)),
        ({"flips": True}, {0: 0.49, 1: 0.49}, lambda x: x.flip(2, 3)),
        ({"rotation": 90}, {2: 1.0}, lambda x: x.rot90(1, (2, 3))),
        ({"rotation": 180}, {2: 0.25}, lambda x: x.rot90(-1, (2, 3))),
        ({"rotation": 180}, {2: 0.0}, lambda x: x.rot90(2, (2, 3))),
        # A quarter of 4 pixels is one; beyond the frame the picture is mirrored.
        ({"shift": 0.25}, {4: 1.0}, lambda x: x[..., [1, 2, 3, 3]]),
        ({"shift": 0.25}, {5: 0.0}, lambda x: x[:, :, [0, 0, 1, 2]]),
        # Flipped, then turned: the draws act together.
        ({"flips": True, "rotation": 90}, {0: 0.0, 2: 1.0}, lambda x: x.flip(3).rot90(1, (2, 3)).flip(2, 3)),
    ],
)
def test_geometry_moves_image_and_mask_together(
    on: dict[str, float], values: dict[int, float], expected: Callable[[Tensor], Tensor]
) -> None:
    images, masks = augment(PIXELS, MASK, drawn(values), settings(**on))

    assert images == pytest.approx(expected(PIXELS), abs=1e-5)
    assert masks.tolist() == expected(MASK).tolist()


@pytest.mark.parametrize(("draw", "side"), [(1.0, 24), (0.5, 16)])
def test_scale_grows_the_lesion_by_its_part(draw: float, side: int) -> None:
    """A square of 16 pixels by half; and it stays in the middle."""
    masks = torch.zeros(1, 1, 64, 64)
    masks[..., 24:40, 24:40] = 1
    _, grown = augment(masks.expand(1, 3, 64, 64), masks, drawn({3: draw}), settings(scale=0.5))

    middle = slice(32 - side // 2, 32 + side // 2)
    assert grown.sum() == side**2
    assert grown[..., middle, middle].all()


@pytest.mark.parametrize(
    ("on", "values", "expected"),
    [
        ({"brightness": 0.1}, {6: 1.0}, [[0.3, 0.7], [0.5, 0.9]]),
        ({"brightness": 0.5}, {6: 1.0}, [[0.7, 1.0], [0.9, 1.0]]),  # not above white
        ({"contrast": 0.5}, {7: 1.0}, [[0.1, 0.7], [0.3, 0.9]]),  # away from the channel's mean by half
        ({"contrast": 0.5}, {7: 0.0}, [[0.3, 0.5], [0.5, 0.7]]),
        ({"saturation": 1}, {8: 0.0}, [[0.3, 0.7], [0.3, 0.7]]),  # each pixel its mean over the channels
        ({"saturation": 0.5}, {8: 1.0}, [[0.15, 0.55], [0.45, 0.85]]),
        ({"tint": 0.1}, {9: 1.0}, [[0.22, 0.66], [0.4, 0.8]]),
        ({"tint": 0.1}, {11: 0.0}, [[0.2, 0.6], [0.36, 0.72]]),
    ],
)
def test_color_by_hand(on: dict[str, float], values: dict[int, float], expected: list[list[float]]) -> None:
    """One row of pixels .2, .6 in red and .4, .8 in blue; green lies between and is left out of the table."""
    red, blue = torch.tensor([0.2, 0.6]), torch.tensor([0.4, 0.8])
    row = torch.stack([red, (red + blue) / 2, blue])  # (3, 2)
    images = row[None, :, None].expand(1, 3, 2, 2)
    changed, _ = augment(images, torch.ones(1, 1, 2, 2), drawn(values), settings(**on))

    assert changed[0, ::2, 0] == pytest.approx(torch.tensor(expected), abs=1e-6)


def test_elastic_moves_points_by_its_part_of_the_side() -> None:
    """All control points drawn to the right end: the whole picture moves by an eighth of 8 pixels, which is one."""
    drawn_right = drawn(dict.fromkeys(range(12, 12 + CONTROL_POINTS**2), 1.0))
    column = torch.arange(8).expand(1, 1, 8, 8)
    images, masks = augment(column.expand(1, 3, 8, 8) / 8, column % 2, drawn_right, settings(elastic=0.125))

    expected = torch.tensor([1, 2, 3, 4, 5, 6, 7, 7])
    assert images == pytest.approx((expected / 8).expand(1, 3, 8, 8), abs=1e-5)
    assert masks.tolist() == (expected % 2).expand(1, 1, 8, 8).tolist()


def test_elastic_moves_some_points_and_not_others() -> None:
    """One corner's control point: what lies at the opposite corner stays."""
    smooth = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    images, _ = augment(smooth, torch.zeros(1, 1, 64, 64), drawn({12: 1.0}), settings(elastic=0.1))

    moved = (images - smooth)[0, 0]
    assert moved[0, 0] == pytest.approx(0.1 * 64 / 63, abs=0.01)
    assert moved[43:, 43:].abs().max() < 1e-5  # beyond the reach of two cells


def test_vignette_darkens_the_corners_alone() -> None:
    """At its strongest and widest they are black, and the middle is as it was."""
    white = torch.ones(1, 3, 33, 33)
    images, masks = augment(white, torch.ones(1, 1, 33, 33), drawn({44: 1.0, 47: 0.0}), settings(vignette=1))

    assert images[..., 0, 0].max() == 0
    assert images[..., 16, 4:29].min() == 1  # up to .75 of the radius, where .8 begins
    assert masks.min() == 1
    halved, _ = augment(white, torch.ones(1, 1, 33, 33), drawn({44: 0.5, 47: 0.0}), settings(vignette=0.5))
    assert halved[0, 0, 0, 0] == 0.75


def test_a_hair_is_a_dark_line_that_leaves_the_mask_alone() -> None:
    """In the middle, along x, straight, of the whole length, the thickest and darkest: .1 of the light is left."""
    first = {48: 0.6, 49: 0.5, 50: 0.5, 51: 0.0, 52: 0.5, 53: 1.0, 54: 1.0, 55: 1.0}
    white, masks = torch.ones(1, 3, 161, 161), torch.ones(1, 1, 161, 161)
    images, kept = augment(white, masks, drawn(first), settings(hairs=1))

    assert images[0, :, 80, 1:160] == pytest.approx(torch.full((3, 159), 0.1), abs=1e-6)
    assert torch.equal(images[..., :79, :], white[..., :79, :])
    assert torch.equal(images[..., 82:, :], white[..., 82:, :])
    assert torch.equal(kept, masks)


@pytest.mark.parametrize(("draw", "hairs"), [(0.0, 0), (0.34, 1), (0.99, 2)])
def test_hairs_are_as_many_as_drawn(draw: float, hairs: int) -> None:
    """Two at most, at a quarter and at three quarters of the height."""
    lines = {48: draw, 50: 0.25, 51: 0.0, 57: 0.75, 58: 0.0}
    images, _ = augment(torch.ones(1, 3, 161, 161), torch.ones(1, 1, 161, 161), drawn(lines), settings(hairs=2))

    assert (images[0, 0, [40, 120], 80] < 0.9).tolist() == [hairs > 0, hairs > 1]


def test_each_class_moves_as_the_lesion_does() -> None:
    """Three stripes, turned by a quarter; and no border becomes a class that is not on either side of it."""
    stripes = torch.tensor([0, 0, 1, 1, 2, 2]).expand(1, 1, 6, 6)
    images = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))

    _, turned = augmentation.augment(images, stripes, drawn({2: 1.0}), settings(rotation=90), classes=3, void=False)
    _, shifted = augmentation.augment(images, stripes, drawn({4: 0.0}), settings(shift=1 / 12), classes=3, void=False)

    assert turned.tolist() == stripes.rot90(1, (2, 3)).tolist()
    assert shifted[0, 0, 0].tolist() == [0, 0, 1, 1, 1, 2]  # half a pixel: the background loses, then the later class


@pytest.mark.parametrize("classes", [2, 3])
def test_pixels_without_a_known_class_move_as_the_lesion_does(classes: int) -> None:
    stripes = torch.tensor([0, 0, 1, 1, VOID, VOID]).expand(1, 1, 6, 6)
    images = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))

    _, turned = augmentation.augment(
        images, stripes, drawn({2: 1.0}), settings(rotation=90), classes=classes, void=True
    )

    assert turned.tolist() == stripes.rot90(1, (2, 3)).tolist()


def test_two_classes_are_cut_at_a_half() -> None:
    """And where two cover a pixel alike, the background loses."""
    shares = torch.tensor([[0.49, 0.5, 0.51]]).view(1, 1, 1, 3)

    assert _to_class_map(shares).tolist() == [[[[0, 1, 1]]]]


def test_draws_depend_on_seed_epoch_and_id_alone() -> None:
    together = draw_random_numbers(["a", "b", "c"], seed=1, epoch=2)

    assert together.shape == (3, N_DRAWS)
    assert together.dtype == torch.float32
    assert torch.equal(together.flip(0), draw_random_numbers(["c", "b", "a"], seed=1, epoch=2))
    assert torch.equal(together[1:2], draw_random_numbers(["b"], seed=1, epoch=2))
    assert len({tuple(draw_random_numbers(["a"], seed=s, epoch=e)[0].tolist()) for s in (1, 2) for e in (1, 2)}) == 4
    assert len({tuple(row) for row in together.tolist()}) == 3


def test_draws_fill_the_range_evenly() -> None:
    many = draw_random_numbers([str(number) for number in range(4000)], seed=0, epoch=1).numpy()

    assert many.min() >= 0
    assert many.max() < 1
    assert np.abs(many.mean(axis=0) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(many.T) - np.eye(N_DRAWS)).max() < 0.08


def test_an_image_is_varied_alike_in_every_batch() -> None:
    ids, images, masks = batch()
    numbers = draw_random_numbers(ids, seed=0, epoch=1)
    everything = settings(**EVERYTHING)
    together = augment(images, masks, numbers, everything)

    for row in range(len(ids)):
        alone = augment(images[row : row + 1], masks[row : row + 1], numbers[row : row + 1], everything)
        assert torch.allclose(alone[0][0], together[0][row], atol=1e-6)
        assert torch.equal(alone[1][0], together[1][row])


def test_images_stay_in_range_and_masks_zero_or_one() -> None:
    ids, images, masks = batch(number=32)
    varied, moved = augment(images, masks, draw_random_numbers(ids, seed=0, epoch=1), settings(**EVERYTHING))

    assert varied.shape == images.shape
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert set(moved.unique().tolist()) == {0, 1}
    assert not torch.equal(moved, masks)
