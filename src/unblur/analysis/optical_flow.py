"""What changes from one frame of a clip to the next: how far things move, duplicates, cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FINEST = 640
"""Longer side, in pixels, at which flow is measured; larger frames are shrunk for it."""

Grey = NDArray[Any]  # (H, W) uint8
Field = NDArray[Any]  # (H, W, 2) float32


@dataclass(frozen=True)
class Change:
    """How two consecutive frames differ.

    Attributes
    ----------
    flow : ndarray
        (h, w, 2) float32, where content goes, in pixels (x, y) of the full frames; h, w may be smaller than the frames.
    detail : ndarray
        (h, w) float32, mean change from pixel to pixel around each place, in grey levels: where there is none,
        neither is the flow known nor does motion show.
    median, p95 : float
        Of the flow's length, in pixels of the full frames.
    duplicate : bool
        Nothing changed: the camera or the codec repeated the frame, or nothing moved.
    cut : bool
        The second frame shows another scene.
    """

    flow: Field
    detail: Grey
    median: float
    p95: float
    duplicate: bool
    cut: bool


def compare(before: Grey, after: Grey) -> Change:
    """Measure the change between two grey frames (H, W) uint8 of one size."""
    if before.shape != after.shape or before.ndim != 2:
        raise ValueError(f"frames must be (H, W) of one size: {before.shape}, {after.shape}")
    flow = optical_flow(before, after)
    length = np.linalg.norm(flow, axis=-1)
    median, p95 = np.quantile(length, (0.5, 0.95))
    detail = _detail(cv2.resize(before, flow.shape[1::-1], interpolation=cv2.INTER_AREA))
    return Change(flow, detail, float(median), float(p95), is_duplicate(before, after), is_cut(before, after, flow))


def optical_flow(before: Grey, after: Grey) -> Field:
    """Dense inverse search flow (Kroeger et al., 2016) between grey frames: where each pixel of `before` goes.

    Returns
    -------
    ndarray
        (h, w, 2) float32 in pixels (x, y) of the given frames, measured on frames of at most `FINEST` pixels a side.
    """
    factor = max(1.0, max(before.shape) / FINEST)
    # The method needs some pixels for its pyramid; tiny frames are enlarged.
    factor = min(factor, min(before.shape) / 32) if min(before.shape) < 32 else factor
    size = (round(before.shape[1] / factor), round(before.shape[0] / factor))
    small = [
        cv2.resize(x, size, interpolation=cv2.INTER_AREA if factor > 1 else cv2.INTER_LINEAR) for x in (before, after)
    ]
    # OpenCV's type stubs miss the factory.
    method: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    initial: Any = None
    return np.asarray(method.calc(small[0], small[1], initial)) * np.float32(factor)


def is_duplicate(before: Grey, after: Grey) -> bool:
    """Whether no block of 8 x 8 pixels changed by more than one grey level on average."""
    return float(_blocks(cv2.absdiff(before, after), 8).max()) <= 1.0


def is_cut(before: Grey, after: Grey, flow: Field) -> bool:
    """Whether thumbnails differ by 22 grey levels on average even after moving `after` back along the flow.

    Motion alone does not do that; a sudden change of all the light does, and ends a scene as well.
    """
    height, width = flow.shape[:2]
    small = [cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA) for x in (before, after)]
    scale = (width / before.shape[1], height / before.shape[0])
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = (grid + flow[..., i] * np.float32(scale[i]) for i, grid in enumerate((columns, rows)))
    back = cv2.remap(small[1], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    a, b = (cv2.resize(x, (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32) for x in (small[0], back))
    return float(np.abs(a - b).mean()) > 22


def dominant_motion(flows: list[Field]) -> tuple[float, float]:
    """The mean flow (dx, dy) over pixels and time, weighted with its own length: what moves far decides.

    Parameters
    ----------
    flows : list of ndarray
        (h, w, 2), one per pair of consecutive frames.
    """
    total, weight = np.zeros(2), 0.0
    for flow in flows:
        length = np.linalg.norm(flow, axis=-1, keepdims=True)
        total += (flow * length).sum((0, 1))
        weight += float(length.sum())
    return (float(total[0] / weight), float(total[1] / weight)) if weight > 0 else (0.0, 0.0)


def _detail(grey: Grey) -> Grey:
    image = grey.astype(np.float32)
    steps = np.abs(cv2.filter2D(image, -1, np.array([[-1.0, 1.0]]))) + np.abs(
        cv2.filter2D(image, -1, np.array([[-1.0], [1.0]]))
    )
    return np.asarray(cv2.blur(steps, (9, 9)))


def _blocks(image: Grey, side: int) -> NDArray[Any]:
    size = (max(1, image.shape[1] // side), max(1, image.shape[0] // side))
    return np.asarray(cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA))
