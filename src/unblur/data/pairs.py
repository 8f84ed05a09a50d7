"""Sharp and blurry pictures of the same moment, out of folders and LMDBs."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.data.exposure_metadata import NAME as METADATA
from unblur.data.exposure_metadata import parse_metadata
from unblur.data.layouts import LayoutName, NoPairs, PairSplit, find_pairs, match
from unblur.data.lmdb_store import LmdbPictures, is_lmdb
from unblur.data.pictures import PictureFolder, Pictures, Pixels
from unblur.data.synthetic_batches import SyntheticExposures
from unblur.errors import UnblurError, UsageError

S = TypeVar("S", bound=Sized)


@dataclass(frozen=True)
class Pairs:
    """Pictures that belong together.

    Attributes
    ----------
    place : str
        Where they are, for messages.
    sharp, blurry : Pictures
        Where the two halves are; may be the same.
    names : list of (str, str)
        Sharp and blurry.
    """

    place: str
    sharp: Pictures
    blurry: Pictures
    names: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.names)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of both.

        Raises
        ------
        UnblurError
            The two differ.
        """
        sharp, blurry = self.names[index]
        one, other = self.sharp.size(sharp), self.blurry.size(blurry)
        if one != other:
            raise self._unequal(index, one, other)
        return one

    def read(self, index: int) -> tuple[Pixels, Pixels]:
        """Sharp and blurry, both (H, W, 3) uint8 RGB.

        Raises
        ------
        UnblurError
            One cannot be read, or the sizes differ.
        """
        sharp, blurry = self.names[index]
        one, other = self.sharp.read(sharp), self.blurry.read(blurry)
        if one.shape != other.shape:
            raise self._unequal(index, one.shape, other.shape)
        return one, other

    def check_sizes(self, least: int = 1) -> None:
        """Look at the heads of all files, so that a training does not end at the first odd pair that it draws.

        Raises
        ------
        UnblurError
            Sizes of a pair differ, or a side is shorter than `least` pixels.
        """
        for index, (_, blurry) in enumerate(self.names):
            height, width = self.size(index)
            if min(height, width) < least:
                problem = f"{blurry} is {width} x {height}, smaller than crops of {least} x {least}"
                raise UnblurError(self.place, problem, "ask for smaller crops, or remove it")

    def _unequal(self, index: int, sharp: Sequence[int], blurry: Sequence[int]) -> UnblurError:
        names = self.names[index]
        one, other = (f"{name} is {size[1]} x {size[0]}" for name, size in zip(names, (sharp, blurry), strict=True))
        return UnblurError(self.place, f"{other}, but {one}", "a pair has one size; make or crop them again")


def open_pictures(place: str) -> Pictures:
    """The pictures of a folder (at any depth) or an LMDB.

    Raises
    ------
    UnblurError
        Neither, or no picture in it.
    """
    return LmdbPictures(place) if is_lmdb(place) else PictureFolder(place)


def open_pairs(
    place: str, *, layout: LayoutName = "auto", split: PairSplit = "train", exclude: Sequence[str] = ()
) -> Pairs:
    """Pairs in a folder or an LMDB, by its metadata or its layout, or in two places with equal names.

    Parameters
    ----------
    place : str
        A folder, an LMDB, a ``metadata.json`` beside its pictures, or ``SHARP,BLURRY``: two folders or LMDBs.
    layout : str
        See `layouts.find_pairs`. "auto" takes a ``metadata.json`` first, and pairs blurry pictures with the frames of
        the middle.
    split : {"train", "val", "test", "all"}
        Of metadata; of a layout val and test are what it holds out, of two places nothing is.
    exclude : sequence of str
        Patterns (``*``, ``?``) of blurry pictures that are left out.

    Raises
    ------
    UnblurError
        No pairs there, or some that do not match.
    """
    if "," in place and not Path(place).exists():
        if split in ("val", "test"):
            raise UnblurError(place, f"has no split {split}", "use `split=all`, or name other pairs")
        whole = _two_places(place)
    else:
        whole = _one_place(place, layout, split)
    kept = [pair for pair in whole.names if not any(fnmatch.fnmatchcase(pair[1], pattern) for pattern in exclude)]
    if not kept:
        raise UnblurError(place, "has no pair that is not excluded", "exclude less")
    return replace(whole, names=kept)


def open_sharp(place: str, split: PairSplit = "train") -> tuple[Pictures, list[str]]:
    """Pictures to be blurred, and their names: the sharp halves where there are pairs, else all that there are."""
    if Path(place).name == METADATA:
        place = str(Path(place).parent)
    pictures = open_pictures(place)
    try:
        return pictures, [sharp for sharp, _ in _one_place(place, "auto", split, pictures).names]
    except NoPairs:
        return pictures, pictures.names


