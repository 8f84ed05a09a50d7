"""Dense layers, norms and GELU for features whose channels come last, as fast as a CPU does them; and layers of them.

On GPUs, and where gradients are wanted, products and norms are as torch offers them. On CPUs the same numbers are had
in other ways (``benchmarks/maxim.py`` compares them):

* matrix products by oneDNN, on x86, which runs them at twice the speed of the library that torch takes for float32, and
  applies GELU to what is still in its registers; where gradients are wanted, as convolutions of two taps, which torch
  leaves to oneDNN too;
* norms as a few operations on whole arrays, which take half the time where channels are as few as 32, and their scales
  and shifts multiplied into what comes next;
* all of it on as many pixels at once as stay in the cache.

Multi-axis layers (MAXIM: Tu et al., CVPR 2022, section 3.2) mix positions inside blocks and across a grid. Features
are (B, H, W, C). With a size s the block axis mixes the ``s * s`` pixels of every block of ``s`` by ``s``; the grid
axis lays a grid of ``s`` by ``s`` cells on the whole picture and mixes pixels that sit at one place of every cell.
Half of the channels take the one axis, half the other. Both go strip by strip (a row of blocks; a row of pixels of
every cell), so that all between the first dense layer and the last happens in a CPU's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6
# Features for one thread to work on at once: what stays in its cache, with all that is made of them on the way.
BAND = 2**18


class Part(NamedTuple):
    """Some of the features that a dense layer sees side by side.

    What makes them may be linear too; then the dense layer's weights are multiplied with its own, and features that
    nobody else reads are never made.

    Attributes
    ----------
    channels : int
        C, of the part.
    mapped : callable
        Weights (C', C) and a bias (C',) to what they make of the part, (..., C').
    """

    channels: int
    mapped: Callable[[Tensor, Tensor], Tensor]


def part(features: Tensor) -> Part:
    """Features (..., C) that are there already."""
    return Part(features.shape[-1], partial(dense, features))


class Dense(nn.Linear):
    """A linear map of the last dimension, the channels: (..., C) to (..., C')."""

    def forward(self, features: Tensor) -> Tensor:
        return dense(features, self.weight, self.bias)

    def activated(self, features: Tensor) -> Tensor:
        """GELU of it."""
        return dense(features, self.weight, self.bias, gelu=True)

    def joined(self, parts: Iterable[Part]) -> Tensor:
        """As of the parts side by side, which are taken one at a time and never put there."""
        out, start = None, 0
        for channels, mapped in parts:
            weight = self.weight[:, start : start + channels]
            # The bias once.
            more = mapped(weight, self.bias if out is None else torch.zeros_like(self.bias))
            out = more if out is None else out.add_(more)
            start += channels
        assert out is not None
        return out


class Mix(nn.Linear):
    """A linear map of the first dimension, the positions: (P, ...) to (P', ...)."""

    def forward(self, features: Tensor) -> Tensor:
        return mix(features, self.weight).add_(self.bias.view(-1, *(1 for _ in features.shape[1:])))

    def folded(self) -> Callable[[Tensor], Tensor]:
        """Itself: it has no norms."""
        return self


class Norm(nn.LayerNorm):
    """Layer normalisation of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        if plain_only() or features.device.type != "cpu":
            return super().forward(features)
        centred, channels = _directions(features), features.shape[-1]
        return torch.addcmul(self.bias, centred, self.weight * channels**0.5, out=centred).to(features.dtype)

    def plain(self, features: Tensor) -> Tensor:
        """Of mean 0 and variance 1, before scale and shift: (..., C), strided or not, to a contiguous one."""
        if plain_only() or features.device.type != "cpu":
            return F.layer_norm(features, self.normalized_shape, eps=self.eps)
        return _directions(features, features.shape[-1] ** 0.5).to(features.dtype)

    def before(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weights (C', C) and a bias (C',) that make of `plain` what the layer makes of the norm."""
        return layer.weight * self.weight, layer.bias + layer.weight @ self.bias


def dense(features: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """``features @ weight.T + bias`` for (..., C), (C', C) and (C',), or GELU in its tanh form of that."""
    if _left_to_onednn(features):
        # Of strided ones it makes slow work.
        return _product(features.contiguous(), weight.contiguous(), bias, gelu=gelu)
    out = _convolved(features, weight, bias) if _prefers_convolution(features) else F.linear(features, weight, bias)
    return F.gelu(out, approximate="tanh") if gelu else out


def mix(features: Tensor, weight: Tensor) -> Tensor:
    """``weight @ features`` for (P, ...) and (P', P)."""
    columns = features.flatten(1)
    mixed = _product(weight, columns.T) if _left_to_onednn(features) else weight @ columns
    return mixed.view(-1, *features.shape[1:])


def plain_only() -> bool:
    """Whether arrays are as large as they get, and written once: for gradients, and for a graph to be exported."""
    return torch.is_grad_enabled() or torch.compiler.is_exporting()


def by_bands(function: Callable[..., Tensor], *features: Tensor, into: Tensor | None = None) -> Tensor:
    """``function(*features)`` for a function of single pixels, on CPUs as many at once as stay in the cache.

    Parameters
    ----------
    function : callable
        As many (N, C) as there are features to (N, C').
    *features : Tensor
        (..., C), of the same pixels.
    into : Tensor, optional
        One of them, which nobody reads later: bands may be written there, as fresh memory costs time.
    """
    if plain_only() or features[0].device.type != "cpu":
        return function(*features)
    pixels = [some.flatten(0, -2) for some in features]
    step = max(1, at_once() // features[0].shape[-1])
    out = None if into is None else into.flatten(0, -2)
    for start in range(0, len(pixels[0]), step):
        band = slice(start, start + step)
        made = function(*(some[band] for some in pixels))
        out = made.new_empty(len(pixels[0]), made.shape[-1]) if out is None else out
        out[band] = made
    assert out is not None
    return out.view(*features[0].shape[:-1], -1)


def at_once() -> int:
    """Features to work on at once, on all threads together."""
    return BAND * torch.get_num_threads()


def _directions(features: Tensor, length: float = 1.0) -> Tensor:
    """Channels (..., C) with their mean taken off, as vectors of one length, in new memory."""
    plain, channels = features.float(), features.shape[-1]
    centred = torch.sub(plain, plain.mean(-1, keepdim=True), out=plain.new_empty(features.shape))
    lengths = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    lengths = lengths.square_().add_(channels * EPSILON).rsqrt_()
    return centred.mul_(lengths if length == 1 else lengths.mul_(length))


def _left_to_onednn(features: Tensor) -> bool:
    if plain_only() or features.device.type != "cpu" or torch.compiler.is_compiling() or not _on_x86():
        return False
    numbers = _numbers(features)
    return numbers is torch.float32 or (numbers is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _product(features: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    numbers = _numbers(features)
    shift = None if bias is None else bias.to(numbers)
    activation: tuple[str, list[float], str] = ("gelu", [], "tanh") if gelu else ("none", [], "")
    return torch.ops.mkldnn._linear_pointwise(features.to(numbers), weight.to(numbers), shift, *activation)


def _prefers_convolution(features: Tensor) -> bool:
    if torch.compiler.is_exporting():
        return False
    plain = features.device.type == "cpu" and features.shape[-1] % 2 == 0 and _numbers(features) is torch.float32
    return plain and _on_x86()


def _convolved(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    channels = features.shape[-1]
    pairs = features.reshape(1, 1, -1, channels // 2).permute(0, 3, 1, 2)
    taps = weight.reshape(-1, 1, 2, channels // 2).permute(0, 3, 1, 2)
    out = F.conv2d(pairs, taps, bias, stride=(1, 2))
    return out.permute(0, 2, 3, 1).reshape(*features.shape[:-1], len(weight))


def _numbers(features: Tensor) -> torch.dtype:
    """What matrix products are made in."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype


def _on_x86() -> bool:
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX")


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
