"""Faces as exposures: consecutive frames of a clip, cropped about the face, and their mean.

As CFMD-GAN makes them of 300VW (Lee, Han, Heo, IEEE Access 2022): windows of 5 to 13 frames every 5 frames; the face's
box, enlarged by half of itself on each side and made square, the same for all frames, at 256 x 256 pixels; only where
every frame is sharp.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.analysis.optical_flow import is_duplicate
from unblur.data.pictures import Pixels
from unblur.data.stills import to_uint8
from unblur.datasets.landmarks import Mark, Marks
from unblur.exposure.average import average
from unblur.exposure.response import Response

COUNTS = (5, 7, 9, 11, 13)
Sorting = Literal["fmr", "time"]
Joined = Literal["union", "mean"]


@dataclass(frozen=True)
class WindowRules:
    """How windows are cut.

    Attributes
    ----------
    frames : tuple of int
        Frames of a window, 2 or more; each of these in turn.
    every : int
        A window of each length begins every so many frames.
    size : int
        Height and width in pixels.
    margin : float
        On each side of the face's box, in sides of the box.
    box : {"union", "mean"}
        Of the boxes in a window: what holds them all, or as released their mean.
    sharpness : float
        Least variance of the Laplacian of every frame, in grey levels squared.
    sort : {"fmr", "time"}
        The order of the frames.
    response : {"srgb", "gamma", "linear"}
        Camera response through which they are averaged; "linear" averages stored values, as released.
    max_step : float, optional
        Largest way of the eye from frame to frame, in pixels of the result: beyond about 2 a mean shows copies.
    min_length : float
        Least way of the eye over the window, in pixels of the result: what does not move is not blurred.
    """

    frames: tuple[int, ...] = COUNTS
    every: int = 5
    size: int = 256
    margin: float = 0.5
    box: Joined = "union"
    sharpness: float = 100.0
    sort: Sorting = "fmr"
    response: Response = "srgb"
    max_step: float | None = None
    min_length: float = 0.0


@dataclass(frozen=True)
class FaceWindow:
    """One exposure of a face.

    Attributes
    ----------
    pictures : ndarray
        (1 + N, S, S, 3) uint8, the blurry picture and the frames as they were sorted.
    start : int
        Index of the window's first frame in the clip.
    order : tuple of int
        Of each of these frames, which one it was in time, from 0.
    ranks : tuple of int
        The order of `fmr_order`, whichever was used.
    crop : (int, int, int)
        Left, top and side of the square in the clip's frames.
    """

    pictures: Pixels
    start: int
    order: tuple[int, ...]
    ranks: tuple[int, ...]
    crop: tuple[int, int, int]


def marked_windows(marks: Marks, count: int, every: int) -> Iterator[tuple[int, list[Mark]]]:
    """Where windows of `count` frames begin that have a face in every frame, the same in all, and its marks."""
    for start in range(0, len(marks) - count + 1, every):
        found = [mark for mark in marks[start : start + count] if mark is not None]
        if len(found) == count and not _jumps(found):
            yield start, found


def face_windows(
    frames: Iterable[Tensor], marks: Marks, rules: WindowRules, dropped: Counter[str] | None = None
) -> Iterator[FaceWindow]:
    """Cut the windows of a clip, each as soon as its last frame is read.

    Parameters
    ----------
    frames : iterable of Tensor
        (3, H, W) RGB in [0, 1], read once and in order.
    marks : list of Mark or None
        Of these frames; those past its end have none.
    dropped : Counter, optional
        Counts why windows with a face were not taken: "soft", "duplicate", "still", "fast".
    """
    dropped = Counter() if dropped is None else dropped
    ends: dict[int, list[tuple[int, list[Mark]]]] = {}
    for count in rules.frames:
        for start, found in marked_windows(marks, count, rules.every):
            ends.setdefault(start + count - 1, []).append((start, found))
    kept: deque[Pixels] = deque(maxlen=max(rules.frames))
    for index, frame in enumerate(frames):
        kept.append(to_uint8(frame))
        for start, found in ends.get(index, []):
            window = _window([kept[i - len(found)] for i in range(len(found))], found, start, rules)
            if isinstance(window, FaceWindow):
                yield window
            else:
                dropped[window] += 1


def _window(frames: Sequence[Pixels], marks: list[Mark], start: int, rules: WindowRules) -> FaceWindow | str:
    """The exposure, or why there is none."""
    left, top, side = crop_of(marks, frames[0].shape[:2], rules)
    steps = np.hypot(*np.diff([mark.eye for mark in marks], axis=0).T) * rules.size / side
    if rules.max_step is not None and steps.max() > rules.max_step:
        return "fast"
    if steps.sum() < rules.min_length:
        return "still"
    cuts = [_resized(frame[top : top + side, left : left + side], rules.size) for frame in frames]
    greys = [cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY) for cut in cuts]
    if any(is_duplicate(*pair) for pair in pairwise(greys)):
        return "duplicate"
    if min(sharpness(grey) for grey in greys) < rules.sharpness:
        return "soft"
    ranks = fmr_order([mark.eye for mark in marks])
    order = ranks if rules.sort == "fmr" else list(range(len(frames)))
    sharp = np.stack([cuts[i] for i in order])
    light = torch.from_numpy(sharp).permute(0, 3, 1, 2)[None].float() / 255
    blurry = to_uint8(average(light, rules.response, levels=255)[0])
    return FaceWindow(np.concatenate((blurry[None], sharp)), start, tuple(order), tuple(ranks), (left, top, side))


def crop_of(marks: Sequence[Mark], shape: Sequence[int], rules: WindowRules) -> tuple[int, int, int]:
    """Left, top and side of the square about a face in frames of (H, W), moved inside of them where it must be."""
    boxes = np.array([mark.box for mark in marks])
    whole = boxes.mean(0) if rules.box == "mean" else np.concatenate((boxes[:, :2].min(0), boxes[:, 2:].max(0)))
    left, top, right, bottom = whole.tolist()
    side = min(round(max(right - left, bottom - top) * (1 + 2 * rules.margin)), *shape)
    corner = [round((low + high) / 2 - side / 2) for low, high in ((left, right), (top, bottom))]
    x, y = (min(max(place, 0), most - side) for place, most in zip(corner, shape[::-1], strict=True))
    return int(x), int(y), int(side)


def sharpness(grey: NDArray[Any]) -> float:
    """The variance of the Laplacian of (H, W) uint8, in grey levels squared."""
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def _resized(cut: Pixels, size: int) -> Pixels:
    way = cv2.INTER_AREA if cut.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(cut, (size, size), interpolation=way))


def _jumps(marks: Sequence[Mark]) -> bool:
    """Whether the face is somewhere else all at once: a cut, or another face."""
    boxes = np.array([mark.box for mark in marks])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    steps = np.hypot(*np.diff(middles, axis=0).T)
    return bool((steps > 0.5 * sides[1:]).any() or (sides.max() > 1.5 * sides.min()))


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
        N indices of frames; the one at place i is learned at t = i / (N - 1), and in a mirror at 1 minus that. (The
        paper prints (i - 1) / N; the released program divides by N - 1.)

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
