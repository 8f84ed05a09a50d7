"""Metrics of clips: per frame, and blind to which way time was taken to run.

A blurry picture does not tell the direction of time, so a film that runs backwards is as right as the one that was
shot. A *p-metric* (HyperCUT, Pham et al., 2023) scores a clip in the better of its two directions; the choice is made
once per clip, for all its frames.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unblur.metrics.fidelity import psnr

Metric = Callable[[Tensor, Tensor], Tensor]
"""Two batches of pictures (..., 3, H, W) to scores (...)."""


def best_direction(frames: Tensor, truth: Tensor, metric: Metric = psnr, *, lower_is_better: bool = False) -> Tensor:
    """Which direction of time suits each clip better: +1 as it stands, -1 reversed; +1 if both are equal.

    Parameters
    ----------
    frames, truth : Tensor
        (B, T, 3, H, W) at the same times, and these symmetric about 0.5.
    metric : callable
        Compares pictures; its mean over the T frames decides.
    lower_is_better : bool
        For distances, such as LPIPS.

    Returns
    -------
    Tensor
        (B,) of +1 and -1, int64.
    """
    if frames.shape != truth.shape or frames.ndim != 5:
        raise ValueError(f"clips must be (B, T, 3, H, W) of one shape: {frames.shape}, {truth.shape}")
    gain = metric(frames.flip(1), truth).mean(1) - metric(frames, truth).mean(1)
    return torch.where((gain < 0 if lower_is_better else gain > 0), -1, 1)


def directed(frames: Tensor, direction: Tensor) -> Tensor:
    """Clips (B, T, ...) with time reversed where `direction` (B,) is -1."""
    reverse = (direction < 0).view(-1, *[1] * (frames.ndim - 1))
    return torch.where(reverse, frames.flip(1), frames)


def p_metric(frames: Tensor, truth: Tensor, metric: Metric = psnr, *, lower_is_better: bool = False) -> Tensor:
    """Scores per frame with each clip in its better direction; the mean over frames is pPSNR, pSSIM, ...

    Parameters and errors as for `best_direction`.

    Returns
    -------
    Tensor
        (B, T), in the order of the true frames.
    """
    direction = best_direction(frames, truth, metric, lower_is_better=lower_is_better)
    return metric(directed(frames, direction), truth)
