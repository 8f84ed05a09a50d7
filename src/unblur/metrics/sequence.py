"""Metrics of clips: per frame, and blind to which way time was taken to run.

A blurry picture does not tell the direction of time, so a film that runs backwards is as right as the one that was
shot. A *p-metric* (HyperCUT, Pham et al., 2023) scores a clip in the better of its two directions. There are two: one
choice for each clip and all its frames, which is a film that someone could watch; or one for each pair of frames
around the middle, which is more lenient, and what the palindromes in HyperCUT's second table look like.

Facial-motion reordering (CFMD-GAN, Lee, Han, Heo, IEEE Access 2022) gives the true frames of an exposure a second order
beside that of time, and a film may follow either, in either direction. `compare_pairs` compares each pair of an
estimated and a true frame once; `film_scores` and `centre_scores` pick the pairs of an order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from unblur.metrics.fidelity import psnr
from unblur.metrics.ordering import consistent, hit, symmetric_pairs

PIXELS_AT_ONCE = 2**17
"""That a metric compares: few, so that they stay in the caches of a CPU."""

Metric = Callable[[Tensor, Tensor], Tensor]
"""Two batches of pictures (..., 3, H, W) to scores (...)."""
Per = Literal["clip", "pair"]


class BothWays(NamedTuple):
    """A metric of clips as they are, and of the same clips run backwards.

    Attributes
    ----------
    forward, backward : Tensor
        (B, T), in the order of the true frames.
    lower_is_better : bool
    """

    forward: Tensor
    backward: Tensor
    lower_is_better: bool = False

    @classmethod
    def of(cls, frames: Tensor, truth: Tensor, metric: Metric = psnr, *, lower_is_better: bool = False) -> BothWays:
        """Compare clips (B, T, 3, H, W) at the same times, and these symmetric about 0.5.

        Parameters
        ----------
        metric : callable
            Compares pictures.
        lower_is_better : bool
            For distances, such as LPIPS.
        """
        if frames.shape != truth.shape or frames.ndim != 5:
            raise ValueError(f"clips must be (B, T, 3, H, W) of one shape: {frames.shape}, {truth.shape}")
        return cls(metric(frames, truth), metric(frames.flip(1), truth), lower_is_better)

    def direction(self, per: Per = "clip") -> Tensor:
        """Which direction is better: +1 as it is, -1 reversed; +1 if both are equal.

        Parameters
        ----------
        per : {"clip", "pair"}
            By the mean over all frames, or over each pair of frames as far from the middle.

        Returns
        -------
        Tensor
            (B,) of each clip, or (B, T) of each frame, int64.
        """
        gain = self.backward - self.forward
        gain = gain.mean(1) if per == "clip" else gain + gain.flip(1)
        return torch.where((gain < 0 if self.lower_is_better else gain > 0), -1, 1)

    def best(self, per: Per = "clip") -> Tensor:
        """The scores (B, T) in the better direction; their mean over frames is pPSNR, pSSIM, pLPIPS."""
        direction = self.direction(per)
        chosen = direction[:, None] if per == "clip" else direction
        return torch.where(chosen < 0, self.backward, self.forward)


def best_direction(frames: Tensor, truth: Tensor, metric: Metric = psnr, *, lower_is_better: bool = False) -> Tensor:
    """Which direction of time suits each clip better: +1 as it stands, -1 reversed; +1 if both are equal.

    Parameters as for `BothWays.of`; the mean of the metric over the frames decides.

    Returns
    -------
    Tensor
        (B,) of +1 and -1, int64.
    """
    return BothWays.of(frames, truth, metric, lower_is_better=lower_is_better).direction()


def directed(frames: Tensor, direction: Tensor) -> Tensor:
    """Clips (B, T, ...) with time reversed where `direction` (B,) is -1."""
    reverse = (direction < 0).view(-1, *[1] * (frames.ndim - 1))
    return torch.where(reverse, frames.flip(1), frames)


class PairScorer(Protocol):
    """What scores pairs of frames; see `unblur.networks.hypercut.HyperCUT`."""

    def both_ways(self, frames: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 3, H, W) and (P, 2) indices to (B, P): of the pairs, and of the same pairs reversed."""
        ...


