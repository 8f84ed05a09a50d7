"""The pairs of the validation protocol blur-1: does a code carry a blur from one picture to another?

Two things are measured of a blur space:

* *reading*: the sharp middle frames and the blurry pictures of `unblur.evaluation.val1`, all four classes;
* *transfer*: the 24 Kodak pictures in each of val-1's classes of length, exposed as there but with nothing moving in
  front, and a second picture along the very same path. A code is read from the first pair and put on the second sharp
  picture, whose true blurry one is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unblur.data.npz_cache import store_arrays, stored_arrays
from unblur.evaluation.val1 import KODAK, LENGTHS, default_cache, kodak_middles, photo_exposure

NAME, VERSION = "blur-1", 1
APART = 7
"""How far behind the picture that a blur is read from stands the one that it is put on."""
SEEDS = 10_000


@dataclass(frozen=True)
class Transfers:
    """Pairs that share a blur.

    Attributes
    ----------
    sharp, blurry : Tensor
        (N, 3, H, W) uint8; a code is read from them.
    other, truth : Tensor
        (N, 3, H, W) uint8; another sharp picture, and the same with the blur of the same motion.
    """

    sharp: Tensor
    blurry: Tensor
    other: Tensor
    truth: Tensor

    def __len__(self) -> int:
        return len(self.sharp)

    def head(self, count: int | None) -> Transfers:
        """The first `count`."""
        return Transfers(*(part[:count] for part in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All four, in order."""
        return self.sharp, self.blurry, self.other, self.truth


def load_transfers(
    root: Path,
    cache: Path | None = None,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Transfers]:
    """The transfers of blur-1 by their classes of length, built on first use and cached.

    Parameters
    ----------
    root, cache, limit, progress
        See `unblur.evaluation.val1.load_val1`.

    Raises
    ------
    UnblurError
        If pictures are missing or cannot be read, or the cache cannot be written.
    """
    stills, digest = kodak_middles(Path(root))
    name = hashlib.sha256(f"{NAME} {VERSION} {digest}".encode()).hexdigest()[:16]
    entry = Path(cache or default_cache()) / f"{NAME}-{name}.npz"
    classes = _stored(entry)
    if classes is None:
        classes = {}
        for number, (kind, length) in enumerate(LENGTHS.items()):
            exposures = []
            for i in range(len(KODAK)):
                if progress:
                    progress(number * len(KODAK) + i, len(LENGTHS) * len(KODAK))
                exposures.append(_transfer(stills, i, length, SEEDS * (number + 1) + i))
            classes[kind] = Transfers(*(torch.stack(parts) for parts in zip(*exposures, strict=True)))
        parts = {kind: enumerate(transfers.parts()) for kind, transfers in classes.items()}
        store_arrays(entry, {f"{kind}.{i}": part.numpy() for kind, each in parts.items() for i, part in each})
    return {kind: transfers.head(limit) for kind, transfers in classes.items()}


def _transfer(stills: list[np.ndarray], i: int, length: tuple[float, float], seed: int) -> tuple[Tensor, ...]:
    pair = []
    for still in (stills[i], stills[(i + APART) % len(stills)]):
        # With no layer, what is drawn at random does not depend on the picture: the path is the same.
        blurry, frames = photo_exposure(still, still, length, False, seed)
        pair += [frames[len(frames) // 2], blurry]
    return tuple(pair)


def _stored(entry: Path) -> dict[str, Transfers] | None:
    arrays = stored_arrays(entry) or {}
    try:
        return {kind: Transfers(*(torch.from_numpy(arrays[f"{kind}.{i}"]) for i in range(4))) for kind in LENGTHS}
    except KeyError:
        return None
