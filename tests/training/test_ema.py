from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from unblur.training.ema import MovingAverage


class Holder(LightningModule):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class Updates:
    """An average of one network, updated as a trainer does it."""

    def __init__(self, network: nn.Module, decay: float = 0.9) -> None:
        self.module, self.average = Holder(network), MovingAverage(decay)
        self.trainer: Any = type("Steps", (), {"global_step": 0})()
        self.average.setup(self.trainer, self.module, "fit")

    def update(self) -> None:
        self.trainer.global_step += 1
        self.average.on_train_batch_end(self.trainer, self.module, None, None, 0)

    def averaged(self) -> dict[str, torch.Tensor]:
        with self.average.applied(self.module):
            return {name: value.clone() for name, value in self.module.network.state_dict().items()}


def weights(value: float) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def test_average_moves_slowly_and_forgets_the_start() -> None:
    network = weights(1.0)
    updates = Updates(network)
    updates.update()
    nn.init.constant_(network.weight, 2.0)
    updates.update()
    # The second update has the decay 2 / 11 of the warm-up.
    assert updates.averaged()["weight"].item() == pytest.approx(2 - 2 / 11)
    assert network.weight.item() == 2
    for _ in range(200):
        updates.update()
    assert updates.averaged()["weight"].item() == pytest.approx(2, abs=1e-6)


def test_late_updates_have_the_decay_asked_for() -> None:
    network = weights(0.0)
    updates = Updates(network)
    updates.update()
    updates.average._average_model.n_averaged.fill_(10**6)  # type: ignore[union-attr]
    nn.init.constant_(network.weight, 1.0)
    updates.update()
    assert updates.averaged()["weight"].item() == pytest.approx(0.1)


def test_a_step_of_several_batches_counts_once() -> None:
    network = weights(1.0)
    updates = Updates(network)
    updates.update()
    nn.init.constant_(network.weight, 2.0)
    updates.average.on_train_batch_end(updates.trainer, updates.module, None, None, 1)
    assert updates.averaged()["weight"].item() == 1


def test_the_network_gets_its_own_weights_back_after_an_error() -> None:
    network = weights(1.0)
    updates = Updates(network)
    updates.update()
    nn.init.constant_(network.weight, 5.0)
    with pytest.raises(RuntimeError), updates.average.applied(updates.module):
        raise RuntimeError
    assert network.weight.item() == 5


def test_before_the_first_step_there_is_no_average() -> None:
    updates = Updates(weights(1.0))
    nn.init.constant_(updates.module.network.weight, 5.0)  # type: ignore[arg-type]
    assert updates.averaged()["weight"].item() == 5


def test_the_end_of_a_training_leaves_its_own_weights() -> None:
    network = weights(1.0)
    updates = Updates(network)
    updates.update()
    nn.init.constant_(network.weight, 5.0)
    updates.average.on_train_end(Trainer.__new__(Trainer), updates.module)
    assert network.weight.item() == 5


def test_decay_is_checked() -> None:
    with pytest.raises(ValueError, match="decay"):
        MovingAverage(1.0)


def test_buffers_are_averaged_and_counters_are_not() -> None:
    network = nn.BatchNorm1d(2)
    updates = Updates(network)
    updates.update()
    network.running_mean.fill_(1.0)  # type: ignore[union-attr]
    network.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    assert torch.equal(updates.averaged()["running_mean"], torch.zeros(2))
    updates.update()
    assert updates.averaged()["num_batches_tracked"] == 7


def test_the_average_is_where_the_module_is_trained() -> None:
    updates = Updates(weights(1.0))
    updates.module.to("meta")
    updates.average.on_fit_start(updates.trainer, updates.module)
    average = updates.average._average_model
    assert average is not None
    assert {value.device.type for value in average.module.state_dict().values()} == {"meta"}
    assert average.n_averaged.device.type == "cpu", "its count is read at every step"
