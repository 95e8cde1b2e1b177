"""Losses worked out by hand on four pixels.

log 3 as a logit is the probability 3/4, and -log 3 is 1/4. So for

    logits         log 3  -log 3  -log 3  log 3
    probability    3/4    1/4     1/4     3/4
    mask           1      1       0       0

the mask's class has the probabilities 3/4, 1/4, 3/4, 1/4.

For three classes, the logits of a pixel are log 2 for one class and 0 for the others: 1/2, 1/4, 1/4.

    its class      0      1       2       1
    mask           0      1       2       2
"""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from naevi import config
from naevi.images.files import VOID
from naevi.training.losses import LOSSES, build_loss

L = math.log(3)
LOGITS = torch.tensor([L, -L, -L, L]).view(1, 1, 2, 2)
MASK = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
# The mean of -log 3/4, -log 1/4, -log 3/4, -log 1/4.
BCE = (math.log(4 / 3) + math.log(4)) / 2
# 1 - 2 (3/4 + 1/4) / (2 + 2): the probabilities sum to 2, the mask too.
DICE = 1 / 2
# The same four times (1 - p)²: 1/16, 9/16, 1/16, 9/16.
FOCAL = (math.log(4 / 3) / 16 + math.log(4) * 9 / 16) / 2
# Found 1, missed 1, found wrongly 1: what Dice has too, since 0.7 + 0.3 = 0.5 + 0.5.
TVERSKY = 1 - 1 / (1 + 0.7 + 0.3)
# Hinges 1 - L, 1 + L, 1 - L, 1 + L, of which 1 - L is below 0. With a pixel of the lesion and one of the skin wrong,
# 1 - IoU is 2/3.
LOVASZ = (1 + L) * 2 / 3

LOGITS_3 = math.log(2) * F.one_hot(torch.tensor([[[0, 1], [2, 1]]]), 3).permute(0, 3, 1, 2).float()
MASK_3 = torch.tensor([[[[0, 1], [2, 2]]]])
# The mask's class has the probabilities 1/2, 1/2, 1/2, 1/4.
CE_3 = (3 * math.log(2) + math.log(4)) / 4
# Class 1: found 1/2; probabilities 1/4 + 1/2 + 1/4 + 1/2 = 3/2, mask 1: Dice 2 (1/2) / (5/2) = 2/5.
# Class 2: found 1/2 + 1/4; probabilities 1/4 + 1/4 + 1/2 + 1/4 = 5/4, mask 2: Dice 2 (3/4) / (13/4) = 6/13.
DICE_3 = 1 - (2 / 5 + 6 / 13) / 2
# Missed 1/2 and 5/4, found wrongly 1 and 1/2.
TVERSKY_3 = 1 - (0.5 / (0.5 + 0.7 * 0.5 + 0.3 * 1) + 0.75 / (0.75 + 0.7 * 1.25 + 0.3 * 0.5)) / 2
# A sigmoid of each logit: log 2 is 2/3, 0 is 1/2. Twelve answers: right with 2/3 three times, wrong with 2/3 (right
# with 1/3) once, with 1/2 eight times.
FOCAL_3 = (3 * math.log(1.5) / 9 + math.log(3) * 4 / 9 + 8 * math.log(2) / 4) / 12
# Errors, largest first, and what 1 - IoU grows by. Class 0 (mask 1000): 1/2 of its own, 1; then nothing.
# Class 1 (0100): 1/2 of its own and 1/2 of another: 1 together; then nothing.
# Class 2 (0011): 3/4 and 1/2 of its own: 1/2 and 1/2; then nothing.
LOVASZ_3 = (1 / 2 + 1 / 2 + (3 / 4 + 1 / 2) / 2) / 3

BINARY = {"bce": BCE, "cross-entropy": BCE, "dice": DICE, "focal": FOCAL, "lovasz": LOVASZ, "tversky": TVERSKY}
THREE = {"cross-entropy": CE_3, "dice": DICE_3, "focal": FOCAL_3, "lovasz": LOVASZ_3, "tversky": TVERSKY_3}
SUMS = ["bce+dice", "cross-entropy+dice", "dice+focal+tversky"]

Case = tuple[torch.Tensor, torch.Tensor]
CASES: list[Case] = [(LOGITS, MASK), (LOGITS_3, MASK_3)]
each_term_and_case = pytest.mark.parametrize(
    ("name", "case"),
    [(name, CASES[0]) for name in BINARY] + [(name, CASES[1]) for name in THREE],
    ids=[f"{name}-2" for name in BINARY] + [f"{name}-3" for name in THREE],
)


