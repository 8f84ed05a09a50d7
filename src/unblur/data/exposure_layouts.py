"""How data sets of blurry pictures and the frames of their exposures are laid out, as their authors publish them.

As in `unblur.data.layouts` a layout is a matter of names alone.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Literal

from unblur.data.exposure_metadata import Split
from unblur.errors import UnblurError

ExposureLayout = Literal["auto", "rb2v", "baist", "reds"]

AVERAGED = "blur_"
"""Folders whose names begin so hold what was averaged from frames."""
_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "test": "test"}
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
    averaged: str = AVERAGED,
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
        found.append(Found(name, _partition(clip, split), blurry[0], ordered, annotation))
    return found


def _groups(names: Iterable[str], group: int, averaged: str, split: Split, *, named: bool) -> Iterable[Found]:
    """Consecutive numbers in a folder, `group` at a time; what is left over is left out."""
    folders: dict[str, dict[int, str]] = defaultdict(dict)
    for name in names:
        path = PurePosixPath(name)
        above = path.parts[:-1]
        numbered = path.stem.isascii() and path.stem.isdigit()
        sharp = not any(word in part for part in above for word in _NOT_SHARP)
        if numbered and sharp and (not named or any(map(_split, above))):
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
                yield Found(identity, _partition(folder, split), blurry, frames)


def _partition(folder: str, other: Split) -> Split:
    for part in folder.split("/"):
        known = _SPLITS.get(part) or _split(part)
        if known:
            return known
    return other


def _split(folder: str) -> Split | None:
    """The split in names such as `train_sharp`."""
    head, _, tail = folder.partition("_")
    return _SPLITS.get(head) if tail else None
