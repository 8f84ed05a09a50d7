from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.metrics.fidelity import psnr, ssim
from unblur.metrics.sequence import best_direction, directed, p_metric


def clips(seed: int, b: int = 3, t: int = 5, side: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(b, t, 3, side, side, generator=generator)
    return (truth + 0.3 * torch.randn(truth.shape, generator=generator)).clamp(0, 1), truth


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(2, 6))
def test_p_metric_does_not_care_for_the_direction_of_the_prediction(seed: int, b: int, t: int) -> None:
    frames, truth = clips(seed, b, t)
    for metric in (psnr, ssim):
        assert torch.equal(p_metric(frames, truth, metric), p_metric(frames.flip(1), truth, metric))


def test_each_clip_has_its_own_direction() -> None:
    frames, truth = clips(1)
    frames[1] = frames[1].flip(0)
    assert best_direction(frames, truth).tolist() == [1, -1, 1]
    scores = p_metric(frames, truth)
    assert scores.shape == (3, 5)
    assert torch.equal(scores[1], psnr(frames[1].flip(0), truth[1]))
    assert torch.equal(
        directed(frames, torch.tensor([1, -1, 1])), torch.stack((frames[0], frames[1].flip(0), frames[2]))
    )


def test_the_choice_is_one_per_clip_not_one_per_frame() -> None:
    truth = torch.stack([torch.full((3, 12, 12), x) for x in (0.0, 0.25, 0.5, 0.75, 1.0)])[None]
    frames = truth.clone()
    frames[:, 0], frames[:, 4] = 0.6, 0.4  # the ends alone would be better reversed
    scores = p_metric(frames, truth)
    assert scores[0, 1:4].tolist() == [100.0] * 3
    assert (scores[0, [0, 4]] < psnr(frames.flip(1), truth)[0, [0, 4]]).all()


def test_at_least_the_plain_metric_and_equal_for_copies() -> None:
    frames, truth = clips(2)
    assert (p_metric(frames, truth).mean(1) >= psnr(frames, truth).mean(1)).all()
    still = frames[:, :1].expand_as(frames)
    assert best_direction(still, truth).tolist() == [1, 1, 1]


def test_distances_are_minimised() -> None:
    frames, truth = clips(3)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean((-3, -2, -1))

    assert best_direction(frames.flip(1), truth, distance, lower_is_better=True).tolist() == [-1, -1, -1]
    assert torch.equal(p_metric(frames.flip(1), truth, distance, lower_is_better=True), distance(frames, truth))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        best_direction(torch.zeros(1, 3, 3, 4, 4), torch.zeros(1, 2, 3, 4, 4))
