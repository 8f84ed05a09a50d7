import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.losses.order_loss import (
    Distance,
    agreement,
    contrast,
    in_order,
    naive,
    one_sided,
    order_invariant,
    order_loss,
    order_regulariser,
)


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


DISTANCES: list[Distance] = ["l1", "mse"]


def _clip(*values: float) -> Tensor:
    """A clip whose frames are even."""
    return torch.tensor(values)[None, :, None, None, None].expand(1, -1, 3, 2, 2)


def _swapped(frames: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, frames.flip(1), frames)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(2, 8), st.booleans(), st.sampled_from(DISTANCES))
def test_blind_to_swaps_in_any_part_of_the_pixels(seed: int, count: int, released: bool, distance: Distance) -> None:
    """Why order matters: a film pieced together of both directions costs nothing."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(2, count, 3, 4, 5, generator=generator)
    other = torch.rand(2, count, 3, 4, 5, generator=generator)
    where = torch.rand(2, 1, 1, 4, 5, generator=generator) < 0.5
    options = {"distance": distance, "released": released}
    assert order_invariant(_swapped(truth, where), truth, **options) == 0
    torch.testing.assert_close(
        order_invariant(_swapped(other, where), truth, **options), order_invariant(other, truth, **options)
    )
    assert naive(_swapped(truth, where), truth) > naive(truth, truth) or not where.any()


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_sign_of_a_pair_is_told_apart_by_the_sound_form_alone(distance: Distance) -> None:
    """Of pictures less their mean, as released networks were trained with, the negative is no answer."""
    truth = torch.randn(1, 7, 3, 4, 4)
    flipped = -truth
    assert order_invariant(flipped, truth, distance=distance, released=True) == 0
    assert order_invariant(flipped, truth, distance=distance) > 0.5


def test_the_middle_frame_is_supervised_by_the_sound_form_alone() -> None:
    truth, wrong = torch.rand(1, 7, 3, 4, 4), torch.rand(1, 7, 3, 4, 4)
    wrong[:, [0, 1, 2, 4, 5, 6]] = truth[:, [0, 1, 2, 4, 5, 6]]
    assert order_invariant(wrong, truth, released=True) == 0
    middle = (wrong - truth)[:, 3]
    torch.testing.assert_close(order_invariant(wrong, truth), middle.abs().mean() / 7)
    torch.testing.assert_close(order_invariant(wrong, truth, distance="mse"), 2 * middle.square().mean() / 7)


def test_by_hand() -> None:
    truth, guess = _clip(0.1, 0.4, 0.9), _clip(0.8, 0.6, 0.3)
    # Sums 1.1 and 1.0, differences 0.5 and 0.8, the middle 0.2 off.
    torch.testing.assert_close(order_invariant(guess, truth), torch.tensor((0.1 + 0.3 + 0.2) / 3))
    torch.testing.assert_close(order_invariant(guess, truth, released=True), torch.tensor((0.1 + 0.3) / 3))
    mse = {"distance": "mse"}
    torch.testing.assert_close(order_invariant(guess, truth, **mse), torch.tensor((0.01 + 0.09 + 2 * 0.04) / 3))
    torch.testing.assert_close(order_invariant(guess, truth, **mse, released=True), torch.tensor((0.01 + 0.09) / 3))
    # Two pairs, no middle: sums 1.0 and 0.5 of the truth, 1.2 and 0.5; differences 0.8, 0.1 and 0.6, 0.3.
    four = order_invariant(_clip(0.3, 0.1, 0.4, 0.9), _clip(0.1, 0.2, 0.3, 0.9))
    torch.testing.assert_close(four, torch.tensor((0.2 + 0.2 + 0.0 + 0.2) / 4))
    expected = sum(math.hypot(d, 1e-3) for d in (0.7, 0.2, 0.6)) / 3
    torch.testing.assert_close(naive(guess, truth), torch.tensor(expected))


def test_errors_of_the_middle_count_as_those_of_a_pair() -> None:
    """The same error everywhere costs the same, with and without a middle."""
    truth = torch.rand(1, 5, 3, 4, 4)
    four = order_invariant(truth[:, :4] + 0.1, truth[:, :4])
    torch.testing.assert_close(order_invariant(truth + 0.1, truth), four)
    four = order_invariant(truth[:, :4] + 0.1, truth[:, :4], distance="mse")
    torch.testing.assert_close(order_invariant(truth + 0.1, truth, distance="mse"), four)


def test_the_regulariser_has_one_sign() -> None:
    scores = torch.tensor([[2.0, -1.0, 0.0], [0.5, 3.0, 1.0]])
    softplus = lambda x: math.log1p(math.exp(x))  # noqa: E731
    expected = sum(softplus(-x) for x in scores.flatten().tolist()) / 6
    torch.testing.assert_close(order_regulariser(scores), torch.tensor(expected))
    pushed = sum(softplus(x) for x in scores.flatten().tolist()) / 2
    torch.testing.assert_close(order_regulariser(scores, released=True), torch.tensor(pushed))
    assert order_regulariser(scores + 1) < order_regulariser(scores)
    assert order_regulariser(scores + 1, released=True) > order_regulariser(scores, released=True)


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="no such frames"):
        order_invariant(torch.rand(1, 3, 3, 4, 4), torch.rand(1, 5, 3, 4, 4))
    with pytest.raises(ValueError, match="no such frames"):
        order_invariant(torch.rand(1, 1, 3, 4, 4), torch.rand(1, 1, 3, 4, 4))
