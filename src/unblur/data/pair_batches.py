"""Batches of crops of pairs, to train on and to measure on."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unblur.data.pairs import Pairs
from unblur.data.pictures import Pixels
from unblur.data.synthetic_batches import SyntheticExposures
from unblur.errors import UnblurError


class PairBatches:
    """Training batches of crops that are a function of (seed, step) alone.

    Every pair counts as often as its set's weight says (the released recipe for GoPro and REDS: 10 and 1). A crop is at
    a random place, mirrored in x, in y and along the diagonal at random, sharp and blurry alike.

    Parameters
    ----------
    sets : sequence of (Pairs, float)
        Each with its weight.
    size : int
        Side of the crops in pixels.
    batch_size : int
        Pairs per batch.
    seed : int
        Two sources of one seed are the same.
    threads : int
        Read so many pictures at a time.

    Raises
    ------
    UnblurError
        A weight below 0, no weight above it, pictures smaller than a crop, pairs of two sizes.
    """

    def __init__(
        self,
        sets: Sequence[tuple[Pairs, float]],
        *,
        size: int = 256,
        batch_size: int = 16,
        seed: int = 0,
        threads: int = 4,
    ) -> None:
        weights = np.array([weight * len(pairs) for pairs, weight in sets], dtype=np.float64)
        if not sets or not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() == 0:
            raise UnblurError("weight", "must be 0 or more, and above 0 for one of the sets", "correct the recipe")
        self.sets = [pairs for pairs, _ in sets]
        for pairs, share in zip(self.sets, weights, strict=True):
            if share:
                pairs.check_sizes(least=size)
        self._shares = weights / weights.sum()
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self._pool = ThreadPoolExecutor(max(1, threads))

    def batch(self, step: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Batch number `step`: sharp and blurry, both (B, 3, size, size) in [0, 1]."""
        rng = np.random.default_rng((self.seed, step))
        # All that is random is drawn here, in order: threads may finish as they like.
        crops = list(self._pool.map(self._crop, [self._drawn(rng) for _ in range(self.batch_size)]))
        stacked = torch.from_numpy(np.stack(crops)).to(device).permute(1, 0, 4, 2, 3).float() / 255
        return {"sharp": stacked[0].contiguous(), "blurry": stacked[1].contiguous()}

    def _drawn(self, rng: np.random.Generator) -> _Drawn:
        pairs = self.sets[rng.choice(len(self.sets), p=self._shares)]
        number = int(rng.integers(len(pairs)))
        top, left = rng.random(2).tolist()
        mirrored, upside_down, transposed = (rng.random(3) < 0.5).tolist()
        return _Drawn(pairs, number, top, left, mirrored, upside_down, transposed)

    def _crop(self, drawn: _Drawn) -> Pixels:
        """(2, size, size, 3) uint8."""
        halves = drawn.pairs.read(drawn.number)
        top, left = (
            int(place * (side - self.size + 1))
            for place, side in zip((drawn.top, drawn.left), halves[0].shape[:2], strict=True)
        )
        both = np.stack([half[top : top + self.size, left : left + self.size] for half in halves])
        both = both[:, :, ::-1] if drawn.mirrored else both
        both = both[:, ::-1] if drawn.upside_down else both
        return np.ascontiguousarray(both.swapaxes(1, 2) if drawn.transposed else both)


class _Drawn(NamedTuple):
    """What chance has chosen for one crop; `top` and `left` as shares of the room there is."""

    pairs: Pairs
    number: int
    top: float
    left: float
    mirrored: bool
    upside_down: bool
    transposed: bool


class ExposurePairs:
    """Synthetic exposures as pairs: what the camera took, and the frame of the middle.

    Parameters
    ----------
    exposures : SyntheticExposures
        Made of nothing but sharp pictures.
    """

    def __init__(self, exposures: SyntheticExposures) -> None:
        self.exposures = exposures

    def batch(self, step: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Batch number `step`: sharp, blurry (B, 3, S, S), times (B, T), paths (B, T, 2, S, S), all but the middle."""
        made = self.exposures.batch(step, device)
        pair = {"sharp": made["frames"][:, 0], "blurry": made["blurry"]}
        if made["times"].shape[1] == 1:
            return pair
        return pair | {"times": made["times"][:, 1:], "paths": made["paths"][:, 1:]}


def val_batches(pairs: Sequence[Pairs], *, count: int, size: int, batch_size: int = 4) -> list[dict[str, Tensor]]:
    """Fixed crops from the middles of `count` pairs, spread evenly over each of the sets.

    Parameters
    ----------
    size : int
        Side of the crops; smaller pictures are cropped to what they have, and come alone.
    """
    chosen = []
    for number, one in enumerate(pairs):
        share = count // len(pairs) + (number < count % len(pairs))
        places = np.linspace(0, len(one) - 1, min(share, len(one))).round().astype(int)
        chosen += [_middle_crop(*one.read(int(index)), size) for index in places]
    batches: list[list[Tensor]] = []
    for crop in chosen:
        if not batches or len(batches[-1]) == batch_size or batches[-1][0].shape != crop.shape:
            batches.append([])
        batches[-1].append(crop)
    return [dict(zip(("sharp", "blurry"), torch.stack(batch, 1), strict=True)) for batch in batches]


def _middle_crop(sharp: Pixels, blurry: Pixels, size: int) -> Tensor:
    """(2, 3, h, w) in [0, 1]."""
    both = torch.from_numpy(np.stack((sharp, blurry))).permute(0, 3, 1, 2).float() / 255
    top, left = (max(0, (side - size) // 2) for side in both.shape[-2:])
    return both[..., top : top + size, left : left + size]
