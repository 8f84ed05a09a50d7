"""Where a face and its left eye are in every frame of a clip: from annotations, a file, or a detector."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.errors import UnblurError
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
