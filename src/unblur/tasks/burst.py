"""Films of the pictures of a burst: one direction of time for all of them.

Blur does not tell which way things moved, so each film alone runs as a rule says (`exposure.camera.is_canonical`), and
two pictures of one movement may run against each other. In a burst neighbours decide:

* each film runs as its paths agree best with those of the films before, the nearer ones counting more: the mean inner
  product of the ways from the opening of the shutter to its closing, so that a picture where hardly anything moved
  hardly counts;
* then all are turned together: the way things go from each picture to the next, where these show the same scene; else
  as an order network says, if there is one; else so that the motion of all together is canonical.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.data.flow import Grey, optical_flow
from unblur.errors import UnblurError
from unblur.exposure.camera import is_canonical
from unblur.media.decode import picture_size
from unblur.metrics.motion import Field
from unblur.runtime.memory import working_memory
from unblur.tasks.frames import Film, frames
from unblur.tasks.order import Model, Orderer, load_orderer, score_frames
from unblur.tasks.source import Source

HELD = 8
"""Films at most that wait until the direction of all is known."""
MEMORY = 64
"""Bytes for each pixel of a film that waits."""
REMEMBERED = 8
"""Films before that a film looks back at."""
SAME = 0.5
"""Correlation of details, from which on two pictures show the same scene."""
SAYS = 0.2
"""From which agreement on, of 1, the way from picture to picture decides."""
SCORED = tuple(i / 6 for i in range(7))
"""Times that an order network looks at; those of the networks that make seven frames."""


class Shot(NamedTuple):
    """What a film's direction is decided by, with time as the film's own rule has it.

    Attributes
    ----------
    field : Field or None
        None if the film has no paths.
    grey : ndarray
        (h, w) uint8, the middle frame.
    order : float or None
        What an order network says of the film; above 0 if it runs in the direction that was learned.
    """

    field: Field | None
    grey: Grey
    order: float | None = None

    @classmethod
    def of(cls, film: Film, orderer: Orderer | None = None) -> Shot:
        """Look at a film that has not been turned yet."""
        order = None
        if orderer is not None:
            order = score_frames(orderer, list(film.at(SCORED))).direction.score
        light = next(film.at([0.5])).mean(0)
        return cls(film.field, (light * 255).round().to(torch.uint8).numpy(), order)


@dataclass(eq=False)
class Burst:
    """Decides, a few films at a time.

    Attributes
    ----------
    by : str
        What the direction of the whole was decided by, once it is: "motion" from picture to picture, "order" or
        "convention".
    """

    by: str | None = None
    _before: list[tuple[Field, int]] = field(default_factory=list)

    def directions(self, shots: Sequence[Shot]) -> list[int]:
        """+1 or -1 for each film: as its own rule has it, or turned; goes on from the films before."""
        signs = [self._follow(shot) for shot in shots]
        if all(shot.field is None and shot.order is None for shot in shots):
            return signs
        if self.by is None:
            self.by, whole = _whole(shots, signs)
            signs = [whole * sign for sign in signs]
            self._before = [(one, whole * sign) for one, sign in self._before]
        return signs

    def _follow(self, shot: Shot) -> int:
        if shot.field is None:
            return 1 if shot.order is None or shot.order >= 0 else -1
        agreed = 0.0
        for distance, (one, sign) in enumerate(reversed(self._before)):
            agreed += sign * _agreement(one, shot.field) * 0.5**distance
        self._before = [*self._before, (shot.field, -1 if agreed < 0 else 1)][-REMEMBERED:]
        return self._before[-1][1]


def _whole(shots: Sequence[Shot], signs: Sequence[int]) -> tuple[str, int]:
    """What decides the direction of all, and whether it is to be turned, -1, or not."""
    followed = [(shot.field, sign) for shot, sign in zip(shots, signs, strict=True) if shot.field is not None]
    scores = [sign * shot.order for shot, sign in zip(shots, signs, strict=True) if shot.order is not None]
    if scores:
        return "order", -1 if sum(scores) < 0 and followed else 1
    said = _passage(shots, signs)
    if abs(said) >= SAYS:
        return "motion", -1 if said < 0 else 1
    total = sum((sign * _mean(one) for one, sign in followed), torch.zeros(2))
    return "convention", 1 if bool(is_canonical(*total)) else -1


def _passage(shots: Sequence[Shot], signs: Sequence[int]) -> float:
    """How far the films' motion goes with that from each picture to the next, in [-1, 1]."""
    agreed = most = 0.0
    for (one, before), (other, after) in pairwise(zip(shots, signs, strict=True)):
        if one.field is None or other.field is None:
            continue
        way = passage(one.grey, other.grey, one.field.textured.shape)
        if way is None:
            continue
        for sign, shown in ((before, one.field), (after, other.field)):
            where = _seen(shown)
            inner, own, others = (shown.way * way)[:, where], shown.way[:, where], way[:, where]
            agreed += sign * float(inner.sum(0).mean())
            most += float((own.square().sum(0).mean() * others.square().sum(0).mean()).sqrt())
    return agreed / most if most > 0 else 0.0


