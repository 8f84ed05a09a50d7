import pytest
import torch
from torch import nn

from unblur.training.ema import MovingAverage


def weights(value: float) -> nn.Module:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def test_average_moves_slowly_and_forgets_the_start() -> None:
    average, network = MovingAverage(0.9), weights(1.0)
    average.update(network)
    nn.init.constant_(network.weight, 2.0)
    average.update(network)
    with average.applied(network):
        # The second update has the decay 2 / 11 of the warm-up.
        assert network.weight.item() == pytest.approx(2 - 2 / 11)
    assert network.weight.item() == 2
    for _ in range(200):
        average.update(network)
    with average.applied(network):
        assert network.weight.item() == pytest.approx(2, abs=1e-6)


def test_late_updates_have_the_decay_asked_for() -> None:
    average, network = MovingAverage(0.9), weights(0.0)
    average.update(network)
    average.updates = 10**6
    nn.init.constant_(network.weight, 1.0)
    average.update(network)
    with average.applied(network):
        assert network.weight.item() == pytest.approx(0.1)


def test_the_network_gets_its_own_weights_back_after_an_error() -> None:
    average, network = MovingAverage(0.9), weights(1.0)
    average.update(network)
    nn.init.constant_(network.weight, 5.0)
    with pytest.raises(RuntimeError), average.applied(network):
        raise RuntimeError
    assert network.weight.item() == 5


def test_state_goes_on_exactly() -> None:
    first, second, network = MovingAverage(0.9), MovingAverage(0.9), weights(1.0)
    first.update(network)
    second.load_state_dict(first.state_dict())
    nn.init.constant_(network.weight, 3.0)
    second.update(network)
    with second.applied(network):
        assert network.weight.item() == pytest.approx(3 - 2 * 2 / 11)


def test_decay_is_checked() -> None:
    with pytest.raises(ValueError, match="decay"):
        MovingAverage(1.0)


def test_buffers_are_averaged_and_counters_are_not() -> None:
    network = nn.BatchNorm1d(2)
    average = MovingAverage(0.9)
    average.update(network)
    network.running_mean.fill_(1.0)
    network.num_batches_tracked.fill_(7)
    with average.applied(network):
        assert torch.equal(network.running_mean, torch.zeros(2))
        assert network.num_batches_tracked == 7