def _sure(mask: torch.Tensor, channels: int) -> torch.Tensor:
    """Logits of 100 on what the mask shows, of -100 elsewhere."""
    shown = mask.float() if channels == 1 else F.one_hot(mask[:, 0].long(), channels).permute(0, 3, 1, 2)
    return 200.0 * shown - 100


@pytest.mark.parametrize(("name", "expected"), BINARY.items())
def test_two_classes_are_as_worked_by_hand(name: str, expected: float) -> None:
    """See the top."""
    assert build_loss(name)(LOGITS, MASK).item() == pytest.approx(expected)


@pytest.mark.parametrize(("name", "expected"), THREE.items())
def test_three_classes_are_as_worked_by_hand(name: str, expected: float) -> None:
    """See the top."""
    assert build_loss(name)(LOGITS_3, MASK_3).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_the_sum_of_its_terms(name: str) -> None:
    """Equally weighted."""
    assert build_loss(name)(LOGITS, MASK).item() == pytest.approx(sum(BINARY[term] for term in name.split("+")))


@each_term_and_case
def test_pixels_without_a_known_class_are_left_out(name: str, case: Case) -> None:
    """A column of VOID changes no loss, whatever the network says there, and has no gradient."""
    logits, mask = case
    wide = torch.cat([logits, torch.full_like(logits[..., :1], 3.0)], dim=3).requires_grad_()
    void = torch.cat([mask, torch.full_like(mask[..., :1], VOID)], dim=3)

    loss = build_loss(name, void=True)(wide, void)
    loss.backward()

    assert loss.item() == pytest.approx(build_loss(name)(logits, mask).item())
    assert wide.grad is not None
    assert not wide.grad[..., -1].any()
    assert wide.grad[..., :-1].any()


def test_cross_entropy_is_torchs() -> None:
    """On random logits; of one channel to the last bit."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 8, 8, generator=generator)
    mask = torch.randint(0, 5, (2, 1, 8, 8), generator=generator)
    lesion = (mask > 2).float()

    assert build_loss("cross-entropy")(logits, mask).item() == pytest.approx(F.cross_entropy(logits, mask[:, 0]).item())
    expected = F.binary_cross_entropy_with_logits(logits[:, :1], lesion)
    assert torch.equal(build_loss("cross-entropy")(logits[:, :1], lesion), expected)


def test_tversky_punishes_what_is_missed_more_than_what_is_found_wrongly() -> None:
    """Of two pixels of lesion, one missed: 1 - 1 / 1.7; a third found besides both: 1 - 2 / 2.3."""
    one, three = (torch.tensor(found).view(1, 1, 2, 2) for found in ([1.0, 0, 0, 0], [1.0, 1, 1, 0]))

    assert build_loss("tversky")(200 * one - 100, MASK).item() == pytest.approx(1 - 1 / 1.7)
    assert build_loss("tversky")(200 * three - 100, MASK).item() == pytest.approx(1 - 2 / 2.3)


@each_term_and_case
def test_a_sure_and_right_network_has_no_loss(name: str, case: Case) -> None:
    """Logits of 100 and -100."""
    logits, mask = case
    assert build_loss(name)(_sure(mask, logits.shape[1]), mask).item() == pytest.approx(0, abs=1e-6)


def test_dice_takes_the_batch_as_one_image() -> None:
    """Sure logits: image 1 has 1 of 1 pixels right (Dice 1), image 2 finds 1 of 3 (Dice 1/2).

    Together 2 (1 + 1) / (2 + 4) = 2/3, where the mean of both would be 3/4.
    """
    mask = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0]]).view(2, 1, 2, 2)
    found = torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0]]).view(2, 1, 2, 2)

    assert build_loss("dice")(200 * found - 100, mask).item() == pytest.approx(1 - 2 / 3)


@pytest.mark.parametrize("name", ["dice", "tversky"])
def test_the_background_is_no_class_of_dices(name: str) -> None:
    """Class 1 is right, class 2 missed, 0 in its stead: (0 + 1) / 2, whatever becomes of class 0."""
    found = torch.tensor([[[[0, 1], [0, 0]]]])

    assert build_loss(name)(_sure(found, 3), MASK_3).item() == pytest.approx(1 / 2)


@pytest.mark.parametrize("name", ["dice", "tversky"])
def test_classes_that_are_not_in_the_masks_are_left_out_of_dice(name: str) -> None:
    """All pixels are class 1 and predicted as 2: the loss is that of class 1. smp takes the mean of it and 0."""
    mask = torch.ones(1, 1, 2, 2)

    assert build_loss(name)(_sure(mask + 1, 3), mask).item() == pytest.approx(1)
    assert build_loss(name)(_sure(mask + 1, 11), mask).item() == pytest.approx(1)


@pytest.mark.parametrize("name", ["dice", "tversky", "lovasz"])
def test_more_classes_that_no_pixel_has_do_not_change_the_loss(name: str) -> None:
    """Eight more classes have the probability 0 everywhere, so value and gradient are those of the three."""
    logits = LOGITS_3.clone().requires_grad_()
    value = build_loss(name)(torch.cat([logits, torch.full((1, 8, 2, 2), -100.0)], dim=1), MASK_3)
    value.backward()
    of_three = LOGITS_3.clone().requires_grad_()
    build_loss(name)(of_three, MASK_3).backward()

    assert value.item() == pytest.approx(THREE[name])
    assert logits.grad is not None
    assert of_three.grad is not None
    assert logits.grad.flatten().tolist() == pytest.approx(of_three.grad.flatten().tolist(), abs=1e-7)


@pytest.mark.parametrize("name", ["cross-entropy", "dice", "focal", "tversky"])
def test_the_loss_of_several_classes_reads_no_value(name: str) -> None:
    """A fake tensor has none and raises an error if one is read. A step that reads one can't become a CUDA graph."""
    with FakeTensorMode():
        logits, mask = torch.zeros(2, 5, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.uint8)

        assert build_loss(name)(logits, mask).shape == ()


