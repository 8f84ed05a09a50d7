"""Exposures from real clips: the mean of consecutive frames, where motion is small enough to leave no ghosts.

A camera sees everything between two frames, a mean of frames does not: where something moves by more than a pixel or
two per frame, separate copies appear that no camera makes. So the flow is measured, and a window of frames is shrunk,
cropped or passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.analysis.optical_flow import Change, compare, dominant_motion
from unblur.data.stills import shrink, to_uint8
from unblur.exposure.average import average, frame_times
from unblur.exposure.camera import is_canonical
from unblur.exposure.response import Response

AVERAGED = 13
"""Frames of a clip in an exposure, at least."""
SHRINKS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
CELL = 4  # the flow is kept for one in 4 x 4 of its pixels
DETAIL = 3.0  # grey levels from pixel to pixel; less is sky, wall, noise


@dataclass(frozen=True)
class ClipExposure:
    """A window of a clip and what a camera with the shutter open for so long would have taken.

    Attributes
    ----------
    blurry : Tensor
        (3, H, W) in [0, 1], 8-bit values.
    frames : Tensor
        (N, 3, H, W) in [0, 1], all that were averaged; 8-bit values.
    times : Tensor
        (N,) i / (N - 1).
    span : (int, int)
        Indices of the first and last frame in the clip, in the order of the clip.
    shrink : float
        The factor by which the frames were shrunk.
    corner : (int, int)
        Top and left of the crop in the shrunk frames.
    length : float
        Path over the exposure in pixels: the 95th percentile of the flow's length, summed over the steps.
    direction : int
        +1 if the frames lie in the canonical direction of time as the clip has them, -1 if reversed.
    """

    blurry: Tensor
    frames: Tensor
    times: Tensor
    span: tuple[int, int]
    shrink: float
    corner: tuple[int, int]
    length: float
    direction: int


@dataclass(frozen=True)
class Limits:
    """What a window must fulfil.

    Parameters
    ----------
    max_step : float
        Largest motion from frame to frame in pixels: its 95th percentile; the 99th may be twice as much.
    min_length : float
        Least path over the exposure in pixels (95th percentile): what does not move is not blurred.
    least_shrink : float
        Shrink at least by this factor, for clips that are not sharp at full size.
    min_side : int
        Do not shrink the shorter side below this.
    """

    max_step: float = 1.5
    min_length: float = 3.0
    least_shrink: float = 1.0
    min_side: int = 64


def clip_exposures(
    frames: Iterable[Tensor],
    count: int,
    *,
    size: int | None = None,
    limits: Limits | None = None,
    response: Response = "srgb",
    canonical: bool = True,
) -> Iterator[ClipExposure]:
    """Windows of `count` consecutive frames of a clip that can be averaged without ghosts; they do not overlap.

    Duplicate frames and cuts end a window, so that time runs evenly in each.

    Parameters
    ----------
    frames : iterable of Tensor
        (3, H, W) in [0, 1], all of one size, read once and in order; see `media.video.read_clip`.
    count : int
        Frames to average, at least 2.
    size : int, optional
        Cut out the square of this side in which most moves; by default keep the whole picture.
    limits : Limits, optional
        What a window must fulfil.
    response : {"srgb", "gamma", "linear"}
        Camera response through which the frames were stored.
    canonical : bool
        Reverse windows whose dominant motion runs right to left, or bottom to top (see `camera.is_canonical`).
    """
    if count < 2:
        raise ValueError(f"an exposure averages at least 2 frames, got {count}")
    limits = limits or Limits()
    slide = max(1, count // 4)
    kept: list[NDArray[Any]] = []
    changes: list[Change] = []
    for index, frame in enumerate(frames):
        pixels = to_uint8(frame)
        if kept:
            change = compare(_grey(kept[-1]), _grey(pixels))
            if change.duplicate or change.cut:
                kept, changes = [], []
            else:
                changes.append(change)
        kept.append(pixels)
        if len(kept) < count:
            continue
        view = _best_view(changes, pixels.shape[:2], size, limits)
        if view is None:
            kept, changes = kept[slide:], changes[slide:]
        else:
            yield _expose(kept, view, (index - count + 1, index), response, canonical)
            kept, changes = [], []


@dataclass(frozen=True)
class _View:
    """A rectangle of the shrunk frames, and how things move there."""

    factor: float
    top: int
    left: int
    height: int
    width: int
    length: float
    motion: tuple[float, float] = (0.0, 0.0)


def _best_view(changes: list[Change], shape: tuple[int, ...], size: int | None, limits: Limits) -> _View | None:
    """The view with the longest path at the least shrinking that leaves no ghosts, or None.

    Only places with detail count: a picture that is half sky would hide what moves below.
    """
    flows = np.stack([change.flow[::CELL, ::CELL] for change in changes])
    lengths = np.linalg.norm(flows, axis=-1)
    detailed = np.stack([change.detail[::CELL, ::CELL] for change in changes]).max(0) > DETAIL
    for factor in SHRINKS:
        height, width = (round(side / factor) for side in shape)
        if min(height, width) < max(limits.min_side, size or 0):
            return None
        if factor < limits.least_shrink:
            continue
        views = []
        for top, left, rows, columns in _rectangles(height, width, size):
            cells = _cells((top, left, rows, columns), (height, width), lengths.shape[1:])
            seen = detailed[cells]
            if seen.mean() < 0.02:
                continue
            steps = lengths[:, cells[0], cells[1]][:, seen] / factor
            p95, p99 = np.quantile(steps, (0.95, 0.99), axis=1, method="nearest")
            if p95.max() <= limits.max_step and p99.max() <= 2 * limits.max_step and p95.sum() >= limits.min_length:
                views.append((_View(factor, top, left, rows, columns, float(p95.sum())), cells))
        if views:
            view, cells = max(views, key=lambda entry: entry[0].length)
            return replace(view, motion=dominant_motion([flow[cells] for flow in flows]))
    return None


def _rectangles(height: int, width: int, size: int | None) -> list[tuple[int, int, int, int]]:
    """Top, left, height, width of the candidates: the whole picture, or squares half a side apart."""
    if size is None:
        return [(0, 0, height, width)]
    tops, lefts = ({*range(0, n - size, size // 2), n - size} for n in (height, width))
    return [(top, left, size, size) for top in sorted(tops) for left in sorted(lefts)]


def _cells(
    rectangle: tuple[int, int, int, int], picture: tuple[int, int], cells: tuple[int, ...]
) -> tuple[slice, slice]:
    """The part of a coarser grid of `cells` over the `picture` that a rectangle covers."""
    slices = []
    for start, extent, side, n in zip(rectangle[:2], rectangle[2:], picture, cells, strict=True):
        first = min(int(start * n / side), n - 1)
        slices.append(slice(first, max(first + 1, round((start + extent) * n / side))))
    return slices[0], slices[1]


def _expose(
    kept: list[NDArray[Any]], view: _View, span: tuple[int, int], response: Response, canonical: bool
) -> ClipExposure:
    rows, columns = slice(view.top, view.top + view.height), slice(view.left, view.left + view.width)
    cut = np.stack([shrink(pixels, view.factor)[rows, columns] for pixels in kept])
    frames = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255
    direction = 1 if bool(is_canonical(*view.motion)) else -1
    return ClipExposure(
        blurry=average(frames[None], response, levels=255)[0],
        frames=frames.flip(0) if canonical and direction < 0 else frames,
        times=frame_times(len(kept)),
        span=span,
        shrink=view.factor,
        corner=(view.top, view.left),
        length=view.length,
        direction=direction,
    )


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
