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
from typing import Any

import torch
from torch import Tensor, nn

from unblur.layers.dense import Dense, Mix, Norm, at_once, dense, mix, plain_only


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
        return self.folded()(features)

    def folded(self) -> Callable[[Tensor], Tensor]:
        """Itself, with its norms multiplied into what follows them: for many features in turn."""
        widen, scale = self.norm.before(self.widen), self.gate_norm.weight
        # Positions and channels commute: M (s x + b) = s (M x) + (M 1) b.
        shift = (self.mix.weight.sum(1, keepdim=True) * self.gate_norm.bias + 1 + self.mix.bias[:, None])[:, None]

        def apply(features: Tensor) -> Tensor:
            value, gate = dense(self.norm.plain(features), *widen, gelu=True).chunk(2, -1)
            gate = mix(self.gate_norm.plain(gate), self.mix.weight)
            gate = torch.addcmul(shift.to(gate.dtype), gate, scale.to(gate.dtype))
            return self.narrow(gate.mul_(value)).add_(features)

        return apply


class MultiAxis(nn.Module):
    """A layer of which one half of the channels goes through `grid`, the other through `block`.

    Parameters
    ----------
    channels : int
    size : int
        The grid has ``size ** 2`` cells, a block as many pixels.
    axis : callable
        Makes a module that has `folded`: a function of (P, R, C) with ``P = size ** 2``.
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
        weight, shift = self.norm.before(self.widen)
        halves = zip(weight.chunk(2), shift.chunk(2), self.narrow.weight.chunk(2, 1), strict=True)
        axes: tuple[Any, ...] = ((self.grid, by_cells, self.narrow.bias), (self.block, by_blocks, None))
        for (axis, cut, bias), (widen, shift, narrow) in zip(axes, halves, strict=True):
            sources, targets, apply = cut(features, self.size), cut(out, self.size), axis.folded()
            for band in bands(sources):
                source, target = sources[band], targets[band]
                tokens = self.norm.plain(source).view(self.size**2, -1, source.shape[-1])
                made = dense(apply(dense(tokens, widen, shift, gelu=True)), narrow, bias).view(source.shape)
                if axis is self.block:
                    target += made
                elif self.residual:
                    _add(made, source, target)
                else:
                    target.copy_(made)
        return out


def _add(some: Tensor, others: Tensor, out: Tensor) -> None:
    if plain_only():
        out.copy_(some + others)
    else:
        torch.add(some, others, out=out)


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
    if torch.compiler.is_exporting():
        return [()]
    rows, columns = cut.shape[3:5]
    fitting = max(1, at_once() // cut[:, :, :, 0, 0].numel()) if cut.device.type == "cpu" else rows * columns
    high, wide = max(1, fitting // columns), min(fitting, columns)
    starts = product(range(0, rows, high), range(0, columns, wide))
    return [(*3 * (slice(None),), slice(top, top + high), slice(left, left + wide)) for top, left in starts]


class MultiAxisMlp(MultiAxis):
    """Multi-axis gMLP block, with its residual."""

    residual = True

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(channels, size, lambda: GatedMlp(channels, size**2))
