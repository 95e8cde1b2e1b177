"""SegNet and U-Net with the widths of lesson 12 of AI-For-Beginners.

Lesson 12's networks end in a sigmoid that BCEWithLogitsLoss then applies again; these don't.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64, 128)  # channels of each level
BOTTOM_WIDTH = 256


class SegNet(nn.Module):
    """SegNet: the decoder puts each value where the encoder's max-pooling took it from. H and W are multiples of 16.

    Badrinarayanan, Kendall, Cipolla: "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
    Segmentation", 2015, https://arxiv.org/abs/1511.00561. Widths, bottom and one convolution per level are those
    of lesson 12 of https://github.com/microsoft/AI-For-Beginners, which upsamples bilinearly instead and has no
    convolution at full size after it.
    """

    def __init__(self, channels: int) -> None:
        """Create random weights from torch's global generator; `channels` is that of the logits."""
        super().__init__()
        first, *_, last = WIDTHS
        self.down = nn.ModuleList(map(_conv_block, (3, *WIDTHS), WIDTHS))
        self.bottom = nn.Sequential(_conv_block(last, BOTTOM_WIDTH), _conv_block(BOTTOM_WIDTH, last))
        self.up = nn.ModuleList(map(_conv_block, WIDTHS[::-1], (*WIDTHS[-2::-1], first)))
        self.head = nn.Conv2d(first, channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, 3, H, W) to logits (N, C, H, W)."""
        x, pooled_from = image, []
        for convolution in self.down:
            x, indices = F.max_pool2d(convolution(x), 2, return_indices=True)
            pooled_from.append(indices)
        x = self.bottom(x)
        for convolution, indices in zip(self.up, reversed(pooled_from), strict=True):
            x = convolution(unpool(x, indices))
        logits: Tensor = self.head(x)
        return logits


class UNet(nn.Module):
    """U-Net: each level of the decoder also sees the encoder's features of that level. H and W are multiples of 16.

    Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015,
    https://arxiv.org/abs/1505.04597; padded here, so that the logits are as large as the image. Widths, bottom, one
    convolution per level and bilinear upsampling are those of lesson 12 of
    https://github.com/microsoft/AI-For-Beginners, which has no convolution after the last upsampling.
    """

    def __init__(self, channels: int) -> None:
        """Create random weights from torch's global generator; `channels` is that of the logits."""
        super().__init__()
        below = (BOTTOM_WIDTH, *WIDTHS[:0:-1])
        self.down = nn.ModuleList(map(_conv_block, (3, *WIDTHS), WIDTHS))
        self.bottom = _conv_block(WIDTHS[-1], BOTTOM_WIDTH)
        self.up = nn.ModuleList(_conv_block(b + w, w) for b, w in zip(below, WIDTHS[::-1], strict=True))
        self.head = nn.Conv2d(WIDTHS[0], channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (N, 3, H, W) to logits (N, C, H, W)."""
        x, skips = image, []
        for convolution in self.down:
            skip = convolution(x)
            skips.append(skip)
            x = F.max_pool2d(skip, 2)
        x = self.bottom(x)
        for convolution, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = convolution(torch.cat([x, skip], dim=1))
        logits: Tensor = self.head(x)
        return logits


def unpool(x: Tensor, indices: Tensor) -> Tensor:
    """Put the values of x (N, C, H, W) at their indices in (N, C, 2H, 2W), with zeros elsewhere.

    `indices` are int64 (N, C, H, W), the flat indices in a channel that F.max_pool2d returns. The result equals
    F.max_unpool2d, which doesn't run under torch.use_deterministic_algorithms.
    """
    n, c, h, w = x.shape
    zeros = x.new_zeros(n, c, 4 * h * w)
    return zeros.scatter(2, indices.flatten(2), x.flatten(2)).view(n, c, 2 * h, 2 * w)


def _conv_block(inputs: int, outputs: int) -> nn.Sequential:
    # No bias, because batch norm has one.
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
