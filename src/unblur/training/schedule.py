"""How the learning rate changes, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the training, as a factor of its highest value.

    Attributes
    ----------
    shape : {"cosine", "exponential", "constant", "restarts"}
        Cosine falls to `floor` at the last step; exponential multiplies by `decay` every `every` steps; restarts is a
        cosine in each of the `periods` (Loshchilov and Hutter, 2017), at its highest where one begins.
    warmup : int
        Steps over which the factor rises from 0 to 1, linearly.
    floor : float
        The least factor.
    decay : float
        Factor per `every` steps, exponential only.
    every : int
        Steps, exponential only: 1500 are an epoch of 12000 samples in batches of 8.
    periods : list of int
        Steps of each, restarts only; the defaults are those of Blur Kernel Space. After the last the factor is `floor`.
    """

    shape: Literal["cosine", "exponential", "constant", "restarts"] = "cosine"
    warmup: int = 500
    floor: float = 0.01
    decay: float = 0.99
    every: int = 1500
    periods: list[int] = field(default_factory=lambda: [50_000, 100_000, 150_000, 150_000, 150_000])

    def __post_init__(self) -> None:
        if self.shape == "restarts" and (not self.periods or min(self.periods) < 1):
            raise ValueError(f"schedule.periods must be numbers of steps, got {self.periods}")

    def factor(self, step: int, steps: int) -> float:
        """The factor at `step`, counted from 0, of a training of `steps`."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        if self.shape == "constant":
            return rise
        if self.shape == "exponential":
            return rise * max(self.floor, self.decay ** (step // self.every))
        if self.shape == "restarts":
            return rise * self._cosine(self._share_of_period(step))
        done = min(1.0, max(0.0, (step - self.warmup) / max(1, steps - self.warmup)))
        return rise * self._cosine(done)

    def _cosine(self, done: float) -> float:
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2

    def _share_of_period(self, step: int) -> float:
        for period in self.periods:
            if step < period:
                return step / period
            step -= period
        return 1.0
