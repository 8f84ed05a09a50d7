"""The critic of CFMD-GAN: is this a true frame of that blurry picture's exposure, and of which time?

The discriminator of CFMD-GAN (Lee, Han, Heo, IEEE Access 2022), a U-Net (Schoenfeld, Schiele, Khoreva, CVPR 2020) that
judges the whole frame behind its encoder and each pixel behind its decoder. In the paper's symbols, D_enc and D_dec are
`Judged.whole` and `Judged.local`, and the auxiliary regressor Q is `Judged.time`. The largest gain of its convolutions
is one (Miyato, Kataoka, Koyama, Yoshida, ICLR 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.layers.padding import crop, pad_to_size
from unblur.networks.kinds import CriticNetwork

FIRST_ITERATIONS = 15


class SpectralConv2d(nn.Conv2d):
    """A convolution without bias whose weights, as a matrix (outputs, all else), are divided by its largest gain.

    That is the largest singular value, u' W v of two vectors that approach the singular ones by one power iteration in
    each step of training; otherwise they stay as they are. Gradients take both as constants.

    It begins with all singular values alike: most of what a random matrix passes on is far less than its largest gain,
    and many such layers in a row pass on next to nothing.

    Attributes
    ----------
    left, right : Tensor
        u (outputs,) and v (inputs * kernel^2,).
    """

    left: Tensor
    right: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=False)
        self.register_buffer("left", torch.randn(outputs))
        self.register_buffer("right", torch.zeros(self.weight[0].numel()))
        if not self.weight.is_meta:
            nn.init.orthogonal_(self.weight)
            self.iterate(FIRST_ITERATIONS)

    @torch.no_grad()
    def iterate(self, times: int = 1) -> None:
        """Bring the vectors nearer to the singular ones."""
        matrix = self.weight.flatten(1)
        left, right = self.left, self.right
        for _ in range(times):
            right = F.normalize(torch.mv(matrix.T, left), dim=0, eps=1e-12)
            left = F.normalize(torch.mv(matrix, right), dim=0, eps=1e-12)
        self.left.copy_(left)
        self.right.copy_(right)

    def normed(self) -> Tensor:
        """The weights that are applied."""
        # Vectors that autograd keeps must not change in the next step.
        left, right = self.left.clone(), self.right.clone()
        return self.weight / torch.dot(left, torch.mv(self.weight.flatten(1), right))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        # Eight bits are too few for a norm.
        with torch.autocast(features.device.type, enabled=False):
            if self.training:
                self.iterate()
            weight = self.normed()
        return F.conv2d(features, weight, None, self.stride, self.padding)


SLOPE = 0.2


class Judged(NamedTuple):
    """What a critic says of N frames of H x W.

    Attributes
    ----------
    whole : Tensor
        (N, h, w), one for 64 x 64 pixels: above 0 for true, below 0 for made; logits, in no unit and of any size.
    local : Tensor
        (N, H, W), the same for each pixel.
    time : Tensor
        (N, H, W) in [0, 1], when the frame was, as each pixel has it.
    """

    whole: Tensor
    local: Tensor
    time: Tensor

    def split(self, count: int) -> tuple[Judged, Judged]:
        """The first `count` frames, and the others."""
        return Judged(*(each[:count] for each in self)), Judged(*(each[count:] for each in self))


class CFMDCritic(nn.Module, CriticNetwork):
    """The discriminator of CFMD-GAN with its regressor of time, without the sigmoids of its two outputs.

    Parameters
    ----------
    width : int
        Channels at full size; they double with every level.
    widest : int
        But are at most so many.
    levels : int
        Sizes, each half the one before. The defaults are the released network, of 40,296,448 parameters;
        ``width=16, widest=96`` has a thirtieth of them, for CPUs.
    """

    def __init__(self, width: int = 64, widest: int = 512, levels: int = 6) -> None:
        super().__init__()
        if levels < 2 or width < 1 or widest < width:
            raise ValueError(f"no such critic: width {width}, widest {widest}, levels {levels}")
        self.arguments: dict[str, Any] = {"width": width, "widest": widest, "levels": levels}
        # What is left at the coarsest level must fill the kernel of the head.
        self.multiple, self.smallest = 2 ** (levels - 1), 2**levels
        widths = [min(width * 2**level, widest) for level in range(levels)]
        self.encoder = nn.ModuleList(_two(*pair) for pair in pairwise([6, *widths]))
        self.decoder = nn.ModuleList([_two(widths[-1], widths[-1])])
        self.decoder.extend(_two(coarse + fine, fine) for coarse, fine in pairwise(reversed(widths)))
        self.whole = _head(SpectralConv2d(widths[-1], widths[-1], 4, stride=2, padding=1))
        self.local = _head(SpectralConv2d(width, width, 1))
        self.time = _head(SpectralConv2d(width, width, 1))

    def forward(self, frame: Tensor, blurry: Tensor) -> Judged:
        """Frames and the blurry pictures that they are to be of, two (N, 3, H, W) in [0, 1] of any size."""
        height, width = frame.shape[-2:]
        sides = [max(self.smallest, side + -side % self.multiple) for side in (height, width)]
        features = pad_to_size(torch.cat((frame, blurry), 1), *sides)
        seen: list[Tensor] = []
        for level in self.encoder:
            features = level(F.avg_pool2d(features, 2) if seen else features)
            seen.append(features)
        whole = self.whole(features)
        features = self.decoder[0](features)
        for level, fine in zip(self.decoder[1:], reversed(seen[:-1]), strict=True):
            features = level(torch.cat((_enlarged(features, fine.shape[-2:]), fine), 1))
        local, time = (crop(head(features)[:, 0], (height, width)) for head in (self.local, self.time))
        # Eight bits are too few for times.
        return Judged(whole[:, 0].float(), local.float(), time.float().sigmoid())


def _two(inputs: int, outputs: int) -> nn.Sequential:
    first, second = SpectralConv2d(inputs, outputs, 3, padding=1), SpectralConv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.LeakyReLU(SLOPE), second, nn.LeakyReLU(SLOPE))


def _head(first: SpectralConv2d) -> nn.Sequential:
    return nn.Sequential(first, nn.LeakyReLU(SLOPE), SpectralConv2d(first.out_channels, 1, 1))


def _enlarged(features: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(features, tuple(size), mode="bilinear", align_corners=True)
