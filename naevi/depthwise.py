"""Depthwise convolutions that train fast in bf16 on a CPU: the same gradients, by the kernels that oneDNN has.

By hand, because oneDNN 3 has no depthwise kernel for the weights' gradient beyond 3 columns, nor, in bf16, for the
image's at a stride. It then computes both as if the groups were dense, 16 channels by 16: that was a third of a step of
the default network (docs/experiments.md).

N images, C channels, H rows and W columns; a kernel of KH x KW.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]
WIDE = 3  # columns of the widest kernel whose weights have a fast gradient


class FastDepthwise(TorchFunctionMode):
    """The context, for autocast's bf16 on a CPU, in which F.conv2d is `Depthwise` where that pays: with gradients."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """What a torch function gives."""
        if function is functional.conv2d and not kwargs and _pays(*args):
            tensors = [each if each is None else each.bfloat16() for each in args[:3]]
            return Depthwise.apply(*tensors, *args[3:5])
        return function(*args, **(kwargs or {}))


class Depthwise(torch.autograd.Function):
    """F.conv2d of an image (N, C, H, W) and a weight (C, 1, KH, KW), whose gradients are such convolutions too."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
        """The convolution, with a bias (C) or without."""
        ctx.save_for_backward(image, weight)
        ctx.where, ctx.biased = (stride, padding), bias is not None
        return functional.conv2d(image, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        """The gradients of image, weight and bias from that of the output."""
        image, weight = ctx.saved_tensors
        given = gradient, image, weight, *ctx.where
        return _of_image(*given), _of_weight(*given), gradient.sum((0, 2, 3)) if ctx.biased else None, None, None


def _pays(
    image: Tensor,
    weight: Tensor,
    _: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    return (
        1 < groups == weight.shape[0] == image.shape[1]
        and all(isinstance(each, tuple) for each in (stride, padding, dilation))
        and (weight.shape[3] > WIDE or max(stride) > 1)
        and set(dilation) == {1}
        and torch.is_grad_enabled()
    )


def _of_image(gradient: Tensor, image: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """The gradient spread to stride 1, zeros between, then convolved with the kernel turned round."""
    n, c, *sides = image.shape
    if max(stride) > 1:
        high, wide = (side + 2 * p - k + 1 for side, p, k in zip(sides, padding, weight.shape[2:], strict=True))
        spread = gradient.new_zeros(n, high, wide, c).permute(0, 3, 1, 2)  # channels_last
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    margin = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
    return functional.conv2d(gradient, weight.flip(2, 3), padding=margin, groups=c)


def _of_weight(gradient: Tensor, image: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """In parts of at most WIDE columns, each the gradient of a narrow kernel on its part of the image."""
    image = functional.pad(image, (padding[1], padding[1], padding[0], padding[0]))
    high, wide = ((number - 1) * step for number, step in zip(gradient.shape[2:], stride, strict=True))
    found = torch.empty_like(weight)
    last = max(0, weight.shape[3] - WIDE)  # it may lie over the one before it, since one column alone is slow
    for left in [*range(0, last, WIDE), last]:
        columns = found[..., left : left + WIDE]
        height, width = columns.shape[2:]
        part = image[:, :, : high + height, left : left + wide + width].contiguous(memory_format=torch.channels_last)
        # torch has no hints there.
        columns.copy_(conv2d_weight(part, columns.shape, gradient, stride, groups=len(weight)))  # type: ignore[no-untyped-call]
    return found
