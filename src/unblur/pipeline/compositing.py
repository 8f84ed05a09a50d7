"""Parts of a picture that another network restored, put back without a visible seam."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.exposure.response import Response
from unblur.pipeline.face_detection import Box
from unblur.pipeline.film import AnyFilm, Average, averaged

CELLS = 8
"""Across a patch, to compare what a restoration must leave as it is."""
MAX_DRIFT = 0.15
"""Root mean square over these cells by which a restored patch may differ from what it was made of."""


class Frames(Protocol):
    """A film of a picture; see `unblur.pipeline.film`."""

    def frames(self, times: Sequence[float]) -> Iterator[Tensor]:
        """(3, H, W) in [0, 1] on the CPU, for every time."""
        ...


@dataclass(frozen=True)
class Place:
    """A rectangle of a picture that is restored by itself.

    Attributes
    ----------
    rows, columns : slice
        Of the picture.
    turns : int
        Quarter turns anticlockwise that bring it upright.
    weight : Tensor
        (h, w) in [0, 1]: what the restored patch counts, 1 about its middle, falling towards its rim.
    """

    rows: slice
    columns: slice
    turns: int
    weight: Tensor

    @staticmethod
    def of(box: Box, height: int, width: int, margin: float = 0.5, turns: int = 0) -> Place | None:
        """About a box in a picture of (height, width), enlarged by `margin` of its longer side all around.

        None if the middle of the box lies outside. All of the box counts fully; at the picture's own edge nothing
        falls.
        """
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        if not (0 <= middle[0] < width and 0 <= middle[1] < height):
            return None
        half = max(box[2] - box[0], box[3] - box[1]) / 2
        reach = half * (1 + 2 * margin)
        spans, falls = [], []
        for centre, extent in zip(middle, (width, height), strict=True):
            low, high = math.floor(centre - reach), math.ceil(centre + reach)
            spans.append(slice(max(low, 0), min(high, extent)))
            falls.append(_fall(spans[-1], centre, half, reach, extent))
        return Place(spans[1], spans[0], turns, falls[1][:, None] * falls[0])

    def cut(self, picture: Tensor) -> Tensor:
        """What is there in (3, H, W), upright."""
        return torch.rot90(picture[:, self.rows, self.columns], self.turns, (1, 2))

    def paste(self, picture: Tensor, patch: Tensor) -> None:
        """Blend an upright patch into (3, H, W), in place; nothing outside of the rectangle is touched."""
        back = torch.rot90(patch, -self.turns, (1, 2)).to(picture)
        there = picture[:, self.rows, self.columns]
        there.copy_(torch.lerp(there, back, self.weight.to(picture).expand_as(there)))


def _fall(span: slice, centre: float, half: float, reach: float, extent: int) -> Tensor:
    """1 up to `half` from the centre, then a quarter of a wave down to 0 at `reach`; 1 on towards a picture's edge."""
    place = torch.arange(span.start, span.stop) + 0.5 - centre
    inside = ((reach - place.abs()) / max(reach - half, 1e-6)).clamp(0, 1)
    fall = (1 - torch.cos(math.pi * inside)) / 2
    if centre - reach < 0:
        fall = torch.where(place < 0, torch.ones_like(fall), fall)
    if centre + reach > extent:
        fall = torch.where(place > 0, torch.ones_like(fall), fall)
    return fall


def low_frequency_drift(restored: Tensor, blurry: Tensor) -> float:
    """How far a patch (3, h, w) left what it was made of: the RMS of what is left of the difference when small.

    Motion blur moves light by some pixels; it does not change what a patch shows from afar.
    """
    cells = (min(CELLS, restored.shape[-2]), min(CELLS, restored.shape[-1]))
    difference = F.adaptive_avg_pool2d((restored - blurry)[None], cells)
    return float(difference.square().mean().sqrt())


@dataclass(frozen=True)
class Patch:
    """A restored part of a film.

    Attributes
    ----------
    place : Place
    film : Frames
        Of what is there, upright.
    backward : bool
        Whether it runs against the film that it is a part of.
    """

    place: Place
    film: Frames
    backward: bool = False

    def frames(self, times: Sequence[float]) -> Iterator[Tensor]:
        """Upright patches at times of the whole film."""
        return self.film.frames([1 - time for time in times] if self.backward else list(times))


class PatchedFilm:
    """A film with restored parts in every frame.

    Attributes
    ----------
    general : MapFilm, RetiledFilm or RefinerFilm
        The film of the whole picture.
    """

    def __init__(self, general: AnyFilm, patches: Sequence[Patch]) -> None:
        self.general = general
        self._patches = patches

    @property
    def paths(self) -> Tensor | None:
        """Those of the general film."""
        return self.general.paths

    def frames(self, times: Sequence[float]) -> Iterator[Tensor]:
        """(3, H, W) in [0, 1] on the CPU, for every time, one after the other."""
        films = [patch.frames(times) for patch in self._patches]
        for frame, *drawn in zip(self.general.frames(times), *films, strict=True):
            made = frame.clone()
            for patch, part in zip(self._patches, drawn, strict=True):
                patch.place.paste(made, part)
            yield made

    def averages(self, times: Sequence[float], responses: Sequence[Response]) -> Iterator[Average]:
        """As `unblur.pipeline.film.MapFilm.averages`, in a single band."""
        yield from averaged(self.frames(times), responses)


def runs_backward(general: Sequence[Tensor], part: Sequence[Tensor], place: Place) -> bool:
    """Whether a part's first and last frame fit those of the whole film (3, H, W) better the other way round.

    Blur does not tell which way time ran, and two networks may disagree.
    """
    whole = [place.cut(frame) for frame in general]
    weight = torch.rot90(place.weight, place.turns, (0, 1))

    def far(one: Tensor, other: Tensor) -> float:
        return float((weight * (one - other).square()).sum())

    same = far(whole[0], part[0]) + far(whole[-1], part[-1])
    return far(whole[0], part[-1]) + far(whole[-1], part[0]) < same
