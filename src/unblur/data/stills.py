"""Sharp stills for synthetic exposures: photos and a few frames of each clip, shrunk until sharp."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.data.npz_cache import cached_arrays
from unblur.errors import UnblurError
from unblur.exposure.response import from_linear, to_linear
from unblur.media.image import read_image
from unblur.media.video import read_clip

PHOTOS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
CLIPS = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v"})
FACTORS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
CACHE_VERSION = 3

Pixels = NDArray[Any]  # uint8
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Still:
    """One sharp picture and where it comes from.

    Attributes
    ----------
    pixels : ndarray
        (H, W, 3) uint8, RGB.
    source : str
        Path below the root that was searched; for a frame of a clip followed by ``#`` and the frame's index.
    """

    pixels: Pixels
    source: str


def load_stills(
    root: Path,
    *,
    frames_per_clip: int = 8,
    max_side: int = 1000,
    min_side: int = 200,
    cache: Path | None = None,
) -> list[Still]:
    """All sharp stills below `root`, in the order of their paths.

    Parameters
    ----------
    root : Path
        A folder with photos and clips at any depth.
    frames_per_clip : int
        At most this many frames of each clip, each the calmest of its part of the clip.
    max_side, min_side : int
        The longer side is at most `max_side`, the shorter one at least `min_side` pixels; smaller ones are
        left out.
    cache : Path, optional
        A folder that keeps the result of every file, keyed by the file's content and the options above.

    Returns
    -------
    list of Still
        Without near copies (thumbnails within 4 grey levels) and without pictures that are nowhere sharp.

    Raises
    ------
    UnblurError
        If `root` holds no usable picture at all. A single unreadable file is logged and left out.
    """
    options = (frames_per_clip, max_side, min_side)
    kept: list[Still] = []
    thumbnails: list[NDArray[np.float32]] = []
    for path in sorted(p for p in Path(root).rglob("*") if _is_wanted(p)):
        try:
            found = _cached(path, options, cache)
        except UnblurError as error:
            log.warning("left out: %s", error)
            continue
        for index, pixels in found:
            small = _thumbnail(pixels)
            if all(np.abs(small - other).mean() > 4 for other in thumbnails):
                name = path.relative_to(root).as_posix()
                kept.append(Still(pixels, name if index < 0 else f"{name}#{index}"))
                thumbnails.append(small)
    if not kept:
        raise UnblurError(root, "no sharp photo or clip found below this folder", "name a folder that holds some")
    return kept


def edge_sharpness(grey: Pixels) -> float:
    """How sharp the strongest edges of a grey picture are, whatever it shows: 1 sharp, 0.5 or less blurred.

    The steepest step between neighbours in each 32 pixel block, divided by the steepest that is left after
    halving the picture: a sharp edge is as steep at half the size, a blurred one becomes twice as steep.
    The median over the fifth of the blocks with the steepest edges, so that a background out of focus is
    fine. 0 where nothing has contrast.
    """
    height, width = (side // 32 * 32 for side in grey.shape)
    half = cv2.resize(grey[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    full_step, half_step = _steepest(grey[:height, :width], 32), _steepest(half, 16)
    strong = half_step >= np.quantile(half_step, 0.8)
    if np.median(half_step[strong]) < 25:
        return 0.0
    return float(np.median(full_step[strong] / half_step[strong]))


def _steepest(grey: Pixels, block: int) -> NDArray[np.float32]:
    padded = np.pad(grey, ((0, 1), (0, 1)), mode="edge").astype(np.float32)
    down, right = np.abs(np.diff(padded, axis=0))[:, :-1], np.abs(np.diff(padded, axis=1))[:-1]
    rows, columns = grey.shape[0] // block, grey.shape[1] // block
    return np.maximum(down, right).reshape(rows, block, columns, block).max(axis=(1, 3))


def sharp_factor(grey: Pixels, *, min_side: int = 200, threshold: float = 0.85) -> float | None:
    """The least factor by which to shrink a picture to make its edges sharp, or None if none does."""
    for factor in FACTORS:
        height, width = (round(side / factor) for side in grey.shape)
        if min(height, width) < max(min_side, 64):
            return None
        small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        if edge_sharpness(np.asarray(small, np.uint8)) >= threshold:
            return factor
    return None


def shrink(pixels: Pixels, factor: float) -> Pixels:
    """A picture (H, W, 3) uint8 sRGB shrunk by `factor` >= 1: means over areas, in linear light."""
    if factor == 1:
        return pixels
    size = (round(pixels.shape[1] / factor), round(pixels.shape[0] / factor))
    light = to_linear(torch.from_numpy(pixels).float() / 255).numpy()
    small = from_linear(torch.from_numpy(cv2.resize(light, size, interpolation=cv2.INTER_AREA)))
    return (small.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _is_wanted(path: Path) -> bool:
    return path.suffix.lower() in PHOTOS | CLIPS and not path.name.startswith(".") and path.is_file()


def _extract(path: Path, options: tuple[int, int, int]) -> list[tuple[int, Pixels]]:
    """The usable pictures of one file with their frame index, -1 for a photo."""
    frames_per_clip, max_side, min_side = options
    if path.suffix.lower() in PHOTOS:
        candidates: Iterator[tuple[int, Pixels]] = iter([(-1, _read_photo(path))])
    else:
        wanted = _calmest_of_parts(_motions(_decode(path)), frames_per_clip)
        candidates = ((i, frame) for i, frame in enumerate(_decode(path)) if i in wanted)
    found = []
    for index, pixels in candidates:
        first = max(1.0, max(pixels.shape[:2]) / max_side)
        factor = sharp_factor(_grey(shrink(pixels, first)), min_side=min_side)
        if factor:
            found.append((index, shrink(pixels, first * factor)))
    return found


def _calmest_of_parts(motions: list[float], parts: int) -> set[int]:
    """Index of the least motion in the middle half of each of equal `parts`, so that none are neighbours."""
    edges = np.linspace(0, len(motions), parts + 1)
    chosen = set()
    for low, high in pairwise(edges):
        quarter = (high - low) / 4
        first, last = round(low + quarter), max(round(high - quarter), round(low + quarter) + 1)
        if first < len(motions):
            chosen.add(first + int(np.argmin(motions[first:last])))
    return chosen


def _motions(frames: Iterable[Pixels]) -> list[float]:
    """How much each frame differs from its neighbours where it differs most: a hand that moves is blurred.

    In grey levels: the 99th percentile over blocks, 8 pixels large at a longer side of 480, of the mean change.
    """
    changes, before = [], None
    for frame in frames:
        grey = _grey(frame)
        factor = max(1.0, max(grey.shape) / 480) * 8
        size = (max(1, round(grey.shape[1] / factor)), max(1, round(grey.shape[0] / factor)))
        if before is not None:
            difference = cv2.resize(cv2.absdiff(grey, before), size, interpolation=cv2.INTER_AREA)
            changes.append(float(np.quantile(difference, 0.99)))
        before = grey
    # A frame's motion is the larger of the steps before and after it; the ends have one neighbour.
    return [max(pair) for pair in zip([0.0, *changes], [*changes, 0.0], strict=True)]


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def _thumbnail(pixels: Pixels) -> NDArray[np.float32]:
    return cv2.resize(_grey(pixels), (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)


def _read_photo(path: Path) -> Pixels:
    return to_uint8(read_image(path).pixels)


def _decode(path: Path) -> Iterator[Pixels]:
    return (to_uint8(frame) for frame in read_clip(path))


def to_uint8(image: Tensor) -> Pixels:
    """A picture (3, H, W) in [0, 1] as (H, W, 3) uint8."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _cached(path: Path, options: tuple[int, int, int], cache: Path | None) -> list[tuple[int, Pixels]]:
    """As `_extract`, by way of the cache."""
    arrays = cached_arrays(
        cache,
        path,
        (CACHE_VERSION, options, path.suffix.lower()),
        lambda: {str(index): pixels for index, pixels in _extract(path, options)},
        lambda stored: all(name.removeprefix("-").isdecimal() for name in stored),
    )
    return [(int(name), pixels) for name, pixels in arrays.items()]
