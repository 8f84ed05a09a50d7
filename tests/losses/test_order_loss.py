import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.losses.order_loss import agreement, contrast, in_order, one_sided, order_loss


def _softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_the_paper_by_hand() -> None:
    forward, backward = torch.tensor([[1.0, 2.0, -0.5]]), torch.tensor([[-1.0, 0.5, 0.25]])
    apart = (_softplus(-1.0) + _softplus(1.0) + _softplus(-0.125)) / 3
    alike = (_softplus(-2.0) + _softplus(0.5) + _softplus(1.0)) / 3
    torch.testing.assert_close(contrast(forward, backward), torch.tensor(apart))
    torch.testing.assert_close(agreement(forward), torch.tensor(alike))
    torch.testing.assert_close(order_loss(forward, backward), torch.tensor((apart + alike) / 2))


def test_one_side_by_hand() -> None:
    scores = torch.tensor([[1.0, -2.0]])
    upper = [1 / (1 + math.exp(-s)) for s in (1.0, -2.0)]
    likelihood = upper[0] * upper[1] + (1 - upper[0]) * (1 - upper[1])
    torch.testing.assert_close(one_sided(scores), torch.tensor(-math.log(likelihood) / 2))


@given(st.integers(0, 2**31))
def test_which_side_is_free(seed: int) -> None:
    scores = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    flip = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    torch.testing.assert_close(one_sided(scores * flip), one_sided(scores))
    torch.testing.assert_close(agreement(scores * flip), agreement(scores))


def test_descending_makes_a_clip_agree() -> None:
    """Two pairs against one: the one gives way."""
    for loss in (one_sided, agreement):
        scores = torch.tensor([[1.0, 1.0, -0.5]], requires_grad=True)
        loss(scores).backward()
        assert scores.grad is not None
        assert scores.grad[0, 2] < 0
    assert one_sided(torch.full((1, 3), 20.0)) < 1e-3
    assert in_order(torch.full((3,), 20.0)) < 1e-3 < in_order(torch.full((3,), -1.0))
