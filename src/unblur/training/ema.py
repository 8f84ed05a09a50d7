"""The moving average of the weights, which is what is validated and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Exponential moving average of the parameters and floating buffers; counters are taken as they are.

    The decay rises as (1 + n) / (10 + n) over the first n updates up to `decay`, so that the random start is soon
    forgotten. The training itself never sees the average.

    Parameters
    ----------
    decay : float
        In [0, 1). 0 keeps the weights of the last step.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        super().__init__(multi_avg_fn=self._move)
        self.decay = decay

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the average to where the module is trained: it is made before the module gets there."""
        assert self._average_model is not None
        # Not the count of updates: to read it on a GPU is to wait for the GPU.
        self._average_model.module.to(pl_module.device)

    def _move(self, averages: list[Tensor], current: list[Tensor], _: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, current)
            return
        assert self._average_model is not None
        count = int(self._average_model.n_averaged)
        torch._foreach_lerp_(averages, current, 1 - min(self.decay, (1 + count) / (10 + count)))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the module its own weights, with which a checkpoint goes on."""

    @contextmanager
    def applied(self, module: LightningModule) -> Iterator[None]:
        """Within this context the network of `module` holds the average; afterwards its own weights again."""
        self._swap_networks(module)
        try:
            yield
        finally:
            self._swap_networks(module)

    @torch.no_grad()
    def _swap_networks(self, module: LightningModule) -> None:
        average = self._average_model
        if average is None or not average.n_averaged:
            return
        averages, own = average.module.network.state_dict(), module.network.state_dict()  # type: ignore[operator, union-attr]
        for name, value in own.items():
            kept = value.clone()
            value.copy_(averages[name])
            averages[name].copy_(kept)
