"""Channel attention: how much of each channel a picture as a whole calls for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelGate(nn.Module):
    """Channel means to channel weights: two linear maps without biases, narrow in the middle.

    Parameters
    ----------
    channels : int
    reduction : int
        The middle has ``channels // reduction`` numbers.
    slope : float
        Of the leaky ReLU between.
    """

    def __init__(self, channels: int, reduction: int = 4, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope
        self.narrow = nn.Linear(channels, channels // reduction, bias=False)
        self.widen = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, means: Tensor) -> Tensor:
        """(B, C) to weights in [0, 1] as (B, C, 1, 1), ready to multiply features."""
        return torch.sigmoid(self.widen(F.leaky_relu(self.narrow(means), self.slope)))[:, :, None, None]


def window_means(features: Tensor, window: int) -> Tensor:
    """The mean of every channel over the window around each pixel: (B, C, H, W) to the same shape, float32.

    A window that would pass the border is moved inside, so all hold as many pixels: at most ``window`` squared. Where
    both sides fit into one window the means are those of the whole picture, (B, C, 1, 1).
    """
    means = features.float()
    for axis in (-1, -2):
        means = _moving_mean(means, window, axis)
    return means


def _moving_mean(features: Tensor, window: int, axis: int) -> Tensor:
    """Along one axis, by differences of running sums: the cost does not grow with the window."""
    length = features.shape[axis]
    if torch.compiler.is_exporting():
        return _moving_mean_of_any(features, window, axis)
    if length <= window:
        return features.mean(axis, keepdim=True)
    sums = features.cumsum(axis)
    first = sums.narrow(axis, window - 1, 1)
    rest = sums.narrow(axis, window, length - window) - sums.narrow(axis, 0, length - window)
    inside = torch.cat((first, rest), axis) / window
    # Window number i covers pixels i .. i + window - 1; a pixel near the border takes the first or the last one.
    nearest = (torch.arange(length, device=features.device) - (window - 1) // 2).clamp(0, length - window)
    return inside.index_select(axis, nearest)


def _moving_mean_of_any(features: Tensor, window: int, axis: int) -> Tensor:
    """The same for a graph that must serve lines longer and shorter than the window."""
    line = torch.arange(features.shape[axis], device=features.device)
    length = line[-1] + 1
    covered = length.clamp_max(window)
    first = (line - (covered - 1) // 2).clamp_min(0).minimum(length - covered)
    sums = F.pad(features.cumsum(axis).movedim(axis, -1), (1, 0)).movedim(-1, axis)
    return (sums.index_select(axis, first + covered) - sums.index_select(axis, first)) / covered
