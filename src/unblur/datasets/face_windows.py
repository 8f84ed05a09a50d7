"""Faces as exposures: where a face is in every frame of a clip, and windows of frames cropped about it.

As CFMD-GAN makes them of 300VW (Lee, Han, Heo, IEEE Access 2022): windows of 5 to 13 frames every 5 frames; the face's
box, enlarged by half of itself on each side and made square, the same for all frames, at 256 x 256 pixels; only where
every frame is sharp. Where the face and its left eye are is told by annotations, a file, or a detector.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.analysis.optical_flow import is_duplicate
from unblur.data.pictures import Pixels
from unblur.data.stills import to_uint8
from unblur.errors import UnblurError
from unblur.exposure.average import average
from unblur.exposure.response import Response
from unblur.media.folder import atomic_path
from unblur.pipeline.face_detection import Box, Detector, Face, find_faces

EYE = 36
"""Of the 68 points of 300VW: the outer corner of the eye on the left of the picture."""
COLUMNS = ("frame", "eye_x", "eye_y", "left", "top", "right", "bottom")
AROUND = 0.6
"""A face is looked for first where it was in the frame before, and so much of its box around that."""
SEARCHED = 640
LOOKED = 160
_FORM = f"use CSV with the columns {', '.join(COLUMNS)}, or JSON with frame, eye [x, y] and box [l, t, r, b]"


class Mark(NamedTuple):
    """A face in one frame.

    Attributes
    ----------
    eye : (float, float)
        x and y of the left eye, pixels.
    box : (float, float, float, float)
        Left, top, right, bottom.
    """

    eye: tuple[float, float]
    box: Box


Marks = list[Mark | None]
"""One for each frame from the first; None where there is no face or none is known."""


def read_pts(path: Path) -> NDArray[Any]:
    """The points of a ``.pts`` file as 300VW has them: (N, 2), x and y as they stand there.

    Raises
    ------
    UnblurError
        The file cannot be read, or is none.
    """
    try:
        text = path.read_text(encoding="ascii")
        body = text[text.index("{") + 1 : text.index("}")]
        points = np.array([[float(number) for number in line.split()] for line in body.split("\n") if line.strip()])
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError
    except OSError as fault:
        raise UnblurError(path, f"cannot be read ({fault.strerror})", "check the permissions") from fault
    except ValueError:
        raise UnblurError(path, "is no .pts file: lines of x and y between { and }", "download it again") from None
    return points


def read_annotations(folder: Path) -> Marks:
    """The annotations of a clip of 300VW: one ``.pts`` of 68 points for each frame, numbered from 1.

    Raises
    ------
    UnblurError
        A file is damaged or has another name or number of points, or there is none.
    """
    files = {}
    for path in sorted(folder.glob("*.pts")):
        if not path.stem.isdecimal() or int(path.stem) < 1:
            raise UnblurError(path, "is not named after the number of a frame", "name it 000001.pts, or remove it")
        files[int(path.stem)] = path
    if not files:
        raise UnblurError(folder, "holds no .pts files", "download the annotations of 300VW")
    return [_annotated(files[n]) if n in files else None for n in range(1, max(files) + 1)]


def _annotated(path: Path) -> Mark:
    points = read_pts(path)
    if len(points) != 68:
        raise UnblurError(path, f"has {len(points)} points, not 68", "use the annotations of 300VW")
    low, high = points.min(0), points.max(0)
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Mark((float(points[EYE, 0]), float(points[EYE, 1])), box)


def read_marks(path: Path) -> Marks:
    """Marks from a file: CSV or JSON (a list, or a line for each frame); frames that are left out have no face.

    Raises
    ------
    UnblurError
        Naming the line that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UnblurError(path, f"cannot be read ({reason})", _FORM) from error
    rows = list(csv.DictReader(io.StringIO(text))) if path.suffix.lower() == ".csv" else _json_rows(path, text)
    found: dict[int, Mark | None] = {}
    for number, row in enumerate(rows, 1):
        try:
            frame, mark = _parsed(row)
        except (KeyError, TypeError, ValueError):
            raise UnblurError(path, f"entry {number} is no frame with a face", _FORM) from None
        if frame in found:
            raise UnblurError(path, f"entry {number} names frame {frame} again", "keep one of the two")
        found[frame] = mark
    if not found:
        raise UnblurError(path, "names no frame", _FORM)
    return [found.get(n) for n in range(max(found) + 1)]