def _one_place(place: str, layout: LayoutName, split: PairSplit, pictures: Pictures | None = None) -> Pairs:
    if Path(place).name == METADATA:
        place = str(Path(place).parent)
    pictures = pictures or open_pictures(place)
    text = pictures.text(METADATA) if layout == "auto" else None
    if text is not None:
        return Pairs(place, pictures, pictures, _middles(place, text, pictures, split))
    return Pairs(place, pictures, pictures, find_pairs(place, pictures.names, layout=layout, split=split))


def _two_places(places: str) -> Pairs:
    first, _, second = places.partition(",")
    sharp, blurry = open_pictures(first.strip()), open_pictures(second.strip())
    return Pairs(places, sharp, blurry, match((first.strip(), second.strip()), sharp.names, blurry.names))


def _middles(place: str, text: str, pictures: Pictures, split: PairSplit) -> list[tuple[str, str]]:
    """Every blurry picture that metadata name, and the frame of the middle of its exposure."""
    where = f"{place}/{METADATA}"
    whole = parse_metadata(text, where)
    known, pairs = set(pictures.names), []
    for entry in whole.of_split(None if split == "all" else split).entries:
        times = zip(entry.frames, entry.frame_times(), strict=True)
        middle = next((frame for frame, time in times if abs(time - 0.5) < 1e-3), None)
        if middle is None:
            remedy = "make it with an odd number of frames, or name a `layout`"
            raise UnblurError(f"{where}, {entry.id}", "has no sharp frame of the middle of the exposure", remedy)
        for name in (middle, entry.blurry):
            if name not in known:
                raise UnblurError(f"{where}, {entry.id}", f"names {name}, which is not there", "make it again")
        pairs.append((middle, entry.blurry))
    return pairs


def shares_of(sets: Sequence[tuple[Sized, float]]) -> NDArray[np.float64]:
    """How often each set is drawn from: a set's weight is how often each of its members counts.

    Raises
    ------
    UsageError
        A weight below 0, or no weight above it.
    """
    weights = np.array([weight * len(one) for one, weight in sets], dtype=np.float64)
    if not sets or not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() == 0:
        raise UsageError("weight", None, "must be 0 or more, and above 0 for one of the sets", "correct the recipe")
    return weights / weights.sum()


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
        self._shares = shares_of(sets)
        self.sets = [pairs for pairs, _ in sets]
        for pairs, share in zip(self.sets, self._shares, strict=True):
            if share:
                pairs.check_sizes(least=size)
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
        batch = self.exposures.batch(step, device)
        pair = {"sharp": batch["frames"][:, 0], "blurry": batch["blurry"]}
        if batch["times"].shape[1] == 1:
            return pair
        return pair | {"times": batch["times"][:, 1:], "paths": batch["paths"][:, 1:]}


def val_batches(pairs: Sequence[Pairs], *, count: int, size: int, batch_size: int = 4) -> list[dict[str, Tensor]]:
    """Fixed crops from the middles of `count` pairs, spread evenly over each of the sets.

    Parameters
    ----------
    size : int
        Side of the crops; smaller pictures are cropped to what they have, and come alone.
    """
    chosen = [(2, _middle_crop(*one.read(index), size)) for one, index in spread_evenly(pairs, count)]
    stacked = [torch.stack([crop for _, crop in batch], 1) for batch in batched(chosen, batch_size)]
    return [dict(zip(("sharp", "blurry"), both, strict=True)) for both in stacked]


def spread_evenly(sets: Sequence[S], count: int) -> Iterator[tuple[S, int]]:
    """Sets and indices of `count` things, spread evenly over each of the sets, or of all where there are fewer."""
    for number, one in enumerate(sets):
        share = count // len(sets) + (number < count % len(sets))
        for index in np.linspace(0, len(one) - 1, min(share, len(one))).round():
            yield one, int(index)


def batched(crops: Iterable[tuple[int, Tensor]], size: int) -> list[list[tuple[int, Tensor]]]:
    """Numbered crops that follow each other with one shape, at most `size` together."""
    batches: list[list[tuple[int, Tensor]]] = []
    for number, crop in crops:
        if not batches or len(batches[-1]) == size or batches[-1][0][1].shape != crop.shape:
            batches.append([])
        batches[-1].append((number, crop))
    return batches


def _middle_crop(sharp: Pixels, blurry: Pixels, size: int) -> Tensor:
    """(2, 3, h, w) in [0, 1]."""
    both = torch.from_numpy(np.stack((sharp, blurry))).permute(0, 3, 1, 2).float() / 255
    top, left = (max(0, (side - size) // 2) for side in both.shape[-2:])
    return both[..., top : top + size, left : left + size]
