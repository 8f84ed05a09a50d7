"""A plain residual U-Net: dense 3x3 convolutions and nothing else, which is what processors run fastest.

No normalisation, no attention, no depthwise convolution: each of them costs a CPU ten to fifty times more per
operation than the dense convolutions that it would save. The input is unshuffled by 2, so nothing runs at full
resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.strided import ResidualBlock


def residual_stack(channels: int, count: int) -> nn.Sequential:
    """So many residual blocks; their second convolutions start small, so that deep stacks begin as the identity."""
    blocks = [ResidualBlock(channels) for _ in range(count)]
    with torch.no_grad():
        for block in blocks:
            block.second.weight.mul_(0.1)
    return nn.Sequential(*blocks)


class UNet(nn.Module):
    """Features at half the input's resolution.

    Parameters
    ----------
    inputs, outputs : int
        Channels in, at full resolution, and out, at half of it.
    widths : sequence of int
        Channels at 1/2, 1/4, 1/8, ... of the input's resolution.
    blocks : sequence of int
        Residual blocks per scale, on the way down and again on the way up; at the coarsest scale once.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        if len(widths) != len(blocks) or not widths:
            raise ValueError(f"widths and blocks must be of one length, got {widths} and {blocks}")
        self.multiple = 2 ** len(widths)
        self.intro = nn.Conv2d(4 * inputs, widths[0], 3, padding=1)
        self.down = nn.ModuleList(residual_stack(w, n) for w, n in zip(widths, blocks, strict=True))
        pairs = list(pairwise(widths))
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.grow = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairs)
        self.up = nn.ModuleList(residual_stack(w, n) for w, n in zip(widths[:-1], blocks[:-1], strict=True))
        self.outro = nn.Conv2d(widths[0], outputs, 3, padding=1)
        nn.init.zeros_(self.outro.weight)
        assert self.outro.bias is not None
        nn.init.zeros_(self.outro.bias)

    def forward(self, image: Tensor, coarse: Tensor | None = None) -> Tensor:
        """(B, inputs, H, W), H and W multiples of `multiple`, to (B, outputs, H / 2, W / 2).

        `coarse`, (B, widths[-1], H / multiple, W / multiple), is added to the features of the coarsest scale.
        """
        features = self.intro(F.pixel_unshuffle(image, 2))
        skips = []
        for stack, shrink in zip(self.down, self.shrink, strict=False):
            features = stack(features)
            skips.append(features)
            features = shrink(features)
        features = self.down[-1](features if coarse is None else features + coarse)
        for stack, grow, skip in zip(reversed(self.up), reversed(self.grow), reversed(skips), strict=True):
            features = stack(skip + F.pixel_shuffle(grow(features), 2))
        return self.outro(features)
