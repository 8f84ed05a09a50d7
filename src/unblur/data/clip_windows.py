"""Exposures out of clips that hold nothing else: passages that move, and slowly enough to leave no ghosts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from math import ceil
from pathlib import Path

import numpy as np

from unblur.data.clips import Limits, clip_exposures
from unblur.data.npz_cache import store_arrays, stored_arrays
from unblur.data.pictures import Pixels
from unblur.data.sequences import Exposed
from unblur.data.stills import to_uint8
from unblur.errors import UnblurError
from unblur.media.video import read_clip

CACHE_VERSION = 1
AVERAGED = 13
"""Frames of a clip in an exposure, at least."""
ROOM = 1.25
"""Sides of what is kept of a passage, over those of a crop."""
log = logging.getLogger(__name__)


class ClipSequences:
    """Passages of clips as exposures, kept in memory; their order is that of the clips.

    Parameters
    ----------
    clips : sequence of Path
        Files or folders of pictures; see `media.folder.find_clips`.
    frames : int
        Of each exposure, 2 or more.
    size : int
        Side of the crops that are wanted of them.
    most : int
        Passages of each clip, the first ones.
    limits : Limits, optional
        What a passage must fulfil; see `data.clips`.
    cache : Path, optional
        Folder where what was found in files is kept: looking for it takes seconds for each.

    Raises
    ------
    UnblurError
        A clip cannot be read, or there is no such passage in any.
    """

    def __init__(
        self,
        clips: Sequence[Path],
        frames: int = 7,
        size: int = 256,
        *,
        most: int = 8,
        limits: Limits | None = None,
        cache: Path | None = None,
    ) -> None:
        if frames < 2:
            raise UnblurError(f"frames {frames}", "too few to have an order", "use 2 or more")
        self._place = ", ".join(map(str, clips))
        limits = replace(limits or Limits(), min_side=size)
        self._kept: list[Pixels] = []
        for path in clips:
            found = _cached(path, frames, size, most, limits, cache)
            if not len(found):
                log.warning("%s: holds no passage of %d pixels a side to learn from", path, size)
            self._kept.extend(found)
        if not self._kept:
            remedy = "use slower clips, larger ones, or smaller crops"
            raise UnblurError(self._place, "hold no passage that moves, and slowly enough to leave no ghosts", remedy)

    @property
    def place(self) -> str:
        """The clips."""
        return self._place

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, index: int) -> Exposed:
        """One exposure."""
        return Exposed(self._kept[index])


def _found(path: Path, frames: int, size: int, most: int, limits: Limits) -> Pixels:
    """(N, 1 + T, S, S, 3) uint8."""
    clip, step = read_clip(path), ceil((AVERAGED - 1) / (frames - 1))
    side = min(round(size * ROOM), clip.width, clip.height)
    if side < size:
        return np.empty((0, 1 + frames, side, side, 3), np.uint8)
    made = clip_exposures(clip, step * (frames - 1) + 1, size=side, limits=limits, canonical=False)
    kept = [np.stack([to_uint8(p) for p in (one.blurry, *one.frames[::step])]) for one in islice(made, most)]
    return np.stack(kept) if kept else np.empty((0, 1 + frames, side, side, 3), np.uint8)


def _cached(path: Path, frames: int, size: int, most: int, limits: Limits, cache: Path | None) -> Pixels:
    if cache is None or not path.is_file():
        return _found(path, frames, size, most, limits)
    digest = hashlib.sha256(repr((CACHE_VERSION, AVERAGED, ROOM, frames, size, most, limits)).encode())
    digest.update(path.read_bytes())
    entry = Path(cache) / f"passages-{digest.hexdigest()[:32]}.npz"
    stored = stored_arrays(entry)
    if stored is not None and "passages" in stored:
        return stored["passages"]
    if entry.exists():
        log.warning("%s: damaged, made again", entry)
    found = _found(path, frames, size, most, limits)
    store_arrays(entry, {"passages": found})
    return found
