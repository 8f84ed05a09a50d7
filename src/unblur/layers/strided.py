"""Strided residual encoders: a picture, or features, to a vector for every 32 x 32 pixels.

One topology serves three of the papers' networks: the blur encoder of Blur Kernel Space (its G), the deep prior of its
codes, and HyperCUT's encoder of pairs of frames.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.padding import MirroredConv2d

STRIDE = 32
LEVELS = 5


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))); beyond the rim is zero, or a mirror."""

    def __init__(self, channels: int, bias: bool = True, mirrored: bool = False) -> None:
        super().__init__()
        padded = MirroredConv2d if mirrored else partial(nn.Conv2d, padding=1)
        self.first: nn.Conv2d = padded(channels, channels, 3, bias=bias)
        self.second: nn.Conv2d = padded(channels, channels, 3, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return features + self.second(F.relu(self.first(features), inplace=True))


class StridedEncoder(nn.Module):
    """A 7x7 convolution, five (`levels`) of 3x3 with stride 2, each twice as wide, and residual blocks.

    Parameters
    ----------
    inputs : int
        Channels in.
    width : int
        Of the first convolution.
    most : int
        Channels out, which no convolution exceeds.
    blocks : int
        Residual blocks at the end.
    bias : bool
        Of every convolution.
    slope : float
        What the activations before the residual blocks let through of negative values.
    levels : int
        Convolutions of stride 2.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        most: int,
        blocks: int,
        bias: bool,
        slope: float = 0.0,
        levels: int = LEVELS,
    ) -> None:
        super().__init__()
        self.slope = slope
        widths = [min(width << level, most) for level in range(levels)] + [most]
        self.entry = MirroredConv2d(inputs, widths[0], 7, bias=bias)
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1, bias=bias) for fine, coarse in pairwise(widths)
        )
        self.blocks = nn.Sequential(*(ResidualBlock(most, bias, mirrored=True) for _ in range(blocks)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W), any size, to (B, most, ceil(H / 2^levels), ceil(W / 2^levels)), unbounded and signed."""
        return self.beyond(self.entry(features))

    def beyond(self, entered: Tensor) -> Tensor:
        """What `forward` makes of the outputs (B, width, H, W) of the first convolution."""
        features = F.leaky_relu(entered, self.slope)
        for convolution in self.down:
            features = F.leaky_relu(convolution(features), self.slope)
        return self.blocks(features)
