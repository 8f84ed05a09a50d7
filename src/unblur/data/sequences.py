"""Batches of blurry pictures with the frames of their exposures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from unblur.data.augmentation import NO_CHANGE, Augmentation, enlarged, moved, noisy, recoloured
from unblur.data.clips import AVERAGED, Limits, clip_exposures
from unblur.data.exposure_metadata import Box, Metadata
from unblur.data.initial_estimates import estimate_paths, estimated
from unblur.data.npz_cache import cached_arrays
from unblur.data.pairs import batched, shares_of, spread_evenly
from unblur.data.pictures import Pixels, picture_size_of, read_pixels
from unblur.data.stills import to_uint8
from unblur.errors import UnblurError, UsageError
from unblur.exposure.average import frame_times
from unblur.media.video import read_clip


class Exposed(NamedTuple):
    """One exposure.

    Attributes
    ----------
    pictures : ndarray
        (1 + T, H, W, 3) uint8, the blurry picture and the frames in the order that they are to be learned in.
    box : tuple of float or None
        Where the person is.
    estimates : ndarray or None
        (T, H, W, 3) uint8, the film of a model for the blurry picture, t = 0 first; see
        `unblur.data.initial_estimates`.
    """

    pictures: Pixels
    box: Box | None = None
    estimates: Pixels | None = None


class Sequences(Protocol):
    """Exposures by number, all with the same number of frames; safe to read from several threads at once.

    See `MetadataSequences` and `unblur.data.sequences.ClipSequences`.
    """

    @property
    def place(self) -> str:
        """Where they are, for messages."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> Exposed:
        """One exposure."""
        ...


@dataclass(frozen=True)
class MetadataSequences:
    """Exposures of a ``metadata.json``, whose order is honoured.

    Parameters
    ----------
    metadata : Metadata
    frames : int
        Of each exposure, evenly spaced among those that there are, ends among them.
    seed : int
        Of the coins for clips whose order is "random".
    estimates : str, optional
        The model whose estimates are read too; exposures without any are passed over. Where the order is to be ignored,
        because the direction of time is unknown, frames are loaded in the direction of their estimates.

    Raises
    ------
    UnblurError
        The frames that there are cannot be thinned out to so many, or there are no estimates.
    """

    metadata: Metadata
    frames: int = 7
    seed: int = 0
    estimates: str | None = None

    def __post_init__(self) -> None:
        there = self.metadata.frame_count
        if self.frames < 2 or (there - 1) % (self.frames - 1):
            fitting = [n for n in range(2, there + 1) if (there - 1) % (n - 1) == 0]
            problem = f"has {there} frames of each exposure, of which {self.frames} cannot be evenly spaced"
            raise UnblurError(self.place, problem, f"use {', '.join(map(str, fitting))}")

        if self.estimates is not None:
            object.__setattr__(self, "metadata", estimated(self.metadata, self.estimates))

    @property
    def place(self) -> str:
        """The data set."""
        return self.metadata.name

    def __len__(self) -> int:
        return len(self.metadata.entries)

    def read(self, index: int) -> Exposed:
        """One exposure.

        Raises
        ------
        UnblurError
            A picture cannot be read, or has another size.
        """
        entry = self.metadata.entries[index]
        blurry, frames = self.metadata.paths(entry)
        estimates = estimate_paths(self.metadata, entry, self.estimates) if self.estimates is not None else ()
        step = (len(frames) - 1) // (self.frames - 1)
        frames, estimates = frames[::step], estimates[::step]
        if entry.direction(self.seed) < 0:
            frames = frames[::-1]
        pictures = [read_pixels(path) for path in (blurry, *frames, *estimates)]
        for path, picture in zip((*frames, *estimates), pictures[1:], strict=True):
            if picture.shape != pictures[0].shape:
                shapes = [f"{p.shape[1]} x {p.shape[0]}" for p in (picture, pictures[0])]
                raise UnblurError(
                    path, f"is {shapes[0]}, its blurry picture {shapes[1]}", "make both again, of one size"
                )
        count = 1 + len(frames)
        stored, films = np.stack(pictures[:count]), np.stack(pictures[count:]) if estimates else None
        if films is not None and entry.order == "ignore" and _runs_against(stored[1:], films):
            stored = np.concatenate((stored[:1], stored[:0:-1]))
        return Exposed(stored, entry.box, films)

    def check_sizes(self, least: int) -> None:
        """Look at the heads of the blurry pictures, so that a training does not end at the first small one.

        Raises
        ------
        UnblurError
            One has a side shorter than `least`, and no box.
        """
        for entry in self.metadata.entries:
            path = self.metadata.root / entry.blurry
            height, width = picture_size_of(path)
            if entry.box is None and min(height, width) < least:
                problem = f"is {width} x {height}, smaller than crops of {least} x {least}"
                raise UnblurError(path, problem, "ask for smaller crops, or remove its entry")


