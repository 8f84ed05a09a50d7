"""How the learning rate changes, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the training, as a factor of its highest value.

    Attributes
    ----------
    shape : {"cosine", "exponential", "constant"}
        Cosine falls to `floor` at the last step; exponential multiplies by `decay` every `every` steps.
    warmup : int
        Steps over which the factor rises from 0 to 1, linearly.
    floor : float
        The least factor.
    decay : float
        Factor per `every` steps, exponential only.
    every : int
        Steps, exponential only: 1500 are an epoch of 12000 samples in batches of 8.
    """

    shape: Literal["cosine", "exponential", "constant"] = "cosine"
    warmup: int = 500
    floor: float = 0.01
    decay: float = 0.99
    every: int = 1500

    def factor(self, step: int, steps: int) -> float:
        """The factor at `step`, counted from 0, of a training of `steps`."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        if self.shape == "constant":
            return rise
        if self.shape == "exponential":
            return rise * max(self.floor, self.decay ** (step // self.every))
        done = min(1.0, max(0.0, (step - self.warmup) / max(1, steps - self.warmup)))
        return rise * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2)
