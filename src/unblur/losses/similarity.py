"""How unlike two pictures are in structure, to be made small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
"""Of values in [0, 1]."""


def dissimilarity(image: Tensor, truth: Tensor) -> Tensor:
    """1 - SSIM (Wang et al., 2004), at every pixel: the window looks beyond the rim, where all is zero.

    So it has a gradient everywhere and takes pictures of any size, as Blur Kernel Space uses it; what is reported as
    SSIM is `unblur.metrics.fidelity.ssim`, which stays inside the picture.

    Parameters
    ----------
    image, truth : Tensor
        (B, C, H, W) in [0, 1].

    Returns
    -------
    Tensor
        A scalar, 0 for equal pictures.
    """
    if image.shape != truth.shape:
        raise ValueError(f"shapes differ: {tuple(image.shape)} and {tuple(truth.shape)}")
    moments = torch.stack((image, truth, image * image, truth * truth, image * truth), 2).flatten(0, 1)
    mean_a, mean_b, square_a, square_b, product = _windowed(moments).unbind(1)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
    covariance = product - mean_a * mean_b
    spread = square_a - mean_a.square() + square_b - mean_b.square()
    return 1 - (luminance * (2 * covariance + C2) / (spread + C2)).mean()


def _windowed(moments: Tensor) -> Tensor:
    offset = torch.arange(WINDOW, dtype=moments.dtype, device=moments.device) - WINDOW // 2
    line = torch.exp(-offset.square() / (2 * SIGMA**2))
    line = (line / line.sum()).expand(moments.shape[1], 1, 1, -1)
    down = F.conv2d(moments, line.transpose(2, 3), padding=(WINDOW // 2, 0), groups=moments.shape[1])
    return F.conv2d(down, line, padding=(0, WINDOW // 2), groups=moments.shape[1])
