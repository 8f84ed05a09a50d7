from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from unblur.evaluation.film_scores import REBLUR_FRAMES, reblur_rule, score, score_blurry
from unblur.exposure.average import average, frame_times
from unblur.exposure.response import Response, from_linear, to_linear
from unblur.metrics.fidelity import MAX_PSNR, psnr, ssim
from unblur.metrics.sequence import BothWays


def scene(times: Tensor, count: int = 3, side: int = 16) -> Tensor:
    """A bar whose light moves smoothly: frames at any time, (B, T, 3, side, side)."""
    x = torch.arange(side)
    phase = torch.arange(count)[:, None, None] + x / 3 - 2 * times[None, :, None]
    return from_linear(0.5 + 0.4 * torch.sin(phase))[:, :, None, None, :].expand(-1, -1, 3, side, -1)


@dataclass
class Made:
    averaged: int | None = None
    response: Response = "srgb"

    @property
    def times(self) -> Tensor:
        return frame_times(7)

    def batches(self, size: int = 4) -> Iterator[dict[str, Tensor]]:
        dense = to_linear(scene(frame_times(self.averaged or 257)))
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

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
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


class Bars:
    """Says that a frame whose left column is darker comes first."""

    def both_ways(self, frames: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        left = frames[..., 0].mean((-2, -1))
        rise = left[:, pairs[:, 1]] - left[:, pairs[:, 0]]
        return rise, -rise


def test_what_was_asked_for_is_measured_of_every_frame_and_of_the_order() -> None:
    def film(blurry: Tensor, times: Tensor) -> Tensor:
        return scene(1 - times)

    made, truth = scene(1 - frame_times(7)), scene(frame_times(7))
    metrics = {"psnr": psnr, "ssim": ssim, "lpips": lambda a, b: (a - b).abs().mean((-3, -2, -1))}
    scores = score(film, Made(), metrics=metrics, scorer=Bars())
    for name, metric in metrics.items():
        both = scores.both[name]
        assert both.forward.shape == (3, 7)
        assert torch.allclose(both.forward, metric(made, truth), atol=1e-4)
        lower = name == "lpips"
        assert torch.allclose(both.best(), BothWays.of(made, truth, metric, lower_is_better=lower).best(), atol=1e-4)
        assert both.direction().tolist() == [-1] * 3, "each metric by its own rule"
    # A film and its mirror image in time are one to p-metrics, whichever the network made.
    mirrored = score(lambda blurry, times: scene(times), Made(), metrics=metrics)
    for name in metrics:
        assert torch.allclose(scores.both[name].best(), mirrored.both[name].best(), atol=1e-4)
        assert torch.allclose(scores.both[name].best("pair"), mirrored.both[name].best("pair"), atol=1e-4)
    assert scores.order is not None
    left = made[..., 0].mean((-2, -1))
    assert scores.order.hit.shape == (3, 3)
    assert scores.order.con2.tolist() == [bool((a[6] - a[0]) * (a[5] - a[1]) > 0) for a in left]
    means = scores.summary()
    assert means["hit"] == 1
    assert means["con@3"] == pytest.approx(scores.order.con3.float().mean().item())
    assert mirrored.summary()["hit"] is None


def test_an_even_number_of_frames_has_no_middle() -> None:
    class Even(Made):
        @property
        def times(self) -> Tensor:
            return frame_times(4)

    means = score(lambda blurry, times: scene(times), Even(), scorer=Bars()).summary()
    assert means["psnr@0.5"] is None
    assert means["psnr"] > 90
    assert means["con@3"] is None