class SequenceBatches:
    """Training batches of exposures that are a function of (seed, step) alone.

    Parameters
    ----------
    sets : sequence of (Sequences, float)
        Each with its weight: how often each of its exposures counts.
    size : int
        Side of the crops in pixels.
    batch_size : int
        Exposures per batch.
    seed : int
        Two sources of one seed are the same.
    threads : int
        Read so many exposures at a time.
    augmentation : Augmentation
        By default nothing but crops at random places.
    middle_first : bool
        Put the frame of the middle before the others, as losses that train parts of a film network expect.
    frames_per_sample : int, optional
        Take so many of the frames of an exposure, drawn at random, in their order; all of them by default, which must
        then be as many in all sets.

    Raises
    ------
    UnblurError
        A weight below 0, no weight above it, pictures smaller than a crop.
    """

    def __init__(
        self,
        sets: Sequence[tuple[Sequences, float]],
        *,
        size: int = 256,
        batch_size: int = 8,
        seed: int = 0,
        threads: int = 4,
        augmentation: Augmentation = NO_CHANGE,
        middle_first: bool = False,
        frames_per_sample: int | None = None,
    ) -> None:
        if middle_first and frames_per_sample is not None:
            raise ValueError("the middle is first, or frames are drawn, but not both")
        self._shares = shares_of(sets)
        self.sets = [one for one, _ in sets]
        for one, share in zip(self.sets, self._shares, strict=True):
            if share and isinstance(one, MetadataSequences):
                one.check_sizes(size)
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.augmentation, self.middle_first, self.frames_per_sample = augmentation, middle_first, frames_per_sample
        self._pool = ThreadPoolExecutor(max(1, threads))

    def batch(self, step: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Batch number `step`: blurry (B, 3, S, S), frames (B, T, 3, S, S) in [0, 1], times (B, T) = i / (T - 1).

        Where the sets have estimates, those too (B, T, 2, 3, S, S): at the times, and at 1 minus them.
        """
        # Each exposure has a generator of its own: threads may finish as they like.
        crops, moments = zip(
            *self._pool.map(lambda number: self._crop(step, number), range(self.batch_size)), strict=True
        )
        pictures = torch.from_numpy(np.stack(crops)).to(device).permute(0, 1, 4, 2, 3)
        times = torch.stack(moments).to(device)
        batch = _named(pictures, times.shape[1]) | {"times": times}
        if self.middle_first:
            count = times.shape[1]
            order = sorted(range(count), key=lambda i: 2 * i != count - 1)
            batch |= {name: batch[name][:, order] for name in batch if name != "blurry"}
        return {name: value.contiguous() for name, value in batch.items()}

    def _crop(self, step: int, number: int) -> tuple[np.ndarray, Tensor]:
        """(1 + T, S, S, 3) float32, or with estimates 1 + 3 T pictures as `_side_by_side`; and the times (T,)."""
        rng, how = np.random.default_rng((self.seed, step, number)), self.augmentation
        sequences = self.sets[rng.choice(len(self.sets), p=self._shares)]
        exposed = sequences.read(int(rng.integers(len(sequences))))
        places, box = rng.random(2), exposed.box
        times = frame_times(len(exposed.pictures) - 1)
        chosen = np.arange(len(times))
        if self.frames_per_sample is not None:
            chosen = np.sort(rng.permutation(len(times))[: self.frames_per_sample])
        pictures, times = _side_by_side(exposed, chosen), times[torch.from_numpy(chosen)]
        pictures = moved(pictures, how, rng)
        if box is not None:
            cut = near(pictures, box, how.near * places[0], self.size)
        else:
            pictures = enlarged(pictures, how, rng)
            top, left = (int(place * (n - self.size + 1)) for place, n in zip(places, pictures.shape[1:3], strict=True))
            cut = pictures[:, top : top + self.size, left : left + self.size]
        cut = noisy(recoloured(cut.astype(np.float32) / 255, how, rng), how, rng)
        if how.mirror and rng.random() < how.mirror:
            cut, times = cut[:, :, ::-1], 1 - times
        return cut, times


def _side_by_side(exposed: Exposed, chosen: np.ndarray) -> Pixels:
    """The blurry picture, the chosen frames, and if there are any the estimates of their times and of 1 minus those."""
    estimates = [] if exposed.estimates is None else [exposed.estimates[chosen], exposed.estimates[::-1][chosen]]
    return np.concatenate([exposed.pictures[[0, *(1 + chosen)]], *estimates])


def _named(pictures: Tensor, count: int) -> dict[str, Tensor]:
    """The parts of (B, N, 3, h, w) that `_side_by_side` joined: blurry, frames, estimates (B, T, 2, 3, h, w)."""
    named = {"blurry": pictures[:, 0], "frames": pictures[:, 1 : 1 + count]}
    estimates = pictures[:, 1 + count :]
    return named | ({"estimates": estimates.unflatten(1, (2, count)).transpose(1, 2)} if estimates.shape[1] else {})


def near(pictures: Pixels, box: Box, ratio: float, size: int) -> Pixels:
    """What is in a box, and of the way from each of its sides to the picture's edge a share: (N, size, size, 3)."""
    height, width = pictures.shape[1:3]
    left, right = (float(np.clip(x, 0, width)) for x in (box[0], box[2]))
    top, bottom = (float(np.clip(y, 0, height)) for y in (box[1], box[3]))
    left, top = int((1 - ratio) * left), int((1 - ratio) * top)
    right, bottom = int(right + ratio * (width - right)), int(bottom + ratio * (height - bottom))
    if right - left < 2 or bottom - top < 2:  # the box lies outside
        left, top, right, bottom = 0, 0, width, height
    cut = pictures[:, top:bottom, left:right]
    way = cv2.INTER_AREA if min(cut.shape[1:3]) > size else cv2.INTER_LINEAR
    return np.stack([cv2.resize(one, (size, size), interpolation=way) for one in cut])


def val_sequences(sets: Sequence[Sequences], *, count: int, size: int, batch_size: int = 4) -> list[dict[str, Tensor]]:
    """Fixed exposures without augmentation: the middles of `count` pictures, spread evenly over each of the sets.

    Parameters
    ----------
    size : int
        Side of the crops; smaller pictures are cropped to what they have. Near a person's box, where it is known.

    Returns
    -------
    list of dict
        Batches of ``blurry`` (B, 3, h, w), ``frames`` (B, T, 3, h, w), ``times`` (T,), on the CPU; with ``estimates``
        (B, T, 2, 3, h, w) where the sets have some.
    """
    chosen = [_middle(one.read(index), size) for one, index in spread_evenly(sets, count)]
    stacked = [(batch[0][0], torch.stack([crop for _, crop in batch])) for batch in batched(chosen, batch_size)]
    return [_named(pictures, count) | {"times": frame_times(count)} for count, pictures in stacked]


def _middle(exposed: Exposed, size: int) -> tuple[int, Tensor]:
    """How many frames, and (N, 3, h, w) in [0, 1] as `_side_by_side` joins them."""
    count = len(exposed.pictures) - 1
    pictures = _side_by_side(exposed, np.arange(count))
    if exposed.box is not None:
        pictures = near(pictures, exposed.box, 0.05, size)
    top, left = (max(0, (side - size) // 2) for side in pictures.shape[1:3])
    cut = pictures[:, top : top + size, left : left + size]
    return count, torch.from_numpy(np.ascontiguousarray(cut)).permute(0, 3, 1, 2).float() / 255


def _runs_against(frames: Pixels, estimates: Pixels) -> bool:
    """Whether reversed frames are nearer to the estimates."""
    there, back = (float(cv2.norm(frames, other, cv2.NORM_L2SQR)) for other in (estimates, estimates[::-1].copy()))
    return back < there


CACHE_VERSION = 1
ROOM = 1.25
"""Sides of what is kept of a window, over those of a crop."""
log = logging.getLogger(__name__)


class ClipSequences:
    """Windows of clips as exposures, kept in memory; their order is that of the clips.

    Parameters
    ----------
    clips : sequence of Path
        Files or folders of pictures; see `media.folder.find_clips`.
    frames : int
        Of each exposure, 2 or more.
    size : int
        Side of the crops that are wanted of them.
    windows_per_clip : int
        Windows of each clip, the first ones.
    cache : Path, optional
        Folder where what was found in files is kept: looking for it takes seconds for each.

    Raises
    ------
    UnblurError
        A clip cannot be read, or there is no such window in any.
    """

    def __init__(
        self,
        clips: Sequence[Path],
        frames: int = 7,
        size: int = 256,
        *,
        windows_per_clip: int = 8,
        cache: Path | None = None,
    ) -> None:
        if frames < 2:
            raise UsageError("frames", frames, "too few to have an order", "use 2 or more")
        self._place = ", ".join(map(str, clips))
        limits = Limits(min_side=size)
        self._kept: list[Pixels] = []
        for path in clips:
            found = _cached(path, frames, size, windows_per_clip, limits, cache)
            if not len(found):
                log.warning("%s: holds no window of %d pixels a side to learn from", path, size)
            self._kept.extend(found)
        if not self._kept:
            remedy = "use slower clips, larger ones, or smaller crops"
            raise UnblurError(self._place, "hold no window that moves, and slowly enough to leave no ghosts", remedy)

    @property
    def place(self) -> str:
        """The clips."""
        return self._place

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, index: int) -> Exposed:
        """One exposure."""
        return Exposed(self._kept[index])


def _found(path: Path, frames: int, size: int, windows_per_clip: int, limits: Limits) -> Pixels:
    """(N, 1 + T, S, S, 3) uint8."""
    clip, step = read_clip(path), ceil((AVERAGED - 1) / (frames - 1))
    side = min(round(size * ROOM), clip.width, clip.height)
    if side < size:
        return np.empty((0, 1 + frames, side, side, 3), np.uint8)
    exposures = clip_exposures(clip, step * (frames - 1) + 1, size=side, limits=limits, canonical=False)
    kept = [
        np.stack([to_uint8(p) for p in (one.blurry, *one.frames[::step])])
        for one in islice(exposures, windows_per_clip)
    ]
    return np.stack(kept) if kept else np.empty((0, 1 + frames, side, side, 3), np.uint8)


def _cached(path: Path, frames: int, size: int, windows_per_clip: int, limits: Limits, cache: Path | None) -> Pixels:
    """As `_found`, by way of the cache."""
    key = (CACHE_VERSION, AVERAGED, ROOM, frames, size, windows_per_clip, limits)
    build = lambda: {"windows": _found(path, frames, size, windows_per_clip, limits)}  # noqa: E731
    return cached_arrays(cache, path, key, build, lambda stored: "windows" in stored, prefix="windows-")["windows"]
