from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.metrics.fidelity import psnr, ssim
from unblur.metrics.sequence import (
    BothWays,
    Order,
    best_direction,
    centre_scores,
    compare_pairs,
    directed,
    film_scores,
    wanted_pairs,
)
from unblur.networks.hypercut import HyperCUT


def clips(seed: int, b: int = 3, t: int = 5, side: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(b, t, 3, side, side, generator=generator)
    return (truth + 0.3 * torch.randn(truth.shape, generator=generator)).clamp(0, 1), truth


def distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean((-3, -2, -1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(2, 6), st.sampled_from(["clip", "pair"]))
def test_the_better_direction_does_not_care_for_the_direction_of_the_prediction(
    seed: int, b: int, t: int, per: Any
) -> None:
    frames, truth = clips(seed, b, t)
    for metric in (psnr, ssim, distance):
        both, other = (
            BothWays.of(film, truth, metric, lower_is_better=metric is distance) for film in (frames, frames.flip(1))
        )
        assert torch.equal(both.best(per), other.best(per))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 7))
def test_a_choice_for_each_pair_is_never_worse_than_one_for_the_clip(seed: int, t: int) -> None:
    frames, truth = clips(seed, 2, t)
    swapped = torch.rand(t, generator=torch.Generator().manual_seed(seed)) > 0.5
    frames[:, swapped] = frames.flip(1)[:, swapped]
    for metric, sign in ((psnr, 1), (distance, -1)):
        both = BothWays.of(frames, truth, metric, lower_is_better=sign < 0)
        plain, clip, pair = (sign * scores.mean(1) for scores in (both.forward, both.best(), both.best("pair")))
        assert (clip >= plain - 1e-6).all()
        assert (pair >= clip - 1e-6).all()
        assert torch.equal(both.direction("pair"), both.direction("pair").flip(1)), "both frames of a pair are turned"


def test_both_frames_of_a_pair_decide_together() -> None:
    both = BothWays(torch.tensor([[10.0, 0.0, 3.0]]), torch.tensor([[9.0, 0.0, 9.0]]))
    assert both.direction("pair").tolist() == [[-1, 1, -1]]
    assert both.best("pair").tolist() == [[9, 0, 9]]


def test_each_clip_has_its_own_direction() -> None:
    frames, truth = clips(1)
    frames[1] = frames[1].flip(0)
    assert best_direction(frames, truth).tolist() == [1, -1, 1]
    scores = BothWays.of(frames, truth).best()
    assert scores.shape == (3, 5)
    assert torch.equal(scores[1], psnr(frames[1].flip(0), truth[1]))
    assert torch.equal(
        directed(frames, torch.tensor([1, -1, 1])), torch.stack((frames[0], frames[1].flip(0), frames[2]))
    )


def test_the_choice_is_one_per_clip_not_one_per_frame() -> None:
    truth = torch.stack([torch.full((3, 12, 12), x) for x in (0.0, 0.25, 0.5, 0.75, 1.0)])[None]
    frames = truth.clone()
    frames[:, 0], frames[:, 4] = 0.6, 0.4  # the ends alone would be better reversed
    scores = BothWays.of(frames, truth).best()
    assert scores[0, 1:4].tolist() == [100.0] * 3
    assert (scores[0, [0, 4]] < psnr(frames.flip(1), truth)[0, [0, 4]]).all()


def test_at_least_the_plain_metric_and_equal_for_copies() -> None:
    frames, truth = clips(2)
    assert (BothWays.of(frames, truth).best().mean(1) >= psnr(frames, truth).mean(1)).all()
    still = frames[:, :1].expand_as(frames)
    assert best_direction(still, truth).tolist() == [1, 1, 1]


def test_distances_are_minimised() -> None:
    frames, truth = clips(3)
    assert best_direction(frames.flip(1), truth, distance, lower_is_better=True).tolist() == [-1, -1, -1]
    assert torch.equal(
        BothWays.of(frames.flip(1), truth, distance, lower_is_better=True).best(), distance(frames, truth)
    )


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        best_direction(torch.zeros(1, 3, 3, 4, 4), torch.zeros(1, 2, 3, 4, 4))


