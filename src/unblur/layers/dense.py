"""Dense layers over channels and over positions, as fast as a processor allows.

Both are matrix products. On an x86 CPU in float32 they are written as convolutions of two taps, which oneDNN runs at
twice the speed of the matrix product that torch takes otherwise (and as fast where that one is fast); see
``benchmarks/maxim.py``. Everywhere else they are plain matrix products.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# GELU's tanh form is x sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
SLOPE = 2 * (2 / torch.pi) ** 0.5
CURVE = 0.044715 * SLOPE


class Dense(nn.Linear):
    """A linear map of the last dimension, the channels: (..., C) to (..., C')."""

    def forward(self, features: Tensor) -> Tensor:
        return dense(features, self.weight, self.bias)


class Mix(nn.Linear):
    """A linear map of the second dimension, the positions: (N, P, ...) to (N, P', ...)."""

    def forward(self, features: Tensor) -> Tensor:
        return mix(features, self.weight, self.bias)


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
        mixed = weight @ features.flatten(2) + bias[:, None]
    else:
        pairs = features.reshape(batch, positions // 2, 2, -1)
        mixed = F.conv2d(pairs, weight.reshape(-1, positions // 2, 2, 1), bias)
    return mixed.reshape(batch, len(weight), *rest)


def gelu(features: Tensor) -> Tensor:
    """GELU in its tanh form (Hendrycks, Gimpel 2016)."""
    if torch.is_grad_enabled() or not _prefers_convolution(features):
        return F.gelu(features, approximate="tanh")
    # The logistic function is five times as fast as the hyperbolic tangent.
    gate = (features * features).mul_(CURVE).add_(SLOPE).mul_(features)
    return gate.sigmoid_().mul_(features)


def _prefers_convolution(features: Tensor) -> bool:
    plain = features.device.type == "cpu" and features.dtype is torch.float32
    return plain and not torch.is_autocast_enabled("cpu") and torch.backends.cpu.get_cpu_capability().startswith("AVX")
