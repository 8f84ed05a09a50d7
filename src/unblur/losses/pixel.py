"""How far pictures are from the truth, pixel by pixel and in structure, to be made small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def charbonnier(a: Tensor, b: Tensor, eps: float = 1e-3) -> Tensor:
    """A smooth absolute difference of tensors of one shape: the mean of sqrt((a - b)^2 + eps^2), a scalar.

    Charbonnier et al. (1994); the terms of eq. 16 of the CFMD-GAN paper, with its eps.
    """
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {tuple(a.shape)} and {tuple(b.shape)}")
    return ((a - b).square() + eps**2).sqrt().mean()


def multi_scale(outputs: Sequence[Tensor], frames: Tensor, eps: float = 1e-3) -> Tensor:
    """The sum of Charbonnier means over scales: eq. 16 of the CFMD-GAN paper.

    Parameters
    ----------
    outputs : sequence of Tensor
        Each (B, T, 3, h, w), a network's frames at its scales (1/4, 1/2, 1), in any order.
    frames : Tensor
        (B, T, 3, H, W), the true frames; shrunk by area means to the size of each output.

    Returns
    -------
    Tensor
        A scalar.
    """
    if not outputs:
        raise ValueError("no outputs to compare")
    losses = [charbonnier(output, shrink(frames, output.shape[-2:]), eps) for output in outputs]
    return sum(losses[1:], start=losses[0])


def pyramid(frames: Tensor, scales: int) -> list[Tensor]:
    """Frames (B, T, 3, H, W) at 1/2^(scales-1), ..., 1/2, 1 of their size by area means, at least one pixel each."""
    height, width = frames.shape[-2:]
    return [
        shrink(frames, (max(height // 2**level, 1), max(width // 2**level, 1))) for level in range(scales - 1, -1, -1)
    ]


def shrink(frames: Tensor, size: Sequence[int]) -> Tensor:
    """Frames (B, T, 3, H, W) to (B, T, 3, *size) by means over areas."""
    if tuple(size) == tuple(frames.shape[-2:]):
        return frames
    return F.interpolate(frames.flatten(0, 1), tuple(size), mode="area").unflatten(0, frames.shape[:2])


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