def test_pairs_that_are_swapped_alone_are_found_alone() -> None:
    frames, truth = clips(4, b=2, t=7)
    mixed = frames.clone()
    mixed[0, [0, 6]], mixed[1, [1, 5]] = frames[0, [6, 0]], frames[1, [5, 1]]
    both = BothWays.of(mixed, truth)
    assert both.direction().tolist() == [1, 1]
    assert both.direction("pair").tolist() == [[-1, 1, 1, 1, 1, 1, -1], [1, -1, 1, 1, 1, -1, 1]]
    assert torch.equal(both.best("pair"), psnr(frames, truth))


class Brighter:
    """Says that time runs from dark to bright, and adds what is not antisymmetric."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def both_ways(self, frames: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        light = frames.mean((-3, -2, -1))
        rise = light[:, pairs[:, 1]] - light[:, pairs[:, 0]]
        return self.offset + rise, self.offset - rise


def grey(*levels: float) -> Tensor:
    return torch.tensor(levels)[None, :, None, None, None].expand(1, -1, 3, 8, 8)


def test_hit_and_con_of_a_prediction() -> None:
    rising = Order.of(grey(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), Brighter())
    assert rising.hit.tolist() == [[True, True, True]]
    assert (rising.con2.tolist(), rising.con3.tolist()) == ([True], [True])
    inner = Order.of(grey(0, 0.1, 0.4, 0.3, 0.2, 0.5, 0.6), Brighter())
    assert (inner.con2.tolist(), inner.con3.tolist()) == ([True], [False])
    biased = Order.of(grey(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), Brighter(0.3))
    assert biased.hit.tolist() == [[True, True, False]]


@pytest.mark.parametrize(("form", "passes"), [("antisymmetric", 1), ("offset", 2)])
def test_a_score_that_turns_with_the_pair_is_computed_once(
    form: Any, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, scored = HyperCUT(4, 4, 1, form=form), []
    monkeypatch.setattr(network, "pairs", lambda *given: scored.append(given) or HyperCUT.pairs(network, *given))
    order = Order.of(torch.rand(1, 7, 3, 64, 64), network)
    assert len(scored) == passes
    assert order.hit.shape == (1, 3)


def test_few_frames_make_few_pairs() -> None:
    assert Order.of(grey(0, 0.5), Brighter())[1:] == (None, None)
    five = Order.of(grey(0, 0.1, 0.2, 0.3, 0.4), Brighter())
    assert five.con2.tolist() == [True]
    assert five.con3 is None


def reordered_clips(seed: int, count: int = 5, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, batch, count, 3, 6, 6, generator=generator)


@given(st.permutations(range(5)), st.permutations(range(5)), st.booleans())
def test_orders_are_those_of_frames_that_are_sorted_first(first: list[int], second: list[int], lower: bool) -> None:
    made, truth = reordered_clips(1)
    orders = [torch.tensor([first, second]), torch.tensor([second, list(range(5))])]
    compared = compare_pairs(made, truth, wanted_pairs(5, *orders), psnr)
    for order in orders:
        sorted_truth = truth[torch.arange(2)[:, None], order]
        expected = BothWays.of(made, sorted_truth, lower_is_better=lower)
        found = film_scores(compared, order, lower_is_better=lower)
        assert torch.allclose(found.forward, expected.forward)
        assert torch.allclose(found.backward, expected.backward)
        assert torch.allclose(found.best(), expected.best())
        assert torch.allclose(centre_scores(compared, order), psnr(made[:, 2], sorted_truth[:, 2]))


def test_each_pair_is_compared_once() -> None:
    made, truth = reordered_clips(2)
    seen: list[int] = []

    def metric(image: Tensor, other: Tensor) -> Tensor:
        seen.append(len(image))
        return psnr(image, other)

    time = torch.arange(5).expand(2, 5)
    compared = compare_pairs(made, truth, wanted_pairs(5, time, time), metric)
    # Forward and backward, which share the middle.
    assert sum(seen) == 2 * 9
    assert compared.isfinite().sum() == 18


def test_one_picture_stands_for_all() -> None:
    made, truth = reordered_clips(3)
    orders = torch.tensor([[4, 0, 1, 2, 3], [0, 1, 2, 3, 4]])
    compared = compare_pairs(made[:, :1], truth, wanted_pairs(1, orders), psnr)
    assert compared.shape == (2, 1, 5)
    both = film_scores(compared, orders)
    assert torch.allclose(both.forward.mean(1), psnr(made[:, :1].expand_as(truth), truth).mean(1))
    assert torch.allclose(centre_scores(compared, orders)[0], psnr(made[0, 0], truth[0, 1]))
