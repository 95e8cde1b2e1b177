"""smp's U-Net for training on a CPU: an upsampling and the convolution behind it computed as one.

By hand, because no library joins them. A step of the default network becomes 1.2 times as fast (docs/experiments.md).

N images, C channels of the feature map, S of the skip connection, O of the output; H rows and W columns.
"""

from typing import Any

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import Tensor, nn
from torch.nn import functional as F


class JoinedBlock(UnetDecoderBlock):  # type: ignore[misc]  # smp has no hints
    """A block of smp's decoder that computes the same, up to rounding, without an upsampled feature map.

    Behind nearest upsampling by two, a 3 x 3 convolution multiplies one value by several of its weights. With these
    summed beforehand it is a transposed convolution of 4 x 4 at stride 2: four multiplications a pixel instead of nine.
    The skip connection has its size already, so its share is a convolution of its own, added.
    """

    def forward(
        self, feature_map: Tensor, target_height: int, target_width: int, skip_connection: Tensor | None = None
    ) -> Tensor:
        """Feature map (N, C, H, W) and skip connection (N, S, 2H, 2W) to (N, O, 2H, 2W); smp's way for other sizes."""
        channels, height, width = feature_map.shape[1:]
        if (target_height, target_width) != (2 * height, 2 * width):
            return super().forward(feature_map, target_height, target_width, skip_connection)  # type: ignore[no-any-return]
        convolution, norm, activation = self.conv1
        of_map, of_skip = convolution.weight.tensor_split([channels], dim=1)
        x = F.conv_transpose2d(feature_map, transposed(of_map), convolution.bias, stride=2, padding=1)
        if skip_connection is not None:
            x = x + F.conv2d(skip_connection, of_skip, padding=1)
        return self.conv2(activation(norm(x)))  # type: ignore[no-any-return]


def join(network: nn.Module) -> None:
    """Let the U-Net blocks of a network compute as `JoinedBlock`, in place; other networks stay as they are.

    So do all where torch has no oneDNN, since its own transposed convolutions are slower than what they would replace.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # nor has torch there
        return
    for block in network.modules():
        if _fits(block):
            # The parameters and their names stay; only what computes with them changes.
            block.__class__ = JoinedBlock


def transposed(weight: Tensor) -> Tensor:
    """The kernel (C, O, 4, 4) of the transposed convolution that equals a convolution's (O, C, 3, 3) so placed."""
    sums = F.avg_pool2d(weight.flip(2, 3), kernel_size=2, stride=1, padding=1, divisor_override=1)
    return sums.transpose(0, 1)


def _fits(block: Any) -> bool:
    return (
        type(block) is UnetDecoderBlock
        and block.interpolation_mode == "nearest"
        and isinstance(block.attention1.attention, nn.Identity)
    )
