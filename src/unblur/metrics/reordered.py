"""Metrics of films whose true frames have several orders, from one comparison of frames.

Facial-motion reordering (CFMD-GAN, Lee, Han, Heo, IEEE Access 2022) gives the frames of an exposure another order than
that of time, and a film may be meant for either of them, in either direction. What is compared are pairs of a made and
a true frame; an order picks the pairs that count.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.metrics.sequence import BothWays, Metric

AT_ONCE = 2**17
"""Pixels that a metric compares at once: few, so that they stay in the caches of a CPU."""


def wanted_pairs(made: int, *orders: Tensor) -> Tensor:
    """Which pairs of frames the orders of a clip ask for.

    Parameters
    ----------
    made : int
        Frames of each film: as many as there are true ones, or one, which then stands for all.
    orders : Tensor
        (B, N): which true frame comes first, second, ...

    Returns
    -------
    Tensor
        (B, made, N) bool: made frames beside true ones in each order and direction of the film.
    """
    batch, count = orders[0].shape
    if made == 1:
        return torch.ones(batch, 1, count, dtype=torch.bool, device=orders[0].device)
    wanted = torch.zeros(batch, made, count, dtype=torch.bool, device=orders[0].device)
    for order in orders:
        for places in (order, order.flip(1)):
            wanted.scatter_(2, places[:, :, None], True)
    return wanted


def compare(made: Tensor, truth: Tensor, wanted: Tensor, metric: Metric) -> Tensor:
    """A metric of pairs of frames, each pair compared once.

    Parameters
    ----------
    made : Tensor
        (B, T, 3, H, W) in [0, 1].
    truth : Tensor
        (B, N, 3, H, W).
    wanted : Tensor
        (B, T, N) bool.

    Returns
    -------
    Tensor
        (B, T, N), not a number where nothing was wanted.
    """
    clips, ours, theirs = wanted.nonzero(as_tuple=True)
    size = max(1, AT_ONCE // (made.shape[-2] * made.shape[-1]))
    parts = [
        metric(made[clip, our], truth[clip, their])
        for clip, our, their in zip(clips.split(size), ours.split(size), theirs.split(size), strict=True)
    ]
    found = torch.full(wanted.shape, torch.nan, device=made.device)
    found[wanted] = torch.cat(parts).to(found)
    return found


def film_scores(compared: Tensor, order: Tensor, *, lower_is_better: bool = False) -> BothWays:
    """The scores of films in an order of the true frames, in both directions.

    Parameters
    ----------
    compared : Tensor
        (W, T, N) from `compare`, with T equal to N, or 1: one frame for all times.
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
    """The scores (W,) of the frame of t = 0.5 against the middle one of an order, each number of frames odd."""
    middle = compared[:, compared.shape[1] // 2]
    return middle.gather(1, order[:, order.shape[1] // 2, None])[:, 0]
