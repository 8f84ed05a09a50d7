"""DRUNet: a denoiser that is told how much noise there is, the prior of plug-and-play restoration.

Zhang et al., "Plug-and-Play Image Restoration with Deep Denoiser Prior" (2021): a U-Net of residual blocks without
biases, so that it scales with its input, and a map of the noise as a further channel. Here it begins at half the size
(pixel unshuffle), where processors do most work in the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.networks.kinds import DenoiserNetwork


class DRUNet(nn.Module, DenoiserNetwork):
    """A U-Net of residual blocks for pictures with known white noise.

    Parameters
    ----------
    widths : sequence of int
        Channels at a half, a quarter, ... of the size.
    blocks : int
        Residual blocks at each size, on the way down and on the way up.
    """

    multiple, tile_overlap = 8, 64

    def __init__(self, widths: Sequence[int] = (48, 96, 160), blocks: int = 2) -> None:
        super().__init__()
        self.arguments = {"widths": list(widths), "blocks": blocks}
        self.multiple = 2 ** len(widths)
        self.head = _conv(16, widths[0])
        self.down = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        pairs = list(pairwise(widths))
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in pairs)
        self.body = _blocks(widths[-1], blocks)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2, bias=False) for a, b in reversed(pairs))
        self.up = nn.ModuleList(_blocks(width, blocks) for width in reversed(widths[:-1]))
        self.tail = _conv(widths[0], 12)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], with white noise of standard deviation `sigma` (B,) or (B, 1, H, W), to the clean."""
        height, width = noisy.shape[-2:]
        rim = (0, -width % self.multiple, 0, -height % self.multiple)
        noisy = F.pad(noisy, rim, mode="replicate")
        if sigma.ndim == 4:
            sigma = F.pad(sigma, rim, mode="replicate")
        level = sigma.reshape(-1, 1, *sigma.shape[2:] or (1, 1)).to(noisy).expand(-1, -1, *noisy.shape[-2:])
        x = self.head(F.pixel_unshuffle(torch.cat((noisy, level), 1), 2))
        kept = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            kept.append(x := blocks(x))
            x = shrink(x)
        x = self.body(x)
        for grow, blocks in zip(self.grow, self.up, strict=True):
            x = blocks(grow(x) + kept.pop())
        return (noisy - F.pixel_shuffle(self.tail(x), 2))[..., :height, :width]


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


def _conv(into: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, 3, padding=1, bias=False)


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(width) for _ in range(count)))
