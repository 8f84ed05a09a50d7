"""Multi-axis layers (MAXIM: Tu et al., CVPR 2022, section 3.2): positions mixed inside blocks and across a grid.

Features are (B, H, W, C). With a size s the block axis mixes the ``s * s`` pixels of every block of ``s`` by ``s``; the
grid axis lays a grid of ``s`` by ``s`` cells on the whole picture and mixes pixels that sit at one place of every cell.
Half of the channels take the one axis, half the other.

Both go strip by strip (a row of blocks; a row of pixels of every cell), so that all between the first dense layer and
the last happens in a CPU's cache.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unblur.layers.dense import BAND, Dense, Mix, Norm, dense, gelu, mix


class GatedMlp(nn.Module):
    """Block or grid gMLP layer: one half of the channels, mixed over the positions, gates the other."""

    def __init__(self, channels: int, positions: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.widen = Dense(channels, 2 * channels)
        self.gate_norm = Norm(channels)
        self.mix = Mix(positions, positions)
        self.narrow = Dense(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(N, P, R, C), P the positions that are mixed, to the same shape."""
        value, gate = gelu(self.widen(self.norm(features))).chunk(2, -1)
        gate = mix(self.gate_norm(gate), self.mix.weight, self.mix.bias + 1)
        return self.narrow(value * gate).add_(features)


class MultiAxis(nn.Module):
    """A layer of which one half of the channels goes through `grid`, the other through `block`.

    Parameters
    ----------
    channels : int
    size : int
        The grid has ``size ** 2`` cells, a block as many pixels.
    axis : callable
        Makes a module of (N, P, R, C) with ``P = size ** 2``.
    """

    def __init__(self, channels: int, size: int, axis: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.size = size
        self.norm = Norm(channels)
        self.widen = Dense(channels, 2 * channels)
        self.grid, self.block = axis(), axis()
        self.narrow = Dense(2 * channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C), sides multiples of `size`, to the same shape."""
        out = self.narrow.bias.to(features.dtype).expand(features.shape)
        return self.add_to(out.clone(memory_format=torch.contiguous_format), features)

    def add_to(self, out: Tensor, features: Tensor) -> Tensor:
        """Add to `out`, in place, what the layer makes of the features but for the bias."""
        halves = zip(self.widen.weight.chunk(2), self.widen.bias.chunk(2), self.narrow.weight.chunk(2, 1), strict=True)
        axes = ((self.grid, grid_strips), (self.block, block_strips))
        for (axis, strips), (widen, shift, narrow) in zip(axes, halves, strict=True):
            sources, targets = strips(features, self.size), strips(out, self.size)
            for band in bands(sources):
                tokens = sources[band].reshape(-1, self.size**2, *sources.shape[-2:])
                tokens = axis(gelu(dense(self.norm(tokens), widen, shift)))
                targets[band] += dense(tokens, narrow).view(targets[band].shape)
        return out


def grid_strips(features: Tensor, size: int) -> Tensor:
    """What the grid mixes, (B, H, W, C) as (H / size, B, size, size, W / size, C): a row of pixels of every cell."""
    batch, height, width, channels = features.shape
    cut = features.view(batch, size, height // size, size, width // size, channels)
    return cut.permute(2, 0, 1, 3, 4, 5)


def block_strips(features: Tensor, size: int) -> Tensor:
    """What blocks mix, (B, H, W, C) as (H / size, B, size, size, W / size, C): a row of blocks."""
    batch, height, width, channels = features.shape
    cut = features.view(batch, height // size, size, width // size, size, channels)
    return cut.permute(1, 0, 2, 4, 3, 5)


def bands(strips: Tensor) -> list[slice]:
    """Strips to work on at once: as many as fit into the cache, or all where there is none to speak of."""
    step = max(1, BAND // strips[0].numel()) if strips.device.type == "cpu" else len(strips)
    return [slice(start, start + step) for start in range(0, len(strips), step)]


class MultiAxisMlp(MultiAxis):
    """Multi-axis gMLP block, with its residual."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(channels, size, lambda: GatedMlp(channels, size**2))

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        return self.add_to(features + self.narrow.bias.to(features.dtype), features)
