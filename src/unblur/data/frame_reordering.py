"""Facial-motion reordering: the frames of an exposure in the order in which the left eye lies, not in that of time.

Blur does not tell which way time ran. CFMD-GAN (Lee, Han, Heo, IEEE Access 2022) therefore sorts the sharp frames of a
face by the place of its left eye before a network learns them: by x, then by y, then by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fmr_order(eyes: Sequence[Sequence[float]], *, whole_pixels: bool = True) -> list[int]:
    """Which frame comes first, second, ... when they are sorted by the place of the left eye.

    Parameters
    ----------
    eyes : sequence of (float, float)
        x and y of the eye in pixels of the whole frame, one for each of N frames, in the order of time.
    whole_pixels : bool
        Cut the fractions off first, as the released program does: frames in which the eye did not move by a pixel then
        keep the order of time.

    Returns
    -------
    list of int
        N indices of frames.

    Examples
    --------
    >>> fmr_order([(7.9, 3.0), (5.2, 4.0), (5.8, 3.0), (5.1, 3.5)])
    [2, 3, 1, 0]
    """
    places = np.asarray(eyes, np.float64).reshape(-1, 2)
    if not np.isfinite(places).all():
        raise ValueError("an eye's place is not a number")
    if whole_pixels:
        places = np.trunc(places)
    # Stable, so that time decides between equals; the last key counts first.
    return [int(i) for i in np.lexsort((places[:, 1], places[:, 0]))]


def fmr_times(order: Sequence[int]) -> NDArray[Any]:
    """The time t = rank / (N - 1) of every frame, in the order of time: (N,) float64 in [0, 1]; one frame is at 0.5.

    The paper prints (i - 1) / N; the released program divides by N - 1, so that both ends are reached. In a mirror a
    frame at t is at 1 - t: what lay farthest left lies farthest right.
    """
    ranks = np.argsort(np.asarray(order, np.int64))
    return ranks / (len(ranks) - 1) if len(ranks) > 1 else np.full(len(ranks), 0.5)


def kendall_tau(order: Sequence[int]) -> float:
    """How far an order agrees with that of time: 1 the same, -1 reversed; Kendall's tau of a permutation of N >= 2."""
    places = np.asarray(order)
    later = np.sign(places[None, :] - places[:, None])[np.triu_indices(len(places), 1)]
    return float(later.mean())


@dataclass(frozen=True)
class FmrStatistics:
    """What reordering did to clips of one length.

    Attributes
    ----------
    frames : int
        Of each clip.
    clips : int
    tau : float
        Kendall's tau between the new order and that of time, the mean over the clips.
    tau_size : float
        The mean of its absolute value: the direction aside.
    forward, backward : float
        Shares of clips that keep the order of time exactly, or have it exactly reversed.
    centre : float
        Share of clips in which the middle frame of the new order is that of time.
    """

    frames: int
    clips: int
    tau: float
    tau_size: float
    forward: float
    backward: float
    centre: float

    @property
    def monotone(self) -> float:
        """Share of clips whose frames still follow time, in either direction."""
        return self.forward + self.backward


def fmr_statistics(orders: Iterable[Sequence[int]]) -> list[FmrStatistics]:
    """What reordering does, for every length of clip that there is, shortest first.

    Parameters
    ----------
    orders : iterable of sequence of int
        From `fmr_order`, each of 2 frames or more.
    """
    by_length: dict[int, list[list[int]]] = {}
    for order in orders:
        if len(order) < 2:
            raise ValueError(f"{len(order)} frames have no order")
        by_length.setdefault(len(order), []).append(list(order))
    return [_statistics(length, by_length[length]) for length in sorted(by_length)]


def _statistics(length: int, orders: list[list[int]]) -> FmrStatistics:
    time = list(range(length))
    taus = np.array([kendall_tau(order) for order in orders])
    shares = [
        np.mean([order == time for order in orders]),
        np.mean([order == time[::-1] for order in orders]),
        np.mean([order[length // 2] == length // 2 for order in orders]),
    ]
    return FmrStatistics(length, len(orders), float(taus.mean()), float(abs(taus).mean()), *map(float, shares))
