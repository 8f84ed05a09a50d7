"""A residual network of 18 layers that tells faces apart, trained with ArcFace (Deng, Guo, Xue, Zafeiriou, CVPR 2019).

It takes gray pictures of 128 x 128 pixels: the one whose weights came with GFPGAN (Wang, Li, Zhang, Shan, CVPR 2021).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 128
WIDTHS = (64, 128, 256, 512)
GRAY = (0.2989, 0.5870, 0.1140)


class Block(nn.Module):
    """Normalised before and after its convolutions, which is the "improved" residual block of the paper."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        inner = self.prelu(self.bn1(self.conv1(self.bn0(features))))
        skip = features if self.downsample is None else self.downsample(features)
        out: Tensor = self.prelu(self.bn2(self.conv2(inner)) + skip)
        return out


class ArcFaceNet(nn.Module):
    """Embeddings of faces: 512 numbers, of which the direction counts.

    Layers have the names of the released weights.
    """

    length = 512

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU()
        before = WIDTHS[0]
        for number, width in enumerate(WIDTHS, 1):
            stack = nn.Sequential(Block(before, width, 1 if number == 1 else 2), Block(width, width, 1))
            self.add_module(f"layer{number}", stack)
            before = width
        self.bn4 = nn.BatchNorm2d(before)
        self.fc5 = nn.Linear(before * (SIDE // 16) ** 2, self.length)
        self.bn5 = nn.BatchNorm1d(self.length)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1], of faces, to (N, 512).

        The picture is made gray and 128 x 128, bilinear without smoothing, with values in [-1, 1], as in GFPGAN.
        """
        gray = torch.einsum("nchw,c->nhw", pictures, pictures.new_tensor(GRAY))[:, None]
        gray = F.interpolate(gray, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return self.embedded(2 * gray - 1)

    def embedded(self, gray: Tensor) -> Tensor:
        """Of gray pictures (N, 1, 128, 128) in [-1, 1]."""
        features = F.max_pool2d(self.prelu(self.bn1(self.conv1(gray))), 2)
        for number in range(1, len(WIDTHS) + 1):
            features = self.get_submodule(f"layer{number}")(features)
        out: Tensor = self.bn5(self.fc5(self.bn4(features).flatten(1)))
        return out
