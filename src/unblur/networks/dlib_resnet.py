"""A residual network of 29 layers that tells faces apart: that of dlib (King, 2017), learned from three million faces.

Its convolutions are followed by fixed scales and shifts, into which batch normalisation was folded. Where the size is
halved nothing is padded before the convolution; what is then missing beside the halved input is zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 150
MEAN = (122.782, 117.001, 104.298)
"""Of the pictures that it learned from, in levels."""


class Scaled(nn.Module):
    """A convolution, and a scale and a shift of each channel."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, halves: bool = False) -> None:
        super().__init__()
        stride, padding = (2, 0) if halves else (1, kernel // 2)
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, h, w)."""
        return torch.addcmul(self.shift[:, None, None], self.convolution(features), self.scale[:, None, None])


class Residual(nn.Module):
    """relu(x + second(relu(first(x)))), where x may be halved and get more channels, which are zero."""

    def __init__(self, inputs: int, outputs: int, *, halves: bool = False) -> None:
        super().__init__()
        self.first = Scaled(inputs, outputs, 3, halves=halves)
        self.second = Scaled(outputs, outputs, 3)
        self.halves, self.more = halves, outputs - inputs

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, h, w)."""
        inner = self.second(F.relu(self.first(features)))
        skip = F.avg_pool2d(features, 2) if self.halves else features
        short = [wanted - there for wanted, there in zip(skip.shape[-2:], inner.shape[-2:], strict=True)]
        return F.relu(F.pad(inner, (0, short[1], 0, short[0])) + F.pad(skip, (0, 0, 0, 0, 0, self.more)))


class DlibResNet(nn.Module):
    """Embeddings of faces: 128 numbers."""

    length = 128
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None] / 255, persistent=False)
        self.intro = Scaled(3, 32, 7, halves=True)
        counts = ((32, 32, 3), (32, 64, 4), (64, 128, 3), (128, 256, 3), (256, 256, 1))
        blocks: list[nn.Module] = []
        for inputs, outputs, count in counts:
            first = Residual(inputs, outputs, halves=bool(blocks))
            blocks += [first, *(Residual(outputs, outputs) for _ in range(count - 1))]
        self.body = nn.Sequential(*blocks)
        self.outro = nn.Linear(256, self.length, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1], of faces, to (N, 128)."""
        small = F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        return self.embedded(small)

    def embedded(self, pictures: Tensor) -> Tensor:
        """Of pictures (N, 3, 150, 150) in [0, 1]."""
        features = F.max_pool2d(F.relu(self.intro(pictures - self.mean)), 3, 2)
        out: Tensor = self.outro(self.body(features).mean((-2, -1)))
        return out
