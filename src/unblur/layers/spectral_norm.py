"""Convolutions whose largest gain is one (Miyato, Kataoka, Koyama, Yoshida, ICLR 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
