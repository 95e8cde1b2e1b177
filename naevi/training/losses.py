"""Loss functions, by their names in params.yaml.

Each loss maps logits float32 (N, C, H, W) and a mask (N, 1, H, W) of class indices to one float32 number, at least 0.
With two classes C is 1 and the logits are those of class 1. Otherwise C is the number of classes. With `void`, pixels
that are VOID in the mask are left out. Without it, there are none.
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

from naevi.images.files import VOID

LossFunction = Callable[[Tensor, Tensor], Tensor]
LossTerm = Callable[[Tensor, Tensor, bool], Tensor]


def cross_entropy(logits: Tensor, mask: Tensor, void: bool = False) -> Tensor:
    """Return the cross-entropy, mean over all pixels of the batch: sigmoid for two classes, softmax for more."""
    weights = None
    if void:
        known = (mask != VOID).float()
        mask, weights = mask * known, known * (known.numel() / known.sum().clamp(min=1))
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, mask.float(), weights)
    # Not F.cross_entropy, which has no deterministic algorithm on CUDA.
    losses = -logits.log_softmax(dim=1).gather(1, mask.long())
    return (losses if weights is None else losses * weights).mean()


def dice(logits: Tensor, mask: Tensor, void: bool = False) -> Tensor:
    """Return 1 - soft Dice, mean over the foreground classes in the batch's masks; 0 if there is none.

    smp sums over the whole batch as if it were one image.
    """
    return _foreground_loss(DiceLoss, logits, mask, void)


def focal(logits: Tensor, mask: Tensor, void: bool = False) -> Tensor:
    """Return the focal loss: cross-entropy times (1 - probability of the true class)², so easy pixels count less.

    Lin et al.: "Focal Loss for Dense Object Detection", 2017, https://arxiv.org/abs/1708.02002, without its weight
    alpha. With more than two classes, smp uses a sigmoid for each class and takes the mean over all classes, background
    included. A class that is not in the masks counts too: each of its pixels is an easy or a false one.
    """
    return _smp_loss(FocalLoss, logits, mask, void)


def lovasz(logits: Tensor, mask: Tensor, void: bool = False) -> Tensor:
    """Return the Lovász hinge for two classes, Lovász-Softmax for more: a convex surrogate of 1 - IoU over the batch.

    Berman, Triki, Blaschko: "The Lovász-Softmax loss", 2018, https://arxiv.org/abs/1705.08790. The hinge is 0 for
    correct logits of at least 1. Lovász-Softmax is the mean over the classes in the batch's masks, background included.
    On CUDA its cumsum has no deterministic algorithm, and Lovász-Softmax can't be recorded as a CUDA graph.
    """
    return _smp_loss(LovaszLoss, logits, mask, void)


def tversky(logits: Tensor, mask: Tensor, void: bool = False) -> Tensor:
    """Return the Tversky loss: like `dice`, but false negatives weigh 0.7 and false positives 0.3 instead of 0.5 each.

    The weights are the best of Salehi, Erdogmus, Gholipour: "Tversky loss function for image segmentation using 3D
    fully convolutional deep networks", 2017, https://arxiv.org/abs/1706.05721. smp's defaults would make it Dice.
    """
    return _foreground_loss(TverskyLoss, logits, mask, void, alpha=0.3, beta=0.7)


LOSSES: dict[str, LossTerm] = {
    "bce": cross_entropy,
    "cross-entropy": cross_entropy,
    "dice": dice,
    "focal": focal,
    "lovasz": lovasz,
    "tversky": tversky,
}


def build_loss(name: str, *, void: bool = False) -> LossFunction:
    """Return the sum of the losses that `name` joins with +, equally weighted.

    It maps logits (N, C, H, W) and a mask (N, 1, H, W) of class indices, of any dtype, to one float32 number, at least
    0. With two classes C is 1, otherwise the number of classes. With `void`, masks can have VOID pixels, which are left
    out. It always computes in float32, also under autocast.
    """
    terms = [LOSSES[term] for term in name.split("+")]

    def compute(logits: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            return torch.stack([term(logits.float(), mask, void) for term in terms]).sum()

    return compute


def _smp_loss(loss_class: type[nn.Module], logits: Tensor, mask: Tensor, void: bool, **settings: object) -> Tensor:
    binary = logits.shape[1] == 1
    mode, ignored = BINARY_MODE if binary else MULTICLASS_MODE, VOID if void else None
    compute = loss_class(mode, ignore_index=ignored, **settings)
    value: Tensor = compute(logits, mask.float() if binary else mask.squeeze(1).long())
    return value


def _foreground_loss(
    loss_class: type[nn.Module], logits: Tensor, mask: Tensor, void: bool, **settings: float
) -> Tensor:
    """Return one of smp's Dice losses, mean over the foreground classes in the masks."""
    if logits.shape[1] == 1:
        return _smp_loss(loss_class, logits, mask, void, **settings)
    foreground = range(1, logits.shape[1])
    value = _smp_loss(loss_class, logits, mask, void, classes=list(foreground), **settings)
    # smp divides by the number of all classes, and a class that is not in the masks adds 0. No `if` and no .item()
    # here: the CPU must not wait for a value, because the training step is recorded as a CUDA graph.
    n_present = torch.stack([(mask == class_index).any() for class_index in foreground]).sum()
    return value * (len(foreground) / n_present.clamp(min=1))
