"""Pairs that are made by moving blur from one picture to another, each by its number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from unblur._version import __version__
from unblur.data.layouts import PairSplit
from unblur.data.pairs import open_pairs, open_sharp
from unblur.data.pictures import Pixels
from unblur.data.stills import to_uint8
from unblur.errors import UnblurError
from unblur.media.encode import encode
from unblur.metrics.fidelity import psnr
from unblur.pipeline.blur_transfer import BlurSpace, seed_of

Crop = tuple[int, int, int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class AugmentOptions:
    """What is made.

    Attributes
    ----------
    n : int
        Pairs in all.
    size : int
        Height and width of the crops in pixels; 0 takes whole pictures, and fits the codes to them.
    seed : int
        Pair number i depends on this, on i and on the pictures alone.
    split : {"train", "val", "all"}
        Of data sets that hold pictures out of training; see `unblur.data.layouts`.
    workers : int, optional
        Threads, each on one core; whatever their number, the pictures are the same. As many as torch uses on a CPU, 2
        elsewhere, if left out.
    """

    n: int = 1000
    size: int = 256
    seed: int = 0
    split: PairSplit = "train"
    workers: int | None = None

    def checked(self) -> AugmentOptions:
        """Themselves, if they can be met."""
        for name, least in (("n", 1), ("size", 0), ("seed", 0), ("workers", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                dashes = "-" if len(name) == 1 else "--"
                raise UnblurError(f"{dashes}{name} {value}", "too small", f"use {least} or more")
        return self


@dataclass(frozen=True)
class Made:
    """A pair that was made.

    Attributes
    ----------
    entry : dict
        Where everything in it came from; see `unblur.datasets.collection`.
    sharp, blurry : ndarray
        (H, W, 3) uint8.
    source : tuple of ndarray
        Sharp, blurry, and the sharp one with the code put on it; empty for blur that was drawn.
    """

    entry: dict[str, Any]
    sharp: Pixels
    blurry: Pixels
    source: tuple[Pixels, ...] = ()

    def files(self) -> dict[str, bytes]:
        """PNG files by their names."""
        return {self.entry[half]: encode(getattr(self, half), "png", 95, None, None) for half in ("blurry", "sharp")}


class Maker:
    """Makes any pair by its number.

    Attributes
    ----------
    faults : list of UnblurError
        Of pictures whose head cannot be read. They are drawn as the others are, and fail then: once they are mended,
        another run makes what is missing, the same as if nothing had been wrong.
    """

    def __init__(self, space: BlurSpace, sources: str | None, targets: str, options: AugmentOptions) -> None:
        self.space, self.options = space, options
        self.pairs = None if sources is None else open_pairs(sources, split=options.split)
        self.targets, names = open_sharp(targets, options.split)
        self.numbers: list[int] = []
        self.faults: list[UnblurError] = []
        if self.pairs is not None:
            self.numbers = self._large_enough(self.pairs.place, range(len(self.pairs)), self.pairs.size)
        self.names = self._large_enough(targets, names, self.targets.size)
        self.places = {"sources": sources, "targets": targets}

    def _large_enough(self, place: str, names: Sequence[T], size_of: Callable[[T], tuple[int, int]]) -> list[T]:
        """Those whose pictures hold a crop, and those of which nobody knows."""
        found: list[T] = []
        known = False
        for name in names:
            try:
                if min(size_of(name)) < self.options.size:
                    continue
                known = True
            except UnblurError as fault:
                self.faults.append(fault)
            found.append(name)
        if not known and self.faults:
            raise self.faults[-1]
        if not known:
            size = self.options.size
            raise UnblurError(place, f"holds no picture as large as {size} x {size}", "use a smaller `size`")
        return found

    def about(self) -> dict[str, Any]:
        """What the pairs depend on; where the pictures lie is for people, their names and sizes count."""
        sources = [self.pairs.names[number] for number in self.numbers] if self.pairs else []
        return {
            "unblur": __version__,
            "places": self.places,
            "model": self.space.name,
            "sha256": self.space.fingerprint,
            "size": self.options.size,
            "seed": self.options.seed,
            "sources": _sum([f"{sharp}\n{blurry}" for sharp, blurry in sources]),
            "targets": _sum(self.names),
        }

    def make(self, index: int) -> Made:
        """Pair number `index`; depends on the seed, that number and the pictures alone."""
        rng = np.random.default_rng((self.options.seed, index))
        name = self.names[rng.integers(len(self.names))]
        sharp, crop = _cropped([self.targets.read(name)], self.options.size, rng)
        folder, file = f"{index // 1000:03d}", f"{index:08d}.png"
        entry: dict[str, Any] = {
            "index": index,
            "blurry": f"blurry/{folder}/{file}",
            "sharp": f"sharp/{folder}/{file}",
            "target": {"picture": name, "crop": crop},
            "seed": self.options.seed,
            "model": self.space.name,
            "sha256": self.space.fingerprint,
        }
        target = _tensor(sharp[0])
        if self.pairs is None:
            number = seed_of(self.options.seed, index)
            code = self.space.draw(target.shape[1], target.shape[2], number)
            return Made(entry | {"drawn": number}, sharp[0], to_uint8(self.space.apply(target, code, name)))
        number = self.numbers[rng.integers(len(self.numbers))]
        halves, crop = _cropped(self.pairs.read(number), self.options.size, rng)
        names = dict(zip(("sharp", "blurry"), self.pairs.names[number], strict=True))
        one, other = (_tensor(half) for half in halves)
        code = self.space.encode(one, other, names["blurry"])
        again = self.space.apply(one, code, names["sharp"])
        entry["source"] = {**names, "crop": crop}
        entry["reconstruction_psnr"] = round(float(psnr(again, other, levels=255)), 3)
        made = to_uint8(self.space.apply(target, code, name))
        return Made(entry, sharp[0], made, (*halves, to_uint8(again)))


def _cropped(pictures: Sequence[Pixels], size: int, rng: np.random.Generator) -> tuple[list[Pixels], Crop]:
    """The same random crop of each, and its top, left, height and width."""
    height, width = pictures[0].shape[:2]
    if size == 0:
        return list(pictures), (0, 0, height, width)
    top, left = (int(rng.integers(side - size + 1)) for side in (height, width))
    return [picture[top : top + size, left : left + size] for picture in pictures], (top, left, size, size)


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255


def _sum(names: Sequence[str]) -> str:
    """So that other pictures are told from these."""
    return f"{len(names)}:{hashlib.sha256(chr(0).join(names).encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
