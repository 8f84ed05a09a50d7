"""What is measured of films: fidelity of the frames at all times, and whether they explain the blur.

For every exposure the film's frames are made at the times of the true ones. Its direction of time is the one with
the higher mean PSNR over these frames (see `metrics.sequence`) and holds for every number of that exposure. The film
is then averaged again, in linear light, and compared with the blurry picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from unblur.exposure.average import frame_times
from unblur.exposure.response import Response, to_linear
from unblur.metrics.fidelity import MAX_PSNR, psnr, ssim
from unblur.metrics.sequence import BothWays, Metric, Order, PairScorer, best_direction, directed

REBLUR_FRAMES = 17
"""Frames that a film is averaged from where the truth was exposed all the time (trapezoidal rule)."""

FilmFunction = Callable[[Tensor, Tensor], Tensor]
"""blurry (B, 3, H, W) and times (T,) to frames (B, T, 3, H, W)."""

DISTANCES = {"lpips", "identity"}
"""Metrics of which less is better."""


class ExposureClass(Protocol):
    """A class of exposures with their true frames; see `unblur.evaluation.val1.Exposures`."""

    @property
    def times(self) -> Tensor:
        """(T,), symmetric about 0.5."""
        ...

    @property
    def averaged(self) -> int | None:
        """How many frames were averaged; None if light was gathered all the time."""
        ...

    @property
    def response(self) -> Response:
        """The camera's response through which that was done."""
        ...

    def batches(self, size: int = 4) -> Iterator[dict[str, Tensor]]:
        """``blurry`` (B, 3, H, W), ``frames`` (B, T, 3, H, W)."""
        ...


