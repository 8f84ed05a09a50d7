from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from unblur.exposure.average import average, times_of
from unblur.exposure.response import from_linear, to_linear
from unblur.metrics.fidelity import MAX_PSNR, psnr
from unblur.metrics.protocols import REBLUR_FRAMES, reblur_rule, score, score_blurry


def scene(times: Tensor, count: int = 3, side: int = 16) -> Tensor:
    """A bar whose light moves smoothly: frames at any time, (B, T, 3, side, side)."""
    x = torch.arange(side)
    phase = torch.arange(count)[:, None, None] + x / 3 - 2 * times[None, :, None]
    return from_linear(0.5 + 0.4 * torch.sin(phase))[:, :, None, None, :].expand(-1, -1, 3, side, -1)


@dataclass
class Made:
    averaged: int | None = None

    @property
    def times(self) -> Tensor:
        return times_of(7)

    def batches(self, size: int = 4) -> Iterator[dict[str, Tensor]]:
        dense = to_linear(scene(times_of(self.averaged or 257)))
        weights = torch.full((dense.shape[1],), 1.0)
        if self.averaged is None:
            weights[0] = weights[-1] = 0.5
        light = torch.einsum("btchw,t->bchw", dense, weights / weights.sum())
        blurry, frames = from_linear(light), scene(self.times)
        for i in range(0, len(blurry), size):
            yield {"blurry": blurry[i : i + size], "frames": frames[i : i + size], "times": self.times}


class Perfect(nn.Module):
    """Knows the truth; runs backwards where `backwards`."""

    def __init__(self, backwards: bool = False) -> None:
        super().__init__()
        self.backwards = backwards
        self.seen: list[bool] = []

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        self.seen.append(self.training)
        return scene(1 - times if self.backwards else times)


@pytest.mark.parametrize("averaged", [None, 13])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_truth_is_perfect_in_either_direction(averaged: int | None, backwards: bool) -> None:
    scores = score(Perfect(backwards), Made(averaged))
    assert scores.psnr.shape == scores.ssim.shape == (3, 7)
    assert scores.psnr.min() > 90
    assert scores.ssim.min() > 0.9999
    assert scores.direction.tolist() == [-1 if backwards else 1] * 3
    # 17 instants stand for the exposure well enough; where 13 frames were averaged, those are.
    assert scores.reblur.min() > (90 if averaged else 65)
    assert scores.summary()["forward"] == (0 if backwards else 1)


def test_the_blurry_input_scores_as_a_still() -> None:
    scores, batch = score_blurry(Made()), next(Made().batches())
    still = psnr(batch["blurry"][:, None].expand_as(batch["frames"]), batch["frames"])
    assert torch.allclose(scores.psnr, still, atol=1e-4)
    means = scores.summary()
    assert means["psnr"] == pytest.approx(still.mean().item(), abs=1e-3)
    assert means["psnr@0"] == pytest.approx(still[:, 0].mean().item(), abs=1e-3)
    assert means["psnr@0.5"] == pytest.approx(still[:, 3].mean().item(), abs=1e-3)
    assert means["psnr@1"] == pytest.approx(still[:, 6].mean().item(), abs=1e-3)
    assert means["psnr@0.5"] > means["psnr@0"] + 3
    assert scores.reblur.min() == MAX_PSNR


def test_one_direction_for_all_numbers_of_an_exposure() -> None:
    def swapped(blurry: Tensor, times: Tensor) -> Tensor:
        frames = scene(times).clone()
        frames[:, [0, 6]] = frames[:, [6, 0]]
        return frames

    scores = score(swapped, Made())
    assert (scores.direction == 1).all()
    assert (scores.psnr[:, 0] < 30).all()


def test_a_film_that_does_not_explain_the_blur_is_found_out() -> None:
    scores = score(lambda blurry, times: scene(times) * 0.9, Made())
    assert scores.reblur.max() < 30


def test_batches_do_not_matter_and_are_counted() -> None:
    counts: list[int] = []
    film = lambda blurry, times: blurry[:, None] * times.view(-1, 1, 1, 1)  # noqa: E731
    one = score(film, Made(), batch_size=1, on_batch=counts.append)
    assert counts == [1, 1, 1]
    assert torch.allclose(one.psnr, score(film, Made(), batch_size=3).psnr, atol=1e-5)


def test_networks_are_left_as_they_were() -> None:
    for training in (True, False):
        network = Perfect().train(training)
        score(network, Made())
        assert network.seen == [False]
        assert network.training is training


def test_rules_average_as_the_exposure_did() -> None:
    times, weights = reblur_rule(5)
    frames = torch.rand(1, 5, 3, 4, 4)
    assert times.tolist() == [0, 0.25, 0.5, 0.75, 1]
    again = from_linear(torch.einsum("btchw,t->bchw", to_linear(frames), weights))
    assert torch.allclose(again, average(frames), atol=1e-5)
    times, weights = reblur_rule(None)
    assert len(times) == REBLUR_FRAMES
    assert weights.sum().item() == pytest.approx(1)
    assert (weights * times**2).sum().item() == pytest.approx(1 / 3, abs=1e-3)
