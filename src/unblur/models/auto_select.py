"""Which model, where none is named: the best one if it is quick enough, else the fast one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from unblur.models.registry import ALIASES

PATIENCE = 60.0
"""Seconds that a command may take before the fast model serves better."""

COST = {"maxim": {torch.float32: 65.0, torch.bfloat16: 50.0}, "film-small": {torch.float32: 13.0, torch.bfloat16: 11.0}}
"""Seconds of one core per megapixel, from reading to the reblur residual, in either number format; measured."""


@dataclass(frozen=True)
class Choice:
    """A model and why it was chosen.

    Attributes
    ----------
    model : str
        In `unblur.models.registry.SHIPPED`.
    reason : str
        For people, in half a line, with what to type for the other one.
    """

    model: str
    reason: str


def auto_select(sizes: Iterable[int], device: torch.device, dtype: torch.dtype, threads: int) -> Choice:
    """Choose between the best model and the fast one.

    Parameters
    ----------
    sizes : iterable of int
        Pixels of each picture; read only as far as the answer needs.
    device : torch.device
    dtype : torch.dtype
        Of the passes.
    threads : int
        Cores at work, on a CPU.

    Examples
    --------
    >>> auto_select([12_000_000], torch.device("cpu"), torch.float32, threads=2).model
    'film-small'
    """
    best, fast = ALIASES["best"], ALIASES["fast"]
    if device.type != "cpu":
        return Choice(best, "best")
    cost = COST[best].get(dtype, COST[best][torch.float32]) / 1e6 / threads
    seconds = 0.0
    for pixels in sizes:
        seconds += cost * pixels
        if seconds > PATIENCE:
            return Choice(fast, f"fast; `model=best` would take more than {PATIENCE:.0f} s")
    share = COST[best][torch.float32] / COST[fast][torch.float32]
    return Choice(best, f"best; `model=fast` takes 1/{share:.0f} of the time")
