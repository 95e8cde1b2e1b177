"""Losses worked out by hand on four pixels.

log 3 as a logit is the probability 3/4, and -log 3 is 1/4. So for

    logits         log 3  -log 3  -log 3  log 3
    probability    3/4    1/4     1/4     3/4
    mask           1      1       0       0

the mask's class has the probabilities 3/4, 1/4, 3/4, 1/4.
"""

import math
from typing import get_args

import pytest
import torch

from naevi.config import Loss
from naevi.losses import LOSSES, loss

L = math.log(3)
LOGITS = torch.tensor([L, -L, -L, L]).view(1, 1, 2, 2)
MASK = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
# The mean of -log 3/4, -log 1/4, -log 3/4, -log 1/4.
BCE = (math.log(4 / 3) + math.log(4)) / 2
# 1 - 2 (3/4 + 1/4) / (2 + 2): the probabilities sum to 2, the mask too.
DICE = 1 / 2


@pytest.mark.parametrize(("name", "expected"), [("bce", BCE), ("dice", DICE), ("bce+dice", BCE + DICE)])
def test_losses_are_those_worked_by_hand(name: Loss, expected: float) -> None:
    """See the top."""
    assert loss(name)(LOGITS, MASK).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
def test_a_sure_and_right_network_has_no_loss(name: Loss) -> None:
    """Logits of 100 on the lesion, of -100 elsewhere."""
    assert loss(name)(200 * MASK - 100, MASK).item() == pytest.approx(0, abs=1e-6)


def test_dice_takes_the_batch_as_one_image() -> None:
    """Sure logits: image 1 has 1 of 1 pixels right (Dice 1), image 2 finds 1 of 3 (Dice 1/2).

    Together 2 (1 + 1) / (2 + 4) = 2/3, where the mean of both would be 3/4.
    """
    mask = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0]]).view(2, 1, 2, 2)
    found = torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0]]).view(2, 1, 2, 2)

    assert loss("dice")(200 * found - 100, mask).item() == pytest.approx(1 - 2 / 3)


def test_dice_of_a_batch_without_lesion_is_0_and_so_is_its_gradient() -> None:
    """Left out by smp; bce still teaches it."""
    logits = LOGITS.clone().requires_grad_()
    value = loss("dice")(logits, torch.zeros_like(MASK))
    value.backward()

    assert value.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_float32_under_autocast_and_from_bfloat16(name: Loss) -> None:
    """bfloat16 keeps 8 bits; the sum over a batch of masks needs 20 and more."""
    logits = (LOGITS * 1.7).bfloat16().expand(4, 1, 2, 2)
    mask = MASK.expand(4, 1, 2, 2)
    expected = loss(name)(logits.float(), mask)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(name)(logits, mask.bfloat16())

    assert value.dtype == torch.float32
    assert torch.equal(value, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_push_logits_towards_the_mask(name: Loss) -> None:
    """Down the gradient, logits rise on the lesion and fall elsewhere."""
    logits = LOGITS.clone().requires_grad_()
    loss(name)(logits, MASK).backward()

    assert logits.grad is not None
    assert (-logits.grad).sign().flatten().tolist() == [1, 1, -1, -1]


def test_every_name_of_the_config_has_a_loss() -> None:
    """And no other."""
    assert set(LOSSES) == set(get_args(Loss))
