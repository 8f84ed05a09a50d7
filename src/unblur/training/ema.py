"""The moving average of the weights, which is what is validated and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn


class MovingAverage(Callback):
    """Exponential moving average of a network's parameters and floating buffers.

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
        self.decay = decay
        self.updates = 0
        self._seen = 0
        self._average: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the weights of `network`."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, current = [], []
        for name, value in _tensors(network).items():
            average = self._average.get(name)
            if average is None:
                average = value.detach().clone()
            average = self._average[name] = average.to(value.device)
            averages.append(average)
            current.append(value.detach())
        torch._foreach_lerp_(averages, current, 1 - decay)
        self.updates += 1

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Within this context `network` holds the average; afterwards its own weights again."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    @torch.no_grad()
    def _swap(self, network: nn.Module) -> None:
        if not self._average:
            return
        for name, value in _tensors(network).items():
            own = value.detach().clone()
            value.copy_(self._average[name])
            self._average[name] = own

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Update once per optimizer step."""
        if trainer.global_step > self._seen:
            self._seen = trainer.global_step
            self.update(_network(pl_module))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        self._swap(_network(pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the weights of the last step."""
        self._swap(_network(pl_module))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on exactly."""
        return {"average": self._average, "updates": self.updates, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._average = dict(state_dict["average"])
        self.updates, self._seen = state_dict["updates"], state_dict["seen"]


def _network(module: LightningModule) -> nn.Module:
    network = module.network
    if not isinstance(network, nn.Module):
        raise TypeError("the module to average has no network")
    return network


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
