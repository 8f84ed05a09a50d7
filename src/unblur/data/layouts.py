"""How data sets of sharp and blurry pictures are laid out, as their authors publish them.

A layout is a matter of names alone, so that it is the same in a folder and in an LMDB made from it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath
from typing import Literal

from unblur.data.exposure_metadata import Box, Split
from unblur.errors import UnblurError
from unblur.media.folder import IMAGE_SUFFIXES
from unblur.models.safe_pickle import Array, read_arrays

PairSplit = Literal["train", "val", "test", "all"]
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
    split : {"train", "val", "test", "all"}
        Without the pictures that a layout holds out, these alone (val and test are the same), or both.

    Returns
    -------
    list of (str, str)
        Sharp and blurry, sorted by the name of the blurry one.

    Raises
    ------
    UnblurError
        No such layout there, a picture without its other half, two halves for one, nothing of that split.
    """
    for candidate in LAYOUTS:
        if layout in ("auto", candidate.name):
            blurry, sharp = _halves(place, names, candidate)
            if blurry and sharp:
                _check_alike(place, blurry, sharp)
                pairs = [(sharp[key], blurry[key]) for key in blurry]
                return _of_split_before(place, pairs, candidate.heldout, split)
    remedy = "use blur_imgs/... and sharp_imgs/..., or name two places with equal names: SHARP,BLURRY"
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


def _of_split_before(
    place: str, pairs: list[tuple[str, str]], heldout: Callable[[tuple[str, ...]], bool] | None, split: PairSplit
) -> list[tuple[str, str]]:
    pairs = sorted(pairs, key=lambda pair: pair[1].split("/"))
    if split == "all":
        return pairs
    wanted = split != "train"
    chosen = [pair for pair in pairs if bool(heldout and heldout(PurePosixPath(pair[1]).parts)) == wanted]
    if not chosen:
        raise UnblurError(place, f"has no pair of the split {split}", "use `split=all`, or name other pairs")
    return chosen


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    # The name of a picture in an LMDB of others may have a dot and no suffix.
    return (path.parent / path.stem).as_posix() if path.suffix.lower() in IMAGE_SUFFIXES else name


ExposureLayout = Literal["auto", "rb2v", "baist", "reds"]

MEANS = "blur_"
"""Folders whose names begin so hold what was averaged from frames."""
SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "test": "test"}
"""Splits by the names of folders, or what precedes an underscore in them."""
_NOT_SHARP = ("blur", "bicubic")
_FRAME = re.compile(r"(.+)_([0-9]{1,9})")
_FIRST = {"rb2v": 1, "baist": 0}
_KNOWN = "use <clip>/blur/0.png with <clip>/sharp/0_1.png ... 0_7.png, or train_sharp/000/00000000.png ..."


@dataclass(frozen=True)
class Found:
    """One exposure, by the names of its pictures.

    Attributes
    ----------
    id : str
    split : {"train", "val", "test"}
    blurry : str
        For frames without a blurry picture, where their mean is to be.
    frames : tuple of str
    annotation : str or None
        Where B-AIST++ says where the person is.
    """

    id: str
    split: Split
    blurry: str
    frames: tuple[str, ...]
    annotation: str | None = None


def find_exposures(
    place: str,
    names: Sequence[str],
    *,
    layout: ExposureLayout = "auto",
    split: Split = "train",
    group: int = 7,
    averaged: str = MEANS,
) -> tuple[ExposureLayout, list[Found]]:
    """Which pictures are one exposure.

    ========  ===========================================================================
    layout    pictures
    ========  ===========================================================================
    rb2v      ``<clip>/blur/<image>.png``, ``<clip>/sharp/<image>_1.png`` ... ``_7.png``
    baist     the same with frames from ``_000`` on, and ``<clip>/blur_anno/<image>.pkl``
    reds      ``train_sharp/<clip>/<number>.png``: every `group` consecutive numbers are
              an exposure, whose blurry picture is to be their mean
    ========  ===========================================================================

    Parameters
    ----------
    place : str
        Where the pictures are, for messages.
    names : sequence of str
        Paths below it, with ``/`` between the parts.
    layout : str
        "auto" takes reds only where a folder is named as there, such as ``train_sharp`` or ``val_orig``.
    split : {"train", "val", "test"}
        Of clips in no folder with the name of one.
    group : int
        Frames of an exposure in the layout reds.
    averaged : str
        Folder for the means in the layout reds.

    Returns
    -------
    layout : str
    found : list of Found
        Sorted by their names.

    Raises
    ------
    UnblurError
        No such layout there, a blurry picture without frames or frames without one, a frame that is missing, clips
        with different numbers of frames.
    """
    if layout in ("auto", "rb2v", "baist"):
        clips = _clips(place, names)
        if clips:
            first = min(number for _, frames in clips.values() for number in frames)
            kind: ExposureLayout = layout if layout != "auto" else "baist" if first == 0 else "rb2v"
            return kind, _listed(place, clips, _FIRST[kind], split)
    if layout in ("auto", "reds"):
        found = list(_groups(names, group, averaged, split, named=layout == "auto"))
        if found:
            return "reds", found
    wanted = "exposures with their frames" if layout == "auto" else f"exposures in the layout {layout}"
    raise UnblurError(place, f"holds no {wanted}", _KNOWN)


