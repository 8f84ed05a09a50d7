"""Dense layers, norms and GELU for features whose channels come last, as fast as a CPU does them.

On GPUs, and where gradients are wanted, products and norms are as torch offers them. On CPUs the same numbers are had
in other ways (``benchmarks/maxim.py`` compares them):

* matrix products by oneDNN, on x86, which runs them at twice the speed of the library that torch takes for float32, and
  applies GELU to what is still in its registers; where gradients are wanted, as convolutions of two taps, which torch
  leaves to oneDNN too;
* norms as a few operations on whole arrays, which take half the time where channels are as few as 32, and their scales
  and shifts multiplied into what comes next;
* all of it on as many pixels at once as stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

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
