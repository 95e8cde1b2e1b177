"""What training makes small, by the names that params.yaml uses."""

from collections.abc import Callable

from segmentation_models_pytorch.losses import BINARY_MODE, DiceLoss
from torch import Tensor
from torch.nn import functional as F

from naevi.config import Loss

_soft_dice = DiceLoss(BINARY_MODE, from_logits=True)


def bce(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over all pixels of the batch."""
    return F.binary_cross_entropy_with_logits(logits, mask)


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - soft Dice; smp sums over the whole batch as if it were one image, and a batch without lesion gives 0."""
    value: Tensor = _soft_dice(logits, mask)
    return value


def bce_and_dice(logits: Tensor, mask: Tensor) -> Tensor:
    """The sum of both, equally weighted."""
    return bce(logits, mask) + dice(logits, mask)


LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {"bce": bce, "dice": dice, "bce+dice": bce_and_dice}


def loss(name: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of logits and mask, both (N, 1, H, W), to one float32 number, at least 0.

    It computes in float32 whatever it is given and whatever autocast does.
    """
    compute = LOSSES[name]
    return lambda logits, mask: compute(logits.float(), mask.float())