Clips = dict[tuple[str, str], tuple[list[str], dict[int, str]]]
"""Blurry pictures and frames by their numbers, for each clip and image."""


def _clips(place: str, names: Iterable[str]) -> Clips:
    clips: Clips = defaultdict(lambda: ([], {}))
    for name in names:
        path = PurePosixPath(name)
        clip, kind = path.parent.parent.as_posix(), path.parent.name
        if kind == "blur":
            clips[clip, path.stem][0].append(name)
        elif kind == "sharp" and (match := _FRAME.fullmatch(path.stem)):
            other = clips[clip, match[1]][1].setdefault(int(match[2]), name)
            if other != name:
                raise UnblurError(place, f"holds both {other} and {name}", "remove one of them")
    # GoPro's folders have the same names, but one sharp picture for each blurry one.
    return dict(clips) if any(blurry and frames for blurry, frames in clips.values()) else {}


def _listed(place: str, clips: Clips, first: int, split: Split) -> list[Found]:
    remedy = "add what is missing, or remove what has no other half"
    found = []
    usual = Counter(len(frames) for _, frames in clips.values()).most_common(1)[0][0]
    for (clip, image), (blurry, frames) in sorted(clips.items(), key=lambda item: (item[0][0].split("/"), item[0][1])):
        name = f"{clip}/{image}".removeprefix("./")
        if not frames or not blurry:
            problem = "no sharp frame" if blurry else "frames but no blurry picture"
            raise UnblurError(place, f"{name} has {problem}", remedy)
        if len(blurry) > 1:
            raise UnblurError(place, f"holds both {blurry[0]} and {blurry[1]}", "remove one of them")
        missing = next((n for n in range(first, first + len(frames)) if n not in frames), None)
        if missing is not None:
            problem = f"{name} misses frame {missing}" if missing < max(frames) else f"{name} starts at {min(frames)}"
            raise UnblurError(place, problem, f"number the frames from {first} on, or remove the clip")
        if len(frames) != usual:
            raise UnblurError(place, f"{name} has {len(frames)} frames, most have {usual}", remedy)
        annotation = (PurePosixPath(clip) / "blur_anno" / f"{image}.pkl").as_posix()
        ordered = tuple(frames[n] for n in sorted(frames))
        found.append(Found(name, _split_of(clip, split), blurry[0], ordered, annotation))
    return found


def _groups(names: Iterable[str], group: int, averaged: str, split: Split, *, named: bool) -> Iterable[Found]:
    """Consecutive numbers in a folder, `group` at a time; what is left over is left out."""
    folders: dict[str, dict[int, str]] = defaultdict(dict)
    for name in names:
        path = PurePosixPath(name)
        above = path.parts[:-1]
        numbered = path.stem.isascii() and path.stem.isdigit()
        sharp = not any(word in part for part in above for word in _NOT_SHARP)
        if numbered and sharp and (not named or any(map(_split_before, above))):
            folders[path.parent.as_posix()][int(path.stem)] = name
    for folder in sorted(folders, key=lambda name: name.split("/")):
        numbers = sorted(folders[folder])
        for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
            consecutive = [folders[folder][number] for _, number in run]
            for start in range(0, len(consecutive) - group + 1, group):
                frames = tuple(consecutive[start : start + group])
                middle = PurePosixPath(frames[group // 2])
                blurry = (PurePosixPath(averaged) / middle.with_suffix(".png")).as_posix()
                identity = PurePosixPath(frames[0]).with_suffix("").as_posix()
                yield Found(identity, _split_of(folder, split), blurry, frames)


def _split_of(folder: str, other: Split) -> Split:
    for part in folder.split("/"):
        known = SPLIT_FOLDERS.get(part) or _split_before(part)
        if known:
            return known
    return other


def _split_before(folder: str) -> Split | None:
    """The split in names such as `train_sharp`."""
    head, _, tail = folder.partition("_")
    return SPLIT_FOLDERS.get(head) if tail else None


BOX_KEY = "bbox"
LONGEST = 1 << 20
"""Bytes of an annotation, at most."""


def read_box(path: Path) -> Box | None:
    """Where the person is in a picture of B-AIST++: the numbers under the key ``bbox`` of a pickled dictionary.

    They may be a list, a tuple or an array. Nothing in the pickle is run.

    Returns
    -------
    tuple of float or None
        Left, top, right, bottom in pixels, perhaps how sure the detector was; None if there is no such file, or no box
        in it that can be read.
    """
    try:
        if path.stat().st_size > LONGEST:
            return None
        box = read_arrays(path.read_bytes(), ("f4", "f8", "i4", "i8"), skip_unknown=True)[BOX_KEY]
        numbers = tuple(map(float, box.tensor.tolist() if isinstance(box, Array) else box))
    except Exception:  # a damaged pickle may raise anything
        return None
    fits = len(numbers) in (4, 5) and numbers[0] < numbers[2] and numbers[1] < numbers[3]
    return numbers if fits and all(abs(number) < 1e9 for number in numbers) else None
