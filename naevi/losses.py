"""What training makes small, by the names that params.yaml uses.

Each term takes logits float32 (N, C, H, W) and a mask (N, 1, H, W) of class numbers, and gives one float32 number, at
least 0. C is 1 for two classes, whose logits are of class 1; else it is the number of classes.
"""

from collections.abc import Callable

import torch
from segmentation_models_pytorch.losses import (
    BINARY_MODE,
    MULTICLASS_MODE,
    DiceLoss,
    FocalLoss,
    LovaszLoss,
    TverskyLoss,
)
from torch import Tensor, nn
from torch.nn import functional as F

Term = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy, the mean over all pixels of the batch: of a sigmoid for two classes, of a softmax for more."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, mask.float())
    # Not F.cross_entropy, which has no deterministic algorithm on CUDA.
    return -logits.log_softmax(dim=1).gather(1, mask.long()).mean()


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - soft Dice, the mean over the classes but the background, as in nnU-Net.

    smp sums over the whole batch as if it were one image; a class that the batch's masks don't show counts as 0.
    """
    return _of_smp(DiceLoss, logits, mask, classes=_foreground(logits))


def focal(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy times (1 - probability of the right answer)²: what is easy counts less.

    Lin et al.: "Focal Loss for Dense Object Detection", 2017, https://arxiv.org/abs/1708.02002, without its weight
    alpha. For more classes than two, smp asks of each class by itself, with a sigmoid, and takes the mean.
    """
    return _of_smp(FocalLoss, logits, mask)


def lovasz(logits: Tensor, mask: Tensor) -> Tensor:
    """The Lovász hinge for two classes, Lovász-Softmax for more: a convex stand-in for 1 - IoU, over the whole batch.

    Berman, Triki, Blaschko: "The Lovász-Softmax loss", 2018, https://arxiv.org/abs/1705.08790. The hinge is 0 from
    logits of 1 on; Lovász-Softmax is the mean over the classes that the batch's masks show, background included. On
    CUDA its cumsum has no deterministic algorithm.
    """
    return _of_smp(LovaszLoss, logits, mask)


def tversky(logits: Tensor, mask: Tensor) -> Tensor:
    """As Dice, but what is missed weighs 0.7 and what is found wrongly 0.3 where Dice has 0.5 and 0.5.

    The weights are the best of Salehi, Erdogmus, Gholipour: "Tversky loss function for image segmentation using 3D
    fully convolutional deep networks", 2017, https://arxiv.org/abs/1706.05721; smp's own would make it Dice.
    """
    return _of_smp(TverskyLoss, logits, mask, classes=_foreground(logits), alpha=0.3, beta=0.7)


TERMS: dict[str, Term] = {
    "bce": cross_entropy,
    "cross-entropy": cross_entropy,
    "dice": dice,
    "focal": focal,
    "lovasz": lovasz,
    "tversky": tversky,
}


def loss(name: str) -> Term:
    """The sum of the terms that `name` joins by +, equally weighted.

    A function of logits (N, C, H, W) and a mask (N, 1, H, W) of any type that holds the classes' numbers, to one
    float32 number, at least 0: C is 1 for two classes, else their number. It computes in float32 whatever it is given
    and whatever autocast does.
    """
    terms = [TERMS[term] for term in name.split("+")]

    def compute(logits: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            return torch.stack([term(logits.float(), mask) for term in terms]).sum()

    return compute


def _of_smp(of: type[nn.Module], logits: Tensor, mask: Tensor, **settings: object) -> Tensor:
    binary = logits.shape[1] == 1
    compute = of(BINARY_MODE if binary else MULTICLASS_MODE, **settings)
    value: Tensor = compute(logits, mask.float() if binary else mask.squeeze(1).long())
    return value


def _foreground(logits: Tensor) -> list[int] | None:
    # Of one channel, smp wants no choice.
    return list(range(1, logits.shape[1])) or None
