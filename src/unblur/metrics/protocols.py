"""What the named protocols measure: fidelity of the frames at all times, and whether they explain the blur.

For every exposure the film is asked for the frames at the times of the truth. Its direction of time is the one with
the higher mean PSNR over these frames (see `metrics.sequence`) and holds for every number of that exposure. The film
is then averaged again, in linear light, and compared with the blurry picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unblur.exposure.average import times_of
from unblur.exposure.response import Response, to_linear
from unblur.metrics.fidelity import MAX_PSNR, psnr, ssim
from unblur.metrics.sequence import best_direction, directed
from unblur.runtime.precision import autocast

REBLUR_FRAMES = 17
"""Frames that a film is averaged from where the truth was exposed all the time (trapezoidal rule)."""

Film = Callable[[Tensor, Tensor], Tensor]
"""blurry (B, 3, H, W) and times (T,) to frames (B, T, 3, H, W)."""


class Exposures(Protocol):
    """What is measured on; see `unblur.data.val1.Exposures`."""

    @property
    def times(self) -> Tensor:
        """(T,), symmetric about 0.5."""
        ...

    @property
    def averaged(self) -> int | None:
        """How many frames were averaged; None if light was gathered all the time."""
        ...

    def batches(self, size: int = 4) -> Iterator[dict[str, Tensor]]:
        """``blurry`` (B, 3, H, W), ``frames`` (B, T, 3, H, W)."""
        ...


@dataclass(frozen=True)
class Scores:
    """Of N exposures, each with T frames, in the film's better direction.

    Attributes
    ----------
    psnr, ssim : Tensor
        (N, T), dB and at most 1.
    reblur : Tensor
        (N,) PSNR in dB of the film's mean against the blurry picture, in linear light.
    direction : Tensor
        (N,) +1, or -1 where the film runs backwards.
    """

    psnr: Tensor
    ssim: Tensor
    reblur: Tensor
    direction: Tensor

    def summary(self) -> dict[str, float]:
        """Means over the exposures: at the first, middle and last time, and over all times.

        Keys ``psnr@0``, ``psnr@0.5``, ``psnr@1``, ``psnr``, the same for ``ssim``, ``reblur``, and ``forward``: the
        share of films that run in the direction of the truth.
        """
        last = self.psnr.shape[1] - 1
        places = {"0": 0, "0.5": last // 2, "1": last}
        means: dict[str, float] = {}
        for name, values in (("psnr", self.psnr), ("ssim", self.ssim)):
            means |= {f"{name}@{time}": float(values[:, i].mean()) for time, i in places.items()}
            means[name] = float(values.mean())
        forward = (self.direction > 0).float().mean()
        return {**means, "reblur": float(self.reblur.mean()), "forward": float(forward)}


def score(
    film: Film,
    exposures: Exposures,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch_size: int = 4,
    response: Response = "srgb",
    on_batch: Callable[[int], Any] | None = None,
) -> Scores:
    """Measure a film network.

    Parameters
    ----------
    film : callable
        A network or function; a network is run in evaluation, and left as it was.
    exposures
        What to measure on, for instance a class of `unblur.data.val1.load_val1`.
    device, dtype
        Where to run, and what to cast convolutions to. Metrics are taken in float32.
    response : {"srgb", "gamma", "linear"}
        Of the exposures.
    on_batch : callable, optional
        Called with the number of exposures of each batch that is done.
    """
    device = torch.device(device)
    parts = []
    with torch.inference_mode(), _evaluation(film):
        for batch in exposures.batches(batch_size):
            blurry, truth = batch["blurry"].to(device), batch["frames"].to(device)
            again, weights = reblur_rule(exposures.averaged)
            with autocast(device, dtype):
                made = film(blurry, torch.cat((exposures.times, again)).to(device))
            frames, mean = made.float().clamp(0, 1).split((len(exposures.times), len(again)), dim=1)
            light = torch.einsum("btchw,t->bchw", to_linear(mean, response), weights.to(device))
            error = (light - to_linear(blurry, response)).square().mean((1, 2, 3))
            direction = best_direction(frames, truth)
            frames = directed(frames, direction)
            reblur = -10 * error.clamp_min(10 ** (-MAX_PSNR / 10)).log10()
            parts.append([x.cpu() for x in (psnr(frames, truth), ssim(frames, truth), reblur, direction)])
            if on_batch:
                on_batch(len(blurry))
    return Scores(*(torch.cat(column) for column in zip(*parts, strict=True)))


def score_blurry(exposures: Exposures, *, device: torch.device | str = "cpu") -> Scores:
    """What the blurry picture itself scores, taken for every frame; its `reblur` says nothing."""
    return score(lambda blurry, times: blurry[:, None].expand(-1, len(times), -1, -1, -1), exposures, device=device)


def reblur_rule(averaged: int | None) -> tuple[Tensor, Tensor]:
    """Times and weights that average a film as its exposure was: the same frames, or the trapezoidal rule."""
    if averaged is not None:
        return times_of(averaged), torch.full((averaged,), 1 / averaged)
    weights = torch.full((REBLUR_FRAMES,), 1 / (REBLUR_FRAMES - 1))
    weights[0] = weights[-1] = 0.5 / (REBLUR_FRAMES - 1)
    return times_of(REBLUR_FRAMES), weights


@contextmanager
def _evaluation(film: Film) -> Iterator[None]:
    """Put a network into evaluation, and back into training if it was."""
    if not isinstance(film, nn.Module):
        yield
        return
    was = film.training
    film.eval()
    try:
        yield
    finally:
        film.train(was)
