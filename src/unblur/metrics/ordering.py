"""Which way a clip runs, from scores of its pairs of frames, and how far to trust it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ClipOrder(NamedTuple):
    """The order of clips.

    Attributes
    ----------
    score : Tensor
        (B,), above 0 where the clip runs in the canonical direction as it is.
    confidence : Tensor
        (B,) in [0, 1]: how far the pairs agree; 1 if all scores have the same sign, 0 if they cancel out.
    """

    score: Tensor
    confidence: Tensor


def symmetric_pairs(count: int) -> Tensor:
    """(count // 2, 2): the pairs of `count` frames around their middle, the widest first; the three of HyperCUT for 7.

    Raises
    ------
    ValueError
        If there are fewer than two frames.
    """
    _at_least_two(count)
    first = torch.arange(count // 2)
    return torch.stack((first, count - 1 - first), -1)


def all_pairs(count: int) -> Tensor:
    """(count * (count - 1) / 2, 2): every pair i < j of `count` frames.

    Raises
    ------
    ValueError
        If there are fewer than two frames.
    """
    _at_least_two(count)
    return torch.combinations(torch.arange(count))


def hit(forward: Tensor, backward: Tensor) -> Tensor:
    """Whether the scores of a pair and of its reverse have opposite signs: (B, P) from both (B, P)."""
    return forward * backward < 0


def consistent(scores: Tensor, k: int) -> Tensor:
    """con@k: whether the first `k` of the pairs' scores (B, P) have the same sign, (B,).

    Raises
    ------
    ValueError
        If there are fewer than `k` pairs.
    """
    if not 1 <= k <= scores.shape[-1]:
        raise ValueError(f"con@{k} needs {k} pairs, there are {scores.shape[-1]}")
    return (scores[..., :k] > 0).all(-1) | (scores[..., :k] < 0).all(-1)


def clip_order(forward: Tensor, backward: Tensor, pairs: Tensor) -> ClipOrder:
    """The order of whole clips of any number of frames.

    The mean over the pairs (i, j) of (s(i, j) - s(j, i)) / 2, weighted by j - i: frames farther apart say more. So a
    reversed clip has the opposite score with any network.

    Parameters
    ----------
    forward, backward : Tensor
        (B, P), the scores of the pairs and of the reversed pairs.
    pairs : Tensor
        (P, 2), indices of frames.
    """
    scores, weights = (forward - backward) / 2, (pairs[:, 1] - pairs[:, 0]).to(forward)
    weighted = scores * (weights / weights.abs().sum())
    total, most = weighted.sum(-1), weighted.abs().sum(-1)
    return ClipOrder(total, total.abs() / most.clamp_min(torch.finfo(most.dtype).tiny))


def _at_least_two(count: int) -> None:
    if count < 2:
        raise ValueError(f"an order takes at least 2 frames, got {count}")