class Order(NamedTuple):
    """How clearly clips run in one direction, to a network that scores the order of pairs of frames.

    Attributes
    ----------
    hit : Tensor
        (B, P) bool: the pair and the reversed pair lie on opposite sides.
    con2, con3 : Tensor or None
        (B,) bool: the widest two, or three, pairs lie on one side; None where the frames make fewer pairs.
    """

    hit: Tensor
    con2: Tensor | None
    con3: Tensor | None

    @classmethod
    def of(cls, frames: Tensor, scorer: PairScorer) -> Order:
        """Of the pairs around the middle of clips (B, T, 3, H, W) in [0, 1], T at least 2."""
        pairs = symmetric_pairs(frames.shape[1]).to(frames.device)
        forward, backward = scorer.both_ways(frames, pairs)
        con2, con3 = (consistent(forward, k) if k <= len(pairs) else None for k in (2, 3))
        return cls(hit(forward, backward), con2, con3)


def wanted_pairs(count: int, *orders: Tensor) -> Tensor:
    """Which pairs of an estimated and a true frame some orders of the true frames need.

    Parameters
    ----------
    count : int
        Frames of each film: as many as there are true ones, or one, which then stands for all.
    orders : Tensor
        (B, N): which true frame comes first, second, ...

    Returns
    -------
    Tensor
        (B, count, N) bool: the film's frames against the true ones, in each order and either direction of the film.
    """
    batch, true_count = orders[0].shape
    if count == 1:
        return torch.ones(batch, 1, true_count, dtype=torch.bool, device=orders[0].device)
    wanted = torch.zeros(batch, count, true_count, dtype=torch.bool, device=orders[0].device)
    for order in orders:
        for places in (order, order.flip(1)):
            wanted.scatter_(2, places[:, :, None], True)
    return wanted


def compare_pairs(frames: Tensor, truth: Tensor, wanted: Tensor, metric: Metric) -> Tensor:
    """A metric of pairs of frames; each pair is compared once.

    Parameters
    ----------
    frames : Tensor
        (B, T, 3, H, W) in [0, 1].
    truth : Tensor
        (B, N, 3, H, W).
    wanted : Tensor
        (B, T, N) bool, from `wanted_pairs`.

    Returns
    -------
    Tensor
        (B, T, N), NaN for pairs that are not wanted.
    """
    clips, ours, theirs = wanted.nonzero(as_tuple=True)
    size = max(1, PIXELS_AT_ONCE // (frames.shape[-2] * frames.shape[-1]))
    parts = [
        metric(frames[clip, our], truth[clip, their])
        for clip, our, their in zip(clips.split(size), ours.split(size), theirs.split(size), strict=True)
    ]
    scores = torch.full(wanted.shape, torch.nan, device=frames.device)
    scores[wanted] = torch.cat(parts).to(scores)
    return scores


def film_scores(compared: Tensor, order: Tensor, *, lower_is_better: bool = False) -> BothWays:
    """The scores of films in an order of the true frames, in both directions.

    Parameters
    ----------
    compared : Tensor
        (W, T, N) from `compare_pairs`, with T equal to N, or 1: one frame for all times.
    order : Tensor
        (W, N): which true frame comes first, second, ...

    Returns
    -------
    BothWays
        (W, N) each.
    """
    table = compared.expand(-1, compared.shape[2], -1)
    forward, backward = (each.gather(2, order[:, :, None])[:, :, 0] for each in (table, table.flip(1)))
    return BothWays(forward, backward, lower_is_better)


def centre_scores(compared: Tensor, order: Tensor) -> Tensor:
    """The scores (W,) of the frame at t = 0.5 against the middle true frame of an order; numbers of frames are odd."""
    middle = compared[:, compared.shape[1] // 2]
    return middle.gather(1, order[:, order.shape[1] // 2, None])[:, 0]
