"""Multi-axis layers (MAXIM: Tu et al., CVPR 2022, section 3.2): positions mixed inside blocks and across a grid.

Features are (B, H, W, C). With a size s the block axis mixes the ``s * s`` pixels of every block of ``s`` by ``s``; the
grid axis lays a grid of ``s`` by ``s`` cells on the whole picture and mixes pixels that sit at one place of every cell.
Half of the channels take the one axis, half the other.

Both go strip by strip (a row of blocks; a row of pixels of every cell), so that all between the first dense layer and
the last happens in a CPU's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn

from unblur.layers.dense import BAND, Dense, Mix, Norm, dense, mix


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
        """(P, R, C), P the positions that are mixed, to the same shape."""
        value, gate = self.widen.activated(self.norm(features)).chunk(2, -1)
        gate = mix(self.gate_norm(gate), self.mix.weight).add_(1 + self.mix.bias[:, None, None])
        return self.narrow(gate.mul_(value)).add_(features)


class MultiAxis(nn.Module):
    """A layer of which one half of the channels goes through `grid`, the other through `block`.

    Parameters
    ----------
    channels : int
    size : int
        The grid has ``size ** 2`` cells, a block as many pixels.
    axis : callable
        Makes a module of (P, R, C) with ``P = size ** 2``.
    """

    residual = False

    def __init__(self, channels: int, size: int, axis: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.size = size
        self.norm = Norm(channels)
        self.widen = Dense(channels, 2 * channels)
        self.grid, self.block = axis(), axis()
        self.narrow = Dense(2 * channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C), sides multiples of `size`, to the same shape."""
        out = torch.empty_like(features, memory_format=torch.contiguous_format)
        halves = zip(self.widen.weight.chunk(2), self.widen.bias.chunk(2), self.narrow.weight.chunk(2, 1), strict=True)
        axes = ((self.grid, by_cells), (self.block, by_blocks))
        for (axis, cut), (widen, shift, narrow) in zip(axes, halves, strict=True):
            sources, targets = cut(features, self.size), cut(out, self.size)
            for band in bands(sources):
                tokens = sources[band].reshape(self.size**2, -1, sources.shape[-1])
                made = dense(axis(dense(self.norm(tokens), widen, shift, gelu=True)), narrow)
                if axis is self.grid:
                    made = made.add_(self.narrow.bias)
                    targets[band] = (made.add_(tokens) if self.residual else made).view(targets[band].shape)
                else:
                    targets[band] += made.view(targets[band].shape)
        return out


def by_cells(features: Tensor, size: int) -> Tensor:
    """What the grid mixes first: (B, H, W, C) as (size, size, B, H / size, W / size, C), by cell, then pixel in it."""
    batch, height, width, channels = features.shape
    cut = features.view(batch, size, height // size, size, width // size, channels)
    return cut.permute(1, 3, 0, 2, 4, 5)


def by_blocks(features: Tensor, size: int) -> Tensor:
    """What blocks mix first: (B, H, W, C) as (size, size, B, H / size, W / size, C), by pixel, then block."""
    batch, height, width, channels = features.shape
    cut = features.view(batch, height // size, size, width // size, size, channels)
    return cut.permute(2, 4, 0, 1, 3, 5)


def bands(cut: Tensor) -> list[tuple[slice, ...]]:
    """What to work on at once: as much as fits into the cache, or all where there is none to speak of."""
    rows, columns = cut.shape[3:5]
    fitting = max(1, BAND // cut[:, :, :, 0, 0].numel()) if cut.device.type == "cpu" else rows * columns
    high, wide = max(1, fitting // columns), min(fitting, columns)
    starts = product(range(0, rows, high), range(0, columns, wide))
    return [(*3 * (slice(None),), slice(top, top + high), slice(left, left + wide)) for top, left in starts]


class MultiAxisMlp(MultiAxis):
    """Multi-axis gMLP block, with its residual."""

    residual = True

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(channels, size, lambda: GatedMlp(channels, size**2))
