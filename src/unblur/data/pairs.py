"""Sharp and blurry pictures of the same moment, out of folders, LMDBs and manifests."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unblur.data.layouts import LayoutName, NoPairs, PairSplit, find_pairs, match
from unblur.data.lmdb_store import LmdbPictures, is_lmdb
from unblur.data.manifest import NAME as MANIFEST
from unblur.data.manifest import parse_manifest
from unblur.data.pictures import PictureFolder, Pictures, Pixels
from unblur.errors import UnblurError


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
    """Pairs in a folder or an LMDB, by its manifest or its layout, or in two places with equal names.

    Parameters
    ----------
    place : str
        A folder, an LMDB, a manifest written by ``unblur data blur``, or ``SHARP,BLURRY``: two folders or LMDBs.
    layout, part
        See `layouts.find_pairs`; they mean nothing to a manifest, nor to two places.
    exclude : sequence of str
        Patterns (``*``, ``?``) of blurry pictures that are left out.

    Raises
    ------
    UnblurError
        No pairs there, or some that do not match.
    """
    whole = _two_places(place) if "," in place and not Path(place).exists() else _one_place(place, layout, split)
    if split == "val" and whole.names and not _has_parts(whole):
        raise UnblurError(place, "has no validation split", "use `split=all`, or name other pairs")
    kept = [pair for pair in whole.names if not any(fnmatch.fnmatchcase(pair[1], pattern) for pattern in exclude)]
    if not kept:
        raise UnblurError(place, "has no pair that is not excluded", "exclude less")
    return replace(whole, names=kept)


def open_sharp(place: str, split: PairSplit = "train") -> tuple[Pictures, list[str]]:
    """Pictures to be blurred, and their names: the sharp halves where there are pairs, else all that there are."""
    if Path(place).name == MANIFEST:
        place = str(Path(place).parent)
    pictures = open_pictures(place)
    try:
        return pictures, [sharp for sharp, _ in _one_place(place, "auto", split, pictures).names]
    except NoPairs:
        return pictures, pictures.names


def _has_parts(pairs: Pairs) -> bool:
    return pairs.sharp is pairs.blurry and pairs.sharp.text(MANIFEST) is None


def _one_place(place: str, layout: LayoutName, split: PairSplit, pictures: Pictures | None = None) -> Pairs:
    if Path(place).name == MANIFEST:
        place = str(Path(place).parent)
    pictures = pictures or open_pictures(place)
    manifest = pictures.text(MANIFEST)
    if manifest is not None:
        return Pairs(place, pictures, pictures, _middles(place, manifest, pictures))
    return Pairs(place, pictures, pictures, find_pairs(place, pictures.names, layout=layout, split=split))


def _two_places(places: str) -> Pairs:
    first, _, second = places.partition(",")
    sharp, blurry = open_pictures(first.strip()), open_pictures(second.strip())
    return Pairs(places, sharp, blurry, match((first.strip(), second.strip()), sharp.names, blurry.names))


def _middles(place: str, manifest: str, pictures: Pictures) -> list[tuple[str, str]]:
    """Every blurry picture of a manifest and the frame of the middle of its exposure."""
    known, pairs = set(pictures.names), []
    for number, record in enumerate(parse_manifest(manifest, f"{place}/{MANIFEST}"), 1):
        where = f"{place}/{MANIFEST}, line {number}"
        middle = [frame for frame, time in zip(record.frames, record.times, strict=True) if abs(time - 0.5) < 1e-3]
        if not middle:
            remedy = "make it with an odd number of `frames`"
            raise UnblurError(where, "has no sharp frame of the middle of the exposure", remedy)
        for name in (middle[0], record.blurry):
            if name not in known:
                raise UnblurError(where, f"names {name}, which is not there", "make it again with unblur data blur")
        pairs.append((middle[0], record.blurry))
    return pairs
