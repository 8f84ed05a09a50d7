"""How data sets of sharp and blurry pictures are laid out, as their authors publish them.

A layout is a matter of names alone, so that it is the same in a folder and in an LMDB made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Literal

from unblur.errors import UnblurError
from unblur.media.folder import IMAGE_SUFFIXES

PairSplit = Literal["train", "val", "all"]
LayoutName = Literal["auto", "released", "reds", "gopro", "gopro-gamma", "blurry-sharp", "input-target"]

REDS4 = frozenset({"000", "011", "015", "020"})
"""The sequences of REDS's training part that Blur Kernel Space, like most work since EDVR, is tested on."""


class NoPairs(UnblurError):
    """Nothing there is laid out as pairs are; it may be a set of sharp pictures all the same."""


@dataclass(frozen=True)
class Layout:
    """Pairs whose paths differ in one folder.

    Attributes
    ----------
    name : str
    folders : tuple of (str, str)
        Names of the folder with blurry pictures and of the one with sharp ones.
    heldout : callable, optional
        Whether the picture of a path is kept out of training.
    """

    name: LayoutName
    folders: tuple[tuple[str, str], ...]
    heldout: Callable[[tuple[str, ...]], bool] | None = None


def _reds4(parts: tuple[str, ...]) -> bool:
    return any(part.startswith("train_") and after in REDS4 for part, after in pairwise(parts))


def _test(parts: tuple[str, ...]) -> bool:
    return "test" in parts[:-1]


LAYOUTS = (
    # ROOT/blur_imgs/SEQUENCE/NAME.png, as the README of Blur Kernel Space has it
    Layout("released", (("blur_imgs", "sharp_imgs"),)),
    # ROOT/train/train_blur/000/00000000.png
    Layout("reds", (("train_blur", "train_sharp"), ("val_blur", "val_sharp")), _reds4),
    # ROOT/train/GOPR0372_07_00/blur/000047.png; `blur` is the mean of stored values, `blur_gamma` that of light
    Layout("gopro", (("blur", "sharp"),), _test),
    Layout("gopro-gamma", (("blur_gamma", "sharp"),), _test),
    # as `unblur augment` writes
    Layout("blurry-sharp", (("blurry", "sharp"),)),
    Layout("input-target", (("input", "target"),), _test),
)


def find_pairs(
    place: str, names: Sequence[str], *, layout: LayoutName = "auto", split: PairSplit = "train"
) -> list[tuple[str, str]]:
    """Which pictures belong together.

    Parameters
    ----------
    place : str
        Where the pictures are, for messages.
    names : sequence of str
        Paths below it, with ``/`` between the parts.
    layout : str
        A name in `LAYOUTS`; "auto" takes the first of which there are both blurry and sharp pictures.
    split : {"train", "val", "all"}
        Without the pictures that a layout holds out, these alone, or both.

    Returns
    -------
    list of (str, str)
        Sharp and blurry, sorted by the name of the blurry one.

    Raises
    ------
    UnblurError
        No such layout there, a picture without its other half, two halves for one, no validation split.
    """
    for candidate in LAYOUTS:
        if layout in ("auto", candidate.name):
            blurry, sharp = _halves(place, names, candidate)
            if blurry and sharp:
                _check_alike(place, blurry, sharp)
                pairs = [(sharp[key], blurry[key]) for key in blurry]
                return _part(place, pairs, candidate.heldout, split)
    remedy = "use blur_imgs/... and sharp_imgs/..., or say SHARP,BLURRY: two places with equal names"
    wanted = "pairs" if layout == "auto" else f"pairs in the layout {layout}"
    raise NoPairs(place, f"holds no {wanted}", remedy)


def match(places: tuple[str, str], sharp: Iterable[str], blurry: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of equal names, but for the suffix, in two places.

    Raises
    ------
    UnblurError
        As `find_pairs`.
    """
    where = ",".join(places)
    keys = [_unique(where, ((_stem(name), name) for name in names)) for names in (sharp, blurry)]
    _check_alike(where, keys[1], keys[0])
    return [(keys[0][key], name) for key, name in keys[1].items()]


def _halves(place: str, names: Sequence[str], layout: Layout) -> tuple[dict[str, str], dict[str, str]]:
    """Blurry and sharp pictures by what is the same in their paths."""
    roles = {name: (number, half) for number, pair in enumerate(layout.folders) for half, name in enumerate(pair)}
    found: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    for name in names:
        parts = name.split("/")
        # The deepest folder of such a name decides: others may lie in folders of any name.
        at = next((i for i in reversed(range(len(parts) - 1)) if parts[i] in roles), None)
        if at is not None:
            number, half = roles[parts[at]]
            found[half].append((_stem("/".join([*parts[:at], f"\0{number}", *parts[at + 1 :]])), name))
    return _unique(place, found[0]), _unique(place, found[1])


def _unique(place: str, named: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, name in named:
        if key in found:
            raise UnblurError(place, f"holds both {found[key]} and {name}", "remove one of them")
        found[key] = name
    return found


def _check_alike(place: str, blurry: dict[str, str], sharp: dict[str, str]) -> None:
    for one, other, missing in ((blurry, sharp, "sharp"), (sharp, blurry, "blurry")):
        alone = [name for key, name in one.items() if key not in other]
        if alone:
            more = f", nor have {len(alone) - 1} more" if len(alone) > 1 else ""
            problem = f"{min(alone)} has no {missing} picture of its name{more}"
            raise UnblurError(place, problem, "add what is missing, or remove what has no other half")


def _part(
    place: str, pairs: list[tuple[str, str]], heldout: Callable[[tuple[str, ...]], bool] | None, split: PairSplit
) -> list[tuple[str, str]]:
    pairs = sorted(pairs, key=lambda pair: pair[1].split("/"))
    if split == "all":
        return pairs
    chosen = [pair for pair in pairs if bool(heldout and heldout(PurePosixPath(pair[1]).parts)) == (split == "val")]
    if not chosen:
        problem = "has no validation split" if split == "val" else "holds nothing but its validation split"
        raise UnblurError(place, problem, "use `split=all`, or name other pairs")
    return chosen


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    # The name of a picture in an LMDB of others may have a dot and no suffix.
    return (path.parent / path.stem).as_posix() if path.suffix.lower() in IMAGE_SUFFIXES else name
