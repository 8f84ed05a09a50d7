from __future__ import annotations

import pytest
import torch
from torch import nn

from unblur.training import muon
from unblur.training.muon import Muon, orthogonalise, split


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 40, 3), nn.Conv2d(40, 3, 1))


def stepped(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> nn.Module:
    picture = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        network(picture).square().mean().backward()
        optimizer.step()
    return network


def test_inner_convolutions_are_hidden() -> None:
    hidden, rest = split(network())
    assert [tuple(weight.shape) for weight in hidden] == [(40, 32, 3, 3)]
    assert len(rest) == 5


def test_the_rest_is_trained_as_by_adamw() -> None:
    """With nothing hidden, it is AdamW without decay."""
    ours, theirs = network(), network()
    stepped(ours, Muon([], ours.parameters(), lr=1e-2, betas=(0.9, 0.99)))
    stepped(theirs, torch.optim.AdamW(theirs.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0))
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


@pytest.mark.parametrize("shape", [(32, 96), (96, 32)])
def test_singular_values_end_up_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_float32_where_bfloat16_is_slow(monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(muon, "has_fast_bfloat16", lambda device: fast)
    assert orthogonalise(torch.eye(4)).dtype == dtype


def test_a_hidden_update_is_the_same_as_of_torch() -> None:
    """`torch.optim.Muon` of the same matrix; it computes in bfloat16."""
    gradient = torch.randn(48, 32, generator=torch.Generator().manual_seed(2))
    ours, theirs = nn.Parameter(torch.zeros(48, 32)), nn.Parameter(torch.zeros(48, 32))
    optimizers = Muon([ours], [], lr=1e-2, ratio=1.0), torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.0)
    for _ in range(2):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)
    assert ours.abs().max() > 2e-3


def test_a_resumed_optimizer_goes_on_exactly() -> None:
    whole, parts = network(), network()
    stepped(whole, Muon(*split(whole), lr=1e-2), steps=4)
    first = Muon(*split(parts), lr=1e-2)
    stepped(parts, first, steps=2)
    second = Muon(*split(parts), lr=1.0)
    second.load_state_dict(first.state_dict())
    stepped(parts, second, steps=2)
    assert all(map(torch.equal, whole.parameters(), parts.parameters()))