@dataclass(frozen=True)
class FilmScores:
    """Of N exposures, each with T frames, in the film's better direction.

    Attributes
    ----------
    psnr, ssim : Tensor
        (N, T), dB and at most 1.
    reblur : Tensor
        (N,) PSNR in dB of the film's mean against the blurry picture, in linear light.
    direction : Tensor
        (N,) +1, or -1 where the film runs backwards.
    both : dict of str to BothWays
        Metrics of the films as they are and reversed, (N, T) each, where metrics were named.
    order : Order or None
        What an order network says of the films, if there is one.
    """

    psnr: Tensor
    ssim: Tensor
    reblur: Tensor
    direction: Tensor
    both: dict[str, BothWays] = field(default_factory=dict)
    order: Order | None = None

    def summary(self) -> dict[str, float | None]:
        """Means over the exposures: at the first, middle and last time, and over all times.

        Keys ``psnr@0``, ``psnr@0.5``, ``psnr@1``, ``psnr``, the same for ``ssim``, ``reblur``, ``forward``: the share
        of films that run in the direction of the truth; and ``hit`` of the widest pair of frames, ``con@2``, ``con@3``.
        None where there is nothing to measure.
        """
        last = self.psnr.shape[1] - 1
        places = {"0": 0, "0.5": None if last % 2 else last // 2, "1": last}
        means: dict[str, float | None] = {}
        for name, values in (("psnr", self.psnr), ("ssim", self.ssim)):
            means |= {f"{name}@{time}": _mean(None if i is None else values[:, i]) for time, i in places.items()}
            means[name] = _mean(values)
        hit, con2, con3 = (None, None, None) if self.order is None else self.order
        shares = {"hit": _mean(None if hit is None else hit[:, 0]), "con@2": _mean(con2), "con@3": _mean(con3)}
        return {**means, "reblur": _mean(self.reblur), "forward": _mean(self.direction > 0), **shares}


def _mean(values: Tensor | None) -> float | None:
    return None if values is None else float(values.float().mean())


def score(
    film: FilmFunction,
    exposures: ExposureClass,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 4,
    metrics: Mapping[str, Metric] | None = None,
    scorer: PairScorer | None = None,
    on_batch: Callable[[int], Any] | None = None,
    on_frames: Callable[[Tensor, Tensor], Any] | None = None,
) -> FilmScores:
    """Measure films.

    Parameters
    ----------
    film : callable
        For instance `unblur.pipeline.restore.Pipeline.frames`.
    exposures
        What to measure on, for instance a class of `unblur.evaluation.val1.load_val1`.
    device
        Where to run.
    metrics : mapping of str to callable, optional
        For `FilmScores.both`, by name; see `DISTANCES`.
    scorer : HyperCUT, optional
        On `device`; for `FilmScores.order`.
    on_batch : callable, optional
        Called with the number of exposures of each batch that is done.
    on_frames : callable, optional
        Called before that with the film's frames (B, T, 3, H, W) in [0, 1] and with the true ones, on `device`: for
        what is measured of sets of pictures.
    """
    device = torch.device(device)
    columns: defaultdict[str, list[Tensor]] = defaultdict(list)
    again, weights = reblur_rule(exposures.averaged)
    with torch.inference_mode():
        for batch in exposures.batches(batch_size):
            blurry, truth = batch["blurry"].to(device), batch["frames"].to(device)
            estimates = film(blurry, torch.cat((exposures.times, again)).to(device))
            frames, mean = estimates.float().clamp(0, 1).split((len(exposures.times), len(again)), dim=1)
            light = torch.einsum("btchw,t->bchw", to_linear(mean, exposures.response), weights.to(device))
            for name, value in _columns(frames, truth, metrics or {}, scorer).items():
                columns[name].append(value.cpu())
            columns["reblur"].append(_reblur(light, to_linear(blurry, exposures.response)).cpu())
            if on_frames:
                on_frames(frames, truth)
            if on_batch:
                on_batch(len(blurry))
    whole = {name: torch.cat(parts) for name, parts in columns.items()}
    both = {
        name: BothWays(whole[f"{name} forward"], whole[f"{name} backward"], name in DISTANCES) for name in metrics or {}
    }
    order = None if scorer is None else Order(whole["hit"], whole.get("con@2"), whole.get("con@3"))
    return FilmScores(whole["psnr"], whole["ssim"], whole["reblur"], whole["direction"], both, order)


def _columns(
    frames: Tensor, truth: Tensor, metrics: Mapping[str, Metric], scorer: PairScorer | None
) -> dict[str, Tensor]:
    """What is measured of a batch of films (B, T, 3, H, W), by the names of its columns."""
    direction = best_direction(frames, truth)
    better = directed(frames, direction)
    columns = {"psnr": psnr(better, truth), "ssim": ssim(better, truth), "direction": direction}
    for name, metric in metrics.items():
        both = BothWays.of(frames, truth, metric, lower_is_better=name in DISTANCES)
        columns |= {f"{name} forward": both.forward, f"{name} backward": both.backward}
    if scorer is not None:
        order = Order.of(frames, scorer)
        named = {"hit": order.hit, "con@2": order.con2, "con@3": order.con3}
        columns |= {name: value for name, value in named.items() if value is not None}
    return columns


def _reblur(light: Tensor, blurry: Tensor) -> Tensor:
    """The reblur residual as a PSNR, (B,) in dB: the mean of the films against what was taken, in linear light."""
    error = (light - blurry).square().mean((1, 2, 3))
    return -10 * error.clamp_min(10 ** (-MAX_PSNR / 10)).log10()


def score_blurry(
    exposures: ExposureClass,
    *,
    device: torch.device | str = "cpu",
    metrics: Mapping[str, Metric] | None = None,
    on_frames: Callable[[Tensor, Tensor], Any] | None = None,
) -> FilmScores:
    """The scores of the blurry picture itself in place of every frame; its `reblur` means nothing."""
    return score(still_film, exposures, device=device, metrics=metrics, on_frames=on_frames)


def still_film(blurry: Tensor, times: Tensor) -> Tensor:
    """The blurry pictures (B, 3, H, W) as the frames of every time, (B, T, 3, H, W)."""
    return blurry[:, None].expand(-1, len(times), -1, -1, -1)


def reblur_rule(averaged: int | None) -> tuple[Tensor, Tensor]:
    """Times and weights that average a film as the camera did: of the same frames, or by the trapezoidal rule."""
    if averaged is not None:
        return frame_times(averaged), torch.full((averaged,), 1 / averaged)
    weights = torch.full((REBLUR_FRAMES,), 1 / (REBLUR_FRAMES - 1))
    weights[0] = weights[-1] = 0.5 / (REBLUR_FRAMES - 1)
    return frame_times(REBLUR_FRAMES), weights