def _json_rows(path: Path, text: str) -> list[Any]:
    try:
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise UnblurError(path, "is not JSON", _FORM) from None


def _parsed(row: Any) -> tuple[int, Mark | None]:
    """A frame's number from 0 and its face, None where the fields are empty."""
    frame = int(row["frame"])
    if "eye" in row or "box" in row:
        numbers = None if row.get("eye") is None else [*row["eye"], *row["box"]]
    else:
        numbers = None if not row["eye_x"] else [row[name] for name in COLUMNS[1:]]
    if not 0 <= frame < 10_000_000:
        raise ValueError
    if numbers is None:
        return frame, None
    x, y, left, top, right, bottom = (float(number) for number in numbers)
    if not all(map(math.isfinite, (x, y, left, top, right, bottom))) or left >= right or top >= bottom:
        raise ValueError
    return frame, Mark((x, y), (left, top, right, bottom))


def write_marks(path: Path, marks: Sequence[Mark | None]) -> Path:
    """Write what `read_marks` reads as CSV, all or nothing; a line for every frame."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, mark in enumerate(marks):
            fields = [""] * 6 if mark is None else [f"{value:.2f}" for value in (*mark.eye, *mark.box)]
            writer.writerow([number, *fields])
    return path


def find_marks(frames: Iterable[Tensor], detector: Detector) -> Marks:
    """Follow one face through the frames (3, H, W) of a clip: the largest one, as long as it is there."""
    marks: Marks = []
    before: Box | None = None
    for frame in frames:
        face = None if before is None else _near(detector, frame, before)
        face = face or _best(find_faces(detector, frame, angles=(0.0,), side=SEARCHED), before)
        marks.append(None if face is None else Mark(face.landmarks[0], face.box))
        before = None if face is None else face.box
    return marks


def _near(detector: Detector, frame: Tensor, before: Box) -> Face | None:
    """The face where it was before, which is quick: only large faces of a small part are looked for."""
    side = max(before[2] - before[0], before[3] - before[1]) * AROUND
    corners = zip(before, (-side, -side, side, side), frame.shape[:0:-1] * 2, strict=True)
    left, top, right, bottom = (int(min(max(place + by, 0), most)) for place, by, most in corners)
    if min(right - left, bottom - top) < 24:
        return None
    part = frame[:, top:bottom, left:right]
    scale = min(1.0, LOOKED / min(part.shape[-2:]))
    if scale < 1:
        size = [round(length * scale) for length in part.shape[-2:]]
        part = torch.nn.functional.interpolate(part[None], size, mode="bilinear", antialias=True)[0]
    across, down = (right - left) / part.shape[-1], (bottom - top) / part.shape[-2]
    faces = []
    for face in detector.detect(part, 0.25):
        box = tuple(
            place * by + at for place, by, at in zip(face.box, (across, down) * 2, (left, top) * 2, strict=True)
        )
        points = tuple((x * across + left, y * down + top) for x, y in face.landmarks)
        faces.append(Face(box, points, face.score))  # type: ignore[arg-type]
    return _best(faces, before)


def _best(faces: Sequence[Face], before: Box | None) -> Face | None:
    """The one nearest to where it was, and not farther than its own size; the largest at first."""
    if before is None:
        return max(faces, key=lambda face: face.side, default=None)
    middle = np.array([before[0] + before[2], before[1] + before[3]]) / 2

    def far(face: Face) -> float:
        return float(np.hypot(*(np.array([face.box[0] + face.box[2], face.box[1] + face.box[3]]) / 2 - middle)))

    nearest = min(faces, key=far, default=None)
    return nearest if nearest is not None and far(nearest) < nearest.side else None


COUNTS = (5, 7, 9, 11, 13)
Sorting = Literal["fmr", "time"]
Joined = Literal["union", "mean"]


@dataclass(frozen=True)
class WindowRules:
    """How windows are cut.

    Attributes
    ----------
    frames : tuple of int
        Frames of a window, 2 or more; each of these in turn.
    every : int
        A window of each length begins every so many frames.
    size : int
        Height and width in pixels.
    margin : float
        On each side of the face's box, in sides of the box.
    box : {"union", "mean"}
        Of the boxes in a window: what holds them all, or as released their mean.
    sharpness : float
        Least variance of the Laplacian of every frame, in grey levels squared.
    sort : {"fmr", "time"}
        The order of the frames.
    response : {"srgb", "gamma", "linear"}
        Camera response through which they are averaged; "linear" averages stored values, as released.
    max_step : float, optional
        Largest way of the eye from frame to frame, in pixels of the result: beyond about 2 a mean shows copies.
    min_length : float
        Least way of the eye over the window, in pixels of the result: what does not move is not blurred.
    """

    frames: tuple[int, ...] = COUNTS
    every: int = 5
    size: int = 256
    margin: float = 0.5
    box: Joined = "union"
    sharpness: float = 100.0
    sort: Sorting = "fmr"
    response: Response = "srgb"
    max_step: float | None = None
    min_length: float = 0.0


@dataclass(frozen=True)
class FaceWindow:
    """One exposure of a face.

    Attributes
    ----------
    pictures : ndarray
        (1 + N, S, S, 3) uint8, the blurry picture and the frames as they were sorted.
    start : int
        Index of the window's first frame in the clip.
    order : tuple of int
        Of each of these frames, which one it was in time, from 0.
    ranks : tuple of int
        The order of `fmr_order`, whichever was used.
    crop : (int, int, int)
        Left, top and side of the square in the clip's frames.
    """

    pictures: Pixels
    start: int
    order: tuple[int, ...]
    ranks: tuple[int, ...]
    crop: tuple[int, int, int]


def marked_windows(marks: Marks, count: int, every: int) -> Iterator[tuple[int, list[Mark]]]:
    """Where windows of `count` frames begin that have a face in every frame, the same in all, and its marks."""
    for start in range(0, len(marks) - count + 1, every):
        found = [mark for mark in marks[start : start + count] if mark is not None]
        if len(found) == count and not _jumps(found):
            yield start, found


def face_windows(
    frames: Iterable[Tensor], marks: Marks, rules: WindowRules, dropped: Counter[str] | None = None
) -> Iterator[FaceWindow]:
    """Cut the windows of a clip, each as soon as its last frame is read.

    Parameters
    ----------
    frames : iterable of Tensor
        (3, H, W) RGB in [0, 1], read once and in order.
    marks : list of Mark or None
        Of these frames; those past its end have none.
    dropped : Counter, optional
        Counts why windows with a face were not taken: "soft", "duplicate", "still", "fast".
    """
    dropped = Counter() if dropped is None else dropped
    ends: dict[int, list[tuple[int, list[Mark]]]] = {}
    for count in rules.frames:
        for start, found in marked_windows(marks, count, rules.every):
            ends.setdefault(start + count - 1, []).append((start, found))
    kept: deque[Pixels] = deque(maxlen=max(rules.frames))
    for index, frame in enumerate(frames):
        kept.append(to_uint8(frame))
        for start, found in ends.get(index, []):
            window = _window([kept[i - len(found)] for i in range(len(found))], found, start, rules)
            if isinstance(window, FaceWindow):
                yield window
            else:
                dropped[window] += 1


def _window(frames: Sequence[Pixels], marks: list[Mark], start: int, rules: WindowRules) -> FaceWindow | str:
    """The exposure, or why there is none."""
    left, top, side = crop_of(marks, frames[0].shape[:2], rules)
    steps = np.hypot(*np.diff([mark.eye for mark in marks], axis=0).T) * rules.size / side
    if rules.max_step is not None and steps.max() > rules.max_step:
        return "fast"
    if steps.sum() < rules.min_length:
        return "still"
    cuts = [_resized(frame[top : top + side, left : left + side], rules.size) for frame in frames]
    greys = [cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY) for cut in cuts]
    if any(is_duplicate(*pair) for pair in pairwise(greys)):
        return "duplicate"
    if min(sharpness(grey) for grey in greys) < rules.sharpness:
        return "soft"
    ranks = fmr_order([mark.eye for mark in marks])
    order = ranks if rules.sort == "fmr" else list(range(len(frames)))
    sharp = np.stack([cuts[i] for i in order])
    light = torch.from_numpy(sharp).permute(0, 3, 1, 2)[None].float() / 255
    blurry = to_uint8(average(light, rules.response, levels=255)[0])
    return FaceWindow(np.concatenate((blurry[None], sharp)), start, tuple(order), tuple(ranks), (left, top, side))


def crop_of(marks: Sequence[Mark], shape: Sequence[int], rules: WindowRules) -> tuple[int, int, int]:
    """Left, top and side of the square about a face in frames of (H, W), moved inside of them where it must be."""
    boxes = np.array([mark.box for mark in marks])
    whole = boxes.mean(0) if rules.box == "mean" else np.concatenate((boxes[:, :2].min(0), boxes[:, 2:].max(0)))
    left, top, right, bottom = whole.tolist()
    side = min(round(max(right - left, bottom - top) * (1 + 2 * rules.margin)), *shape)
    corner = [round((low + high) / 2 - side / 2) for low, high in ((left, right), (top, bottom))]
    x, y = (min(max(place, 0), most - side) for place, most in zip(corner, shape[::-1], strict=True))
    return int(x), int(y), int(side)


def sharpness(grey: NDArray[Any]) -> float:
    """The variance of the Laplacian of (H, W) uint8, in grey levels squared."""
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def _resized(cut: Pixels, size: int) -> Pixels:
    way = cv2.INTER_AREA if cut.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(cut, (size, size), interpolation=way))


def _jumps(marks: Sequence[Mark]) -> bool:
    """Whether the face is somewhere else all at once: a cut, or another face."""
    boxes = np.array([mark.box for mark in marks])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    steps = np.hypot(*np.diff(middles, axis=0).T)
    return bool((steps > 0.5 * sides[1:]).any() or (sides.max() > 1.5 * sides.min()))


def fmr_order(eyes: Sequence[Sequence[float]]) -> list[int]:
    """Which frame comes first, second, ... when they are sorted by the place of the left eye.

    Parameters
    ----------
    eyes : sequence of (float, float)
        x and y of the eye in pixels of the whole frame, one for each of N frames, in the order of time. Fractions are
        cut off first, as in the released program: frames in which the eye did not move by a pixel keep the order of
        time.

    Returns
    -------
    list of int
        N indices of frames; the one at place i is learned at t = i / (N - 1), and in a mirror at 1 minus that. (The
        paper prints (i - 1) / N; the released program divides by N - 1.)

    Examples
    --------
    >>> fmr_order([(7.9, 3.0), (5.2, 4.0), (5.8, 3.0), (5.1, 3.5)])
    [2, 3, 1, 0]
    """
    places = np.asarray(eyes, np.float64).reshape(-1, 2)
    if not np.isfinite(places).all():
        raise ValueError("an eye's place is not a number")
    places = np.trunc(places)
    # Stable, so that time decides between equals; the last key counts first.
    return [int(i) for i in np.lexsort((places[:, 1], places[:, 0]))]


def kendall_tau(order: Sequence[int]) -> float:
    """How far an order agrees with that of time: 1 the same, -1 reversed; Kendall's tau of a permutation of N >= 2."""
    places = np.asarray(order)
    later = np.sign(places[None, :] - places[:, None])[np.triu_indices(len(places), 1)]
    return float(later.mean())


