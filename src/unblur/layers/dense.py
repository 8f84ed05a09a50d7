"""Dense layers, norms and GELU for features whose channels come last, as fast as a CPU does them.

On GPUs, and where gradients are wanted, all is as torch offers it. On CPUs the same numbers are had in other ways
(``benchmarks/maxim.py`` compares them):

* matrix products in float32, on x86, as convolutions of two taps: oneDNN runs these at twice the speed of the library
  that torch takes for the product itself;
* norms as a few operations on whole arrays, which take half the time where channels are as few as 32;
* GELU by the logistic function, which is several times as fast as the hyperbolic tangent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6
# GELU's tanh form is x sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
SLOPE = 2 * (2 / torch.pi) ** 0.5
CURVE = 0.044715 * SLOPE
# Features to work on at once: what stays in a CPU's cache.
BAND = 2**19


class Dense(nn.Linear):
    """A linear map of the last dimension, the channels: (..., C) to (..., C')."""

    def forward(self, features: Tensor) -> Tensor:
        return dense(features, self.weight, self.bias)

    def joined(self, parts: Iterable[Tensor]) -> Tensor:
        """As of the parts (..., C) side by side, which are taken one at a time and never put there."""
        out, start = None, 0
        for part in parts:
            weight = self.weight[:, start : start + part.shape[-1]]
            out = dense(part, weight, self.bias) if out is None else out.add_(dense(part, weight))
            start += part.shape[-1]
        assert out is not None
        return out


class Mix(nn.Linear):
    """A linear map of the second dimension, the positions: (N, P, ...) to (N, P', ...)."""

    def forward(self, features: Tensor) -> Tensor:
        return mix(features, self.weight, self.bias)


class Norm(nn.LayerNorm):
    """Layer normalisation of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        if torch.is_grad_enabled() or features.device.type != "cpu":
            return super().forward(features)
        plain = features.float()
        centred = plain - plain.mean(-1, keepdim=True)
        variance = torch.linalg.vector_norm(centred, dim=-1, keepdim=True).square_().div_(features.shape[-1])
        normal = centred.mul_(variance.add_(EPSILON).rsqrt_()).mul_(self.weight).add_(self.bias)
        return normal.to(features.dtype)


def dense(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``features @ weight.T + bias`` for (..., C), (C', C) and (C',)."""
    channels = features.shape[-1]
    if channels % 2 or not _prefers_convolution(features):
        return F.linear(features, weight, bias)
    pairs = features.reshape(1, 1, -1, channels // 2).permute(0, 3, 1, 2)
    taps = weight.reshape(-1, 1, 2, channels // 2).permute(0, 3, 1, 2)
    out = F.conv2d(pairs, taps, bias, stride=(1, 2))
    return out.permute(0, 2, 3, 1).reshape(*features.shape[:-1], len(weight))


def mix(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``weight @ features + bias`` for every (P, R) of (N, P, ...), with (P', P) and (P',)."""
    batch, positions, *rest = features.shape
    if positions % 2 or not _prefers_convolution(features):
        mixed = torch.baddbmm(bias[:, None], weight.expand(batch, -1, -1), features.flatten(2))
    else:
        pairs = features.reshape(batch, positions // 2, 2, -1)
        mixed = F.conv2d(pairs, weight.reshape(-1, positions // 2, 2, 1), bias)
    return mixed.reshape(batch, len(weight), *rest)


def gelu(features: Tensor) -> Tensor:
    """GELU in its tanh form (Hendrycks, Gimpel 2016)."""
    if torch.is_grad_enabled() or features.device.type != "cpu":
        return F.gelu(features, approximate="tanh")
    plain = features.float()
    gate = torch.addcmul(plain.new_tensor(SLOPE), plain, plain, value=CURVE)
    return gate.mul_(plain).sigmoid_().mul_(plain).to(features.dtype)


def by_bands(function: Callable[..., Tensor], *features: Tensor) -> Tensor:
    """``function(*features)`` for a function of single pixels, on CPUs as many at once as stay in the cache.

    Parameters
    ----------
    function : callable
        As many (N, C) as there are features to (N, C').
    *features : Tensor
        (..., C), of the same pixels.
    """
    if torch.is_grad_enabled() or features[0].device.type != "cpu":
        return function(*features)
    pixels = [some.flatten(0, -2) for some in features]
    out, step = None, max(1, BAND // features[0].shape[-1])
    for start in range(0, len(pixels[0]), step):
        band = slice(start, start + step)
        made = function(*(some[band] for some in pixels))
        out = made.new_empty(len(pixels[0]), made.shape[-1]) if out is None else out
        out[band] = made
    assert out is not None
    return out.view(*features[0].shape[:-1], -1)


def _prefers_convolution(features: Tensor) -> bool:
    plain = features.device.type == "cpu" and features.dtype is torch.float32
    return plain and not torch.is_autocast_enabled("cpu") and torch.backends.cpu.get_cpu_capability().startswith("AVX")