def passage(before: Grey, after: Grey, size: Sequence[int]) -> Tensor | None:
    """How far the content of one picture moved until the next, (2, h, w) pixels (x, y), thinned out to `size`.

    None if they do not show the same scene: where moved back, their details have nothing in common.
    """
    flow = optical_flow(before, after)
    height, width = flow.shape[:2]
    one, other = (cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA) for x in (before, after))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = (grid + flow[..., i] * np.float32(width / before.shape[1]) for i, grid in enumerate((columns, rows)))
    back = cv2.remap(other, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    a, b = (image.astype(np.float32) - cv2.blur(image, (15, 15)) for image in (one, back))
    alike = float((a * b).sum()) / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-9)
    if alike < SAME:
        return None
    return F.interpolate(torch.from_numpy(flow).permute(2, 0, 1)[None], tuple(size), mode="area")[0]


def _agreement(one: Field, other: Field) -> float:
    """The mean inner product of two films' ways, in pixels squared, where both have texture."""
    where = one.textured & other.textured
    where = where if where.any() else torch.ones_like(where)
    return float((one.way * other.way).sum(0)[where].mean())


def _mean(one: Field) -> Tensor:
    return one.way[:, _seen(one)].mean(1)


def _seen(one: Field) -> Tensor:
    return one.textured if one.textured.any() else torch.ones_like(one.textured)


class Reel:
    """Films of files in one direction, made a few ahead of when they are asked for.

    Parameters
    ----------
    files : sequence of Path
        In order. Those of equal size that follow each other are a burst; another size begins a new one.
    make : callable
        Makes a film.
    orderer : Orderer, optional
        Decides the direction of the whole.
    together : bool
        Whether there are bursts at all; else each picture is one.

    Attributes
    ----------
    bursts : list of (Burst, int)
        And how many pictures each has.
    """

    def __init__(
        self,
        files: Sequence[Path],
        make: Callable[[Path], Film],
        orderer: Orderer | None = None,
        *,
        together: bool = True,
    ) -> None:
        self._make, self._orderer = make, orderer
        self._ready: dict[Path, Film | Exception] = {}
        self._batches: dict[Path, tuple[Burst, list[Path]]] = {}
        self.bursts: list[tuple[Burst, int]] = []
        sized = list(_sized(files))
        for _, alike in groupby(sized, key=lambda one: one[1] if together else one[0]):
            (first_one, size), *rest = alike
            chosen, burst = [first_one, *(file for file, _ in rest)], Burst()
            held = working_memory(torch.device("cpu")) // (MEMORY * max(size[0] * size[1], 1))
            step = min(max(held, 1), HELD)
            for first in range(0, len(chosen), step):
                batch = chosen[first : first + step]
                self._batches |= dict.fromkeys(batch, (burst, batch))
            self.bursts.append((burst, len(chosen)))

    def film(self, file: Path) -> Film:
        """The film of a file, once; whatever its making raised is raised here."""
        if file not in self._ready:
            self._fill(*self._batches[file])
        made = self._ready.pop(file)
        if isinstance(made, Exception):
            raise made
        return made

    def _fill(self, burst: Burst, batch: Sequence[Path]) -> None:
        films: dict[Path, Film] = {}
        for file in batch:
            try:
                films[file] = self._make(file)
            except Exception as cause:  # told when its turn comes; the others are done
                self._ready[file] = cause
        self._ready |= films
        if self._orderer is not None or (burst, 1) not in self.bursts:
            direct(list(films.values()), burst, self._orderer)

    def as_dict(self) -> list[dict[str, object]]:
        """For a machine-readable report."""
        return [{"pictures": count, "direction": burst.by} for burst, count in self.bursts if burst.by is not None]


def direct(films: Sequence[Film], burst: Burst, orderer: Orderer | None = None) -> None:
    """Turn the films that run the other way; `burst` knows those before."""
    shots = [Shot.of(film, orderer) for film in films]
    for film, sign in zip(films, burst.directions(shots), strict=True):
        if sign < 0:
            film.turn()


def burst(sources: Sequence[Source], *, order: Model = None, **options: Any) -> list[Film]:
    """The films of several pictures of one burst, in one direction of time.

    Parameters
    ----------
    sources : sequence of path, Picture or Tensor
        In order; see `unblur.frames`. Pictures of another size begin another burst.
    order : str, path, nn.Module or Orderer, optional
        An order network, which then decides the direction of the whole; see `unblur.order`.
    **options
        Of `unblur.frames`; `reverse` turns all.

    Raises
    ------
    UnblurError
        As `unblur.frames` does.

    Examples
    --------
    >>> for film in unblur.burst(["a.jpg", "b.jpg"], n=25):          # doctest: +SKIP
    ...     film.save(film.picture.path.with_suffix(".mp4"))
    """
    orderer = None if order is None else load_orderer(order, options.get("device", "auto"))
    made = [frames(source, **options) for source in sources]
    for _, films in groupby(made, key=lambda film: (film.picture.height, film.picture.width)):
        direct(list(films), Burst(), orderer)
    return made


def _sized(files: Iterable[Path]) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Height and width of each file; a file that cannot be read breaks no burst."""
    size = (0, 0)
    for path in files:
        try:
            with path.open("rb") as file:
                size = picture_size(path, file)
        except (OSError, UnblurError):
            pass
        yield path, size