@dataclass(frozen=True)
class FmrStatistics:
    """What reordering did to clips of one length.

    Attributes
    ----------
    frames : int
        Of each clip.
    clips : int
    tau : float
        Kendall's tau between the new order and that of time, the mean over the clips.
    tau_size : float
        The mean of its absolute value: the direction aside.
    forward, backward : float
        Shares of clips that keep the order of time exactly, or have it exactly reversed.
    centre : float
        Share of clips in which the middle frame of the new order is that of time.
    """

    frames: int
    clips: int
    tau: float
    tau_size: float
    forward: float
    backward: float
    centre: float

    @property
    def monotone(self) -> float:
        """Share of clips whose frames still follow time, in either direction."""
        return self.forward + self.backward


def fmr_statistics(orders: Iterable[Sequence[int]]) -> list[FmrStatistics]:
    """What reordering does, for every length of clip that there is, shortest first.

    Parameters
    ----------
    orders : iterable of sequence of int
        From `fmr_order`, each of 2 frames or more.
    """
    by_length: dict[int, list[list[int]]] = {}
    for order in orders:
        if len(order) < 2:
            raise ValueError(f"{len(order)} frames have no order")
        by_length.setdefault(len(order), []).append(list(order))
    return [_statistics(length, by_length[length]) for length in sorted(by_length)]


def _statistics(length: int, orders: list[list[int]]) -> FmrStatistics:
    time = list(range(length))
    taus = np.array([kendall_tau(order) for order in orders])
    shares = [
        np.mean([order == time for order in orders]),
        np.mean([order == time[::-1] for order in orders]),
        np.mean([order[length // 2] == length // 2 for order in orders]),
    ]
    return FmrStatistics(length, len(orders), float(taus.mean()), float(abs(taus).mean()), *map(float, shares))
