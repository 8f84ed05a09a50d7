"""Faces in a photo: found, restored by a model of their own, and put back; the rest by the general model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Literal

import torch
from torch import Tensor, nn

from unblur.errors import UnblurError, UsageError
from unblur.media.image import Picture
from unblur.models.feature_networks import load_face_cascade
from unblur.models.registry import FACES
from unblur.pipeline.compositing import MAX_DRIFT, Frames, Patch, PatchedFilm, Place, low_frequency_drift, runs_backward
from unblur.pipeline.face_detection import Box, CascadeDetector, Detector, Face, find_faces
from unblur.pipeline.film import AnyFilm
from unblur.pipeline.restore import Pipeline, Progress, load
from unblur.tasks.inputs import name_of

SMALLEST = 24
"""Pixels of the longer side of a face, below which there is nothing to restore."""
MARGIN = 0.5
"""Around a face's box, in its longer side: as in the data that models of faces learn from."""

Became = Literal["restored", "skipped", "failed"]


@dataclass(frozen=True)
class FaceStatus:
    """What became of one face.

    Attributes
    ----------
    number : int
        From 1, from left to right.
    box : (float, float, float, float)
        Left, top, right, bottom in pixels of the upright picture.
    found : {"detector", "hand"}
    score : float
        How sure the detector was, 1 by hand.
    turned : int
        Degrees clockwise by which the face lies, in quarter turns; it was restored upright.
    became : {"restored", "skipped", "failed"}
        Only what was restored is in the result; the others are as the general model made them.
    reason : str or None
        Why it was not restored.
    """

    number: int
    box: Box
    found: Literal["detector", "hand"]
    score: float
    turned: int
    became: Became
    reason: str | None = None

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        about = {"number": self.number, "box": [round(place, 1) for place in self.box], "found": self.found}
        about |= {"score": round(self.score, 4), "turned": self.turned, "status": self.became, "reason": self.reason}
        return about

    def __str__(self) -> str:
        left, top, right, bottom = (round(place) for place in self.box)
        by = "given by hand" if self.found == "hand" else f"found with {self.score:.3f}"
        turned = f", turned by {self.turned} degrees" if self.turned else ""
        why = f": {self.reason}" if self.reason else ""
        return f"face {self.number} at {left},{top},{right},{bottom} ({by}{turned}) {self.became}{why}"


class RestoredFaces:
    """The faces of one picture.

    Attributes
    ----------
    statuses : tuple of FaceStatus
        One for each face, whatever became of it.
    """

    def __init__(self, statuses: Sequence[FaceStatus], restored: Sequence[tuple[Place, Frames, Tensor]]) -> None:
        self.statuses = tuple(statuses)
        self._restored = restored

    def still(self, sharp: Tensor) -> Tensor:
        """The sharp picture (3, H, W) in [0, 1] with the restored faces in it."""
        made = sharp.clone()
        for place, _, middle in self._restored:
            place.paste(made, middle)
        return made

    def film(self, general: AnyFilm) -> AnyFilm | PatchedFilm:
        """The film with the restored faces in every frame, each in the direction of time of the whole."""
        if not self._restored:
            return general
        ends = list(general.frames([0.0, 1.0]))
        patches = [
            Patch(place, film, runs_backward(ends, list(film.frames([0.0, 1.0])), place))
            for place, film, _ in self._restored
        ]
        return PatchedFilm(general, patches)

    def lines(self) -> tuple[str, ...]:
        """One for each face."""
        return tuple(str(status) for status in self.statuses)

    def as_dict(self) -> list[dict[str, object]]:
        """For a machine-readable report."""
        return [status.as_dict() for status in self.statuses]

    def __str__(self) -> str:
        if not self.statuses:
            return "no face found"
        counts = [(sum(status.became == kind for status in self.statuses), kind) for kind in _KINDS]
        parts = ", ".join(f"{count} {kind}" for count, kind in counts if count)
        return f"{len(self.statuses)} face{'s' if len(self.statuses) > 1 else ''}: {parts}"


_KINDS: tuple[Became, ...] = ("restored", "skipped", "failed")