@pytest.mark.parametrize("name", ["dice", "tversky"])
def test_dice_of_a_batch_without_lesion_is_0_and_so_is_its_gradient(name: str) -> None:
    """Left out by smp; cross-entropy still teaches it."""
    for case in CASES:
        logits = case[0].clone().requires_grad_()
        value = build_loss(name)(logits, torch.zeros_like(case[1]))
        value.backward()

        assert value.item() == 0
        assert logits.grad is not None
        assert not logits.grad.any()


@each_term_and_case
@pytest.mark.parametrize("scale", [0, 1, 1000])
def test_values_and_gradients_are_finite(name: str, case: Case, scale: float) -> None:
    """Also where masks are empty or full, and logits are all the same or huge."""
    for mask in (case[1], torch.zeros_like(case[1]), torch.full_like(case[1], case[1].max().item())):
        logits = (case[0] * scale).requires_grad_()
        value = build_loss(name)(logits, mask)
        value.backward()

        assert value.isfinite()
        assert value >= 0
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@each_term_and_case
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bfloat16])
def test_a_mask_may_have_any_type(name: str, case: Case, dtype: torch.dtype) -> None:
    """It holds small whole numbers."""
    logits, mask = case
    assert torch.equal(build_loss(name)(logits, mask.to(dtype)), build_loss(name)(logits, mask))


@each_term_and_case
def test_losses_are_float32_under_autocast_and_from_bfloat16(name: str, case: Case) -> None:
    """bfloat16 keeps 8 bits; the sum over a batch of masks needs 20 and more."""
    logits, mask = (case[0] * 1.7).bfloat16().repeat(4, 1, 1, 1), case[1].repeat(4, 1, 1, 1)
    expected = build_loss(name)(logits.float(), mask)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = build_loss(name)(logits, mask)

    assert value.dtype == torch.float32
    assert torch.equal(value, expected)


@pytest.mark.parametrize("name", ["bce", "dice", "focal", "tversky"])
def test_gradients_push_logits_towards_the_mask(name: str) -> None:
    """Down the gradient, logits rise on the lesion and fall elsewhere."""
    logits = LOGITS.clone().requires_grad_()
    build_loss(name)(logits, MASK).backward()

    assert logits.grad is not None
    assert (-logits.grad).sign().flatten().tolist() == [1, 1, -1, -1]


@pytest.mark.parametrize("name", THREE)
def test_down_the_gradient_the_loss_of_three_classes_falls(name: str) -> None:
    """One small step."""
    logits = LOGITS_3.clone().requires_grad_()
    before = build_loss(name)(logits, MASK_3)
    before.backward()
    assert logits.grad is not None

    assert build_loss(name)(logits - 0.01 * logits.grad, MASK_3) < before


def test_every_term_of_the_config_has_a_loss() -> None:
    """And no other."""
    assert set(LOSSES) == set(config.LOSS_NAMES)
