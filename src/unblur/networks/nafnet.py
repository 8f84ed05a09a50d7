"""NAFNet (Chen et al., ECCV 2022, arXiv 2204.04676): a U-Net without activation functions, blurry to sharp.

What is non-linear are products of features: with each other (the paper's SimpleGate) and with a map of their own means
(its simplified channel attention). Those means see the whole picture, which a network trained on small crops has never
met; `pool` takes them over windows of about the crops' size instead (TLSC: Chu et al., ECCV 2022, arXiv 2112.04491).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.attention import window_means
from unblur.layers.padding import crop, pad_to_multiple
from unblur.networks.kinds import RestorerNetwork


class LayerNorm2d(nn.Module):
    """Every pixel's channels to mean 0 and variance 1, then a weight and a bias for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        last = features.permute(0, 2, 3, 1)
        return F.layer_norm(last, self.weight.shape, self.weight, self.bias, eps=1e-6).permute(0, 3, 1, 2)


class Block(nn.Module):
    """The paper's NAFBlock: what neighbours say, then what channels say, each added with a learned weight.

    Parameters
    ----------
    channels : int
    window : int, optional
        Side of the window that channel means are taken over, in pixels of the features; None for the whole picture.
    """

    def __init__(self, channels: int, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.near_norm = LayerNorm2d(channels)
        self.near_widen = nn.Conv2d(channels, 2 * channels, 1)
        self.near_mix = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attention = nn.Conv2d(channels, channels, 1)
        self.near_merge = nn.Conv2d(channels, channels, 1)
        self.near_share = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.own_norm = LayerNorm2d(channels)
        self.own_widen = nn.Conv2d(channels, 2 * channels, 1)
        self.own_merge = nn.Conv2d(channels, channels, 1)
        self.own_share = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        near = gate(self.near_mix(self.near_widen(self.near_norm(features))))
        near = self.near_merge(near * self.attention(self._means(near)))
        features = features + near * self.near_share
        own = self.own_merge(gate(self.own_widen(self.own_norm(features))))
        return features + own * self.own_share

    def _means(self, features: Tensor) -> Tensor:
        if self.window is None:
            return features.mean((-2, -1), keepdim=True)
        return window_means(features, self.window)


class NAFNet(nn.Module, RestorerNetwork):
    """Blurry to sharp; 17.1 million parameters as published for GoPro with width 32, 67.9 million with width 64.

    Parameters
    ----------
    width : int
        Channels at full size; twice as many at each smaller one.
    encoder, decoder : sequence of int
        Blocks at full size, 1/2, 1/4, ...; the decoder's in the order they run, so from small to full.
    middle : int
        Blocks at the smallest size, half of the encoder's last.
    pool : int, optional
        Side in pixels of the windows that channel means are taken over; None for the whole picture, as in training on
        crops. 384 is 1.5 times the published crops of 256, and what their scores were measured with.
    """

    exports = ("restorer",)

    def __init__(
        self,
        width: int = 32,
        encoder: Sequence[int] = (1, 1, 1, 28),
        middle: int = 1,
        decoder: Sequence[int] = (1, 1, 1, 1),
        pool: int | None = None,
    ) -> None:
        super().__init__()
        if len(encoder) != len(decoder) or not encoder:
            raise ValueError(f"encoder and decoder must be of one length, got {encoder} and {decoder}")
        self.arguments: dict[str, object] = {
            "width": width,
            "encoder": list(encoder),
            "middle": middle,
            "decoder": list(decoder),
            "pool": pool,
        }
        levels = len(encoder)
        self.multiple = 2**levels
        # With means over windows a pixel depends on the far ones little; with means over the picture, on all.
        self.is_local = pool is not None
        self.tile_overlap = 128
        stack = lambda level, count: nn.Sequential(  # noqa: E731
            *(Block(width << level, pool and max(pool >> level, 1)) for _ in range(count))
        )
        self.intro = nn.Conv2d(3, width, 3, padding=1)
        self.encoder = nn.ModuleList(stack(level, count) for level, count in enumerate(encoder))
        self.down = nn.ModuleList(nn.Conv2d(width << n, width << n + 1, 2, stride=2) for n in range(levels))
        self.middle = stack(levels, middle)
        self.up = nn.ModuleList(nn.Conv2d(width << n, width << n + 1, 1, bias=False) for n in range(levels, 0, -1))
        self.decoder = nn.ModuleList(stack(levels - n, count) for n, count in enumerate(decoder, 1))
        self.ending = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, blurry: Tensor) -> Tensor:
        """Blurry (B, 3, H, W) in [0, 1], any size, to sharp (B, 3, H, W), unclamped."""
        padded, size = pad_to_multiple(blurry, self.multiple)
        features = self.intro(padded.contiguous(memory_format=torch.channels_last))
        skips = []
        for stack, shrink in zip(self.encoder, self.down, strict=True):
            features = stack(features)
            skips.append(features)
            features = shrink(features)
        features = self.middle(features)
        for grow, stack in zip(self.up, self.decoder, strict=True):
            features = stack(skips.pop() + F.pixel_shuffle(grow(features), 2))
        return crop(padded + self.ending(features), size)


def gate(features: Tensor) -> Tensor:
    """The product of the two halves of the channels (the paper's SimpleGate): (B, 2 C, H, W) to (B, C, H, W)."""
    first, second = features.chunk(2, 1)
    return first * second