class Faces:
    """A model of faces and what finds them, for many pictures; see `load_faces`.

    Attributes
    ----------
    pipeline : Pipeline
        Of the model of faces.
    detector : Detector or None
        None where faces are only given by hand.
    boxes : tuple of (float, float, float, float)
        Left, top, right, bottom of faces that are given by hand.
    """

    def __init__(self, pipeline: Pipeline, detector: Detector | None, boxes: Sequence[Box] = ()) -> None:
        self.pipeline, self.detector, self.boxes = pipeline, detector, tuple(boxes)

    def restore(self, picture: Picture, *, progress: Progress | None = None) -> RestoredFaces:
        """Find the faces of a blurry picture and restore each; what fails is told of and left out.

        Parameters
        ----------
        picture : Picture
        progress : callable, optional
            Called with (stage, steps done, steps in all).
        """
        if progress is not None:
            progress("finding faces", 0, 1)
        statuses: list[FaceStatus] = []
        restored: list[tuple[Place, Frames, Tensor]] = []
        found = self._found(picture.pixels)
        for number, (face, status) in enumerate(found):
            if progress is not None:
                progress("faces", number, len(found))
            place = Place.of(face.box, picture.height, picture.width, MARGIN, status.turned // 90)
            reason = _unfit(face, place)
            if place is None or reason is not None:
                statuses.append(replace(status, became="skipped", reason=reason))
                continue
            try:
                restored.append((place, *self._restored(place.cut(picture.pixels), name_of(picture))))
                statuses.append(status)
            except UnblurError as fault:
                statuses.append(replace(status, became="failed", reason=fault.problem))
        return RestoredFaces(statuses, restored)

    def _found(self, pixels: Tensor) -> list[tuple[Face, FaceStatus]]:
        by_hand = [Face(box) for box in self.boxes]
        found = [] if self.detector is None else find_faces(self.detector, pixels)
        found = [face for face in found if not any(_covers(other.box, face.box) for other in by_hand)]
        every = sorted([*by_hand, *found], key=lambda face: face.box)
        hand = {id(face) for face in by_hand}
        return [
            (
                face,
                FaceStatus(
                    number=number,
                    box=face.box,
                    found="hand" if id(face) in hand else "detector",
                    score=face.score,
                    turned=round(face.tilt / 90) % 4 * 90,
                    became="restored",
                ),
            )
            for number, face in enumerate(every, 1)
        ]

    def _restored(self, blurry: Tensor, subject: str) -> tuple[Frames, Tensor]:
        """The film and the middle of an upright patch (3, h, w)."""
        made = self.pipeline.restore(blurry[None].contiguous(), subject)
        assert made.film is not None
        middle = made.middle
        looked = [middle, *made.film.frames([0.0, 1.0])]
        if max(low_frequency_drift(frame, blurry) for frame in looked) > MAX_DRIFT:
            problem = "what the model made of it is another picture"
            raise UnblurError(subject, problem, "use another model of faces")
        return made.film, middle


def load_faces(
    model: str | PathLike[str] | nn.Module | Pipeline | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: int | str = "auto",
    *,
    detect: bool = True,
    detector: Detector | None = None,
    boxes: Sequence[Box] = (),
) -> Faces:
    """Load a model of faces once, to use it on many pictures: pass the result as ``faces`` to `deblur` and `frames`.

    Parameters
    ----------
    model, device, dtype, tile
        As in `unblur.load`; by default the model of faces that comes with the package. Any will do.
    detect : bool
        Look for faces.
    detector : Detector, optional
        Finds upright faces; by default that of the extra ``faces``.
    boxes : sequence of (float, float, float, float)
        Left, top, right, bottom of faces that are given by hand, pixels.

    Raises
    ------
    UnblurError
        No such model, a box that is none, or the extra is not installed.
    """
    for box in boxes:
        if not (box[0] < box[2] and box[1] < box[3]):
            said = ",".join(f"{place:g}" for place in box)
            raise UsageError("boxes", said, "is no box", "use left, top, right, bottom in pixels")
    if detect and detector is None:
        try:
            detector = CascadeDetector(load_face_cascade())
        except UnblurError as fault:
            remedy = "pip install 'unblur[faces]', or give each face with `boxes` in place of `faces`"
            raise UsageError("faces", None, f"{fault.subject} {fault.problem}", remedy) from fault
    return Faces(load(FACES if model is None else model, device, dtype, tile), detector if detect else None, boxes)


@dataclass(frozen=True)
class FaceOptions:
    """What is asked for on the command line.

    Attributes
    ----------
    find : bool
        Look for faces.
    model : str, optional
    boxes : tuple of (float, float, float, float)
    """

    find: bool = False
    model: str | None = None
    boxes: tuple[Box, ...] = ()

    @staticmethod
    def of(find: bool, model: str | None, boxes: Sequence[str]) -> FaceOptions | None:
        """From text; None if nothing is asked for."""
        if not find and not boxes:
            if model is not None:
                remedy = "add `faces`, or `boxes`"
                raise UsageError("face_model", model, "restores faces, but none is asked for", remedy)
            return None
        return FaceOptions(find, model, tuple(_box(text) for text in boxes))

    def load(self, device: str, dtype: str, tile: int | str, pictures: int) -> Faces:
        """The model and what finds faces, for so many pictures."""
        if self.boxes and pictures > 1:
            raise UsageError("boxes", None, "is for one photo, but several are named", "name one photo")
        return load_faces(self.model, device, dtype, tile, detect=self.find, boxes=self.boxes)


def _box(text: str) -> Box:
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        left = top = right = bottom = 0.0
    if not (left < right < float("inf") and top < bottom < float("inf")):
        raise UsageError("boxes", text, "is no box", "use LEFT,TOP,RIGHT,BOTTOM in pixels")
    return left, top, right, bottom


def _unfit(face: Face, place: Place | None) -> str | None:
    if place is None:
        return "lies outside of the picture"
    if face.side < SMALLEST:
        return f"is {face.side:.0f} pixels large, and {SMALLEST} are needed"
    return None


def _covers(one: Box, other: Box) -> bool:
    """Whether the middle of the other lies in the one."""
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    return one[0] <= x < one[2] and one[1] <= y < one[3]
