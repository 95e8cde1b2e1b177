"""Fast gradients of depthwise convolutions in bf16 on a CPU.

Implemented here because oneDNN 3 lacks two depthwise kernels: for the weight gradient of kernels wider than 3 columns,
and, in bf16, for the image gradient with a stride. It then computes both as dense groups of 16 by 16 channels, which
took a third of a step of the default network (docs/experiments.md). This module computes the same gradients with
kernels that oneDNN has.

N images, C channels, H rows, W columns; the kernel is KH x KW.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight
from torch.overrides import TorchFunctionMode

from naevi.models.device import ComputeSettings

Pair = tuple[int, int]
MAX_FAST_COLUMNS = 3  # columns of the widest kernel whose weights have a fast gradient


def fast_depthwise(compute: ComputeSettings) -> AbstractContextManager[Any]:
    """Return the context of a training step: `FastDepthwise` in bf16 on a CPU, otherwise nothing."""
    return FastDepthwise() if compute.precision == "bf16" and compute.device == "cpu" else nullcontext()


class FastDepthwise(TorchFunctionMode):
    """Replace F.conv2d by `DepthwiseConvolution` where that is faster. For autocast's bf16 on a CPU, with gradients."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Return the result of a torch function."""
        if function is functional.conv2d and not kwargs and _is_faster(*args):
            tensors = [tensor if tensor is None else tensor.bfloat16() for tensor in args[:3]]
            return DepthwiseConvolution.apply(*tensors, *args[3:5])
        return function(*args, **(kwargs or {}))


class DepthwiseConvolution(torch.autograd.Function):
    """F.conv2d of an image (N, C, H, W) and a weight (C, 1, KH, KW) whose gradients are computed by convolutions."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
        """Return the convolution, with or without a bias (C,)."""
        ctx.save_for_backward(image, weight)
        ctx.geometry, ctx.has_bias = (stride, padding), bias is not None
        return functional.conv2d(image, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        """Return the gradients of image, weight and bias for that of the output."""
        image, weight = ctx.saved_tensors
        inputs = gradient, image, weight, *ctx.geometry
        bias_gradient = gradient.sum((0, 2, 3)) if ctx.has_bias else None
        return _image_gradient(*inputs), _weight_gradient(*inputs), bias_gradient, None, None


def _is_faster(
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
        and all(isinstance(option, tuple) for option in (stride, padding, dilation))
        and (weight.shape[3] > MAX_FAST_COLUMNS or max(stride) > 1)
        and set(dilation) == {1}
        and torch.is_grad_enabled()
    )


def _image_gradient(gradient: Tensor, image: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Insert zeros to undo the stride, then convolve with the flipped kernel."""
    n, c, *sides = image.shape
    if max(stride) > 1:
        high, wide = (side + 2 * p - k + 1 for side, p, k in zip(sides, padding, weight.shape[2:], strict=True))
        spread = gradient.new_zeros(n, high, wide, c).permute(0, 3, 1, 2)  # channels_last
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    margin = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
    return functional.conv2d(gradient, weight.flip(2, 3), padding=margin, groups=c)


def _weight_gradient(gradient: Tensor, image: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Compute at most MAX_FAST_COLUMNS columns at a time, each as the gradient of a narrow kernel."""
    image = functional.pad(image, (padding[1], padding[1], padding[0], padding[0]))
    high, wide = ((number - 1) * step for number, step in zip(gradient.shape[2:], stride, strict=True))
    result = torch.empty_like(weight)
    # The last part may overlap the one before it, because a single column is slow.
    last = max(0, weight.shape[3] - MAX_FAST_COLUMNS)
    for left in [*range(0, last, MAX_FAST_COLUMNS), last]:
        columns = result[..., left : left + MAX_FAST_COLUMNS]
        height, width = columns.shape[2:]
        part = image[:, :, : high + height, left : left + wide + width].contiguous(memory_format=torch.channels_last)
        # torch has no hints there
        columns.copy_(conv2d_weight(part, columns.shape, gradient, stride, groups=len(weight)))  # type: ignore[no-untyped-call]
    return result
