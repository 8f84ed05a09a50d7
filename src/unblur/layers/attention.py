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
