"""How far frames are from the true ones, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "sum", "none"]


def charbonnier(a: Tensor, b: Tensor, eps: float = 1e-3, reduction: Reduction = "mean") -> Tensor:
    """A smooth absolute difference: sqrt((a - b)^2 + eps^2).

    Charbonnier et al. (1994); the terms of eq. 16 of the CFMD-GAN paper, with its eps.

    Parameters
    ----------
    a, b : Tensor
        Any shape, the same for both.
    reduction : {"mean", "sum", "none"}
        Over all elements; the mean of equal inputs is `eps`.

    Returns
    -------
    Tensor
        A scalar, or the shape of `a` for ``"none"``.
    """
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {tuple(a.shape)} and {tuple(b.shape)}")
    distance = ((a - b).square() + eps**2).sqrt()
    if reduction == "none":
        return distance
    return distance.mean() if reduction == "mean" else distance.sum()


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
