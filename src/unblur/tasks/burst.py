"""Films of the pictures of a burst: one direction of time for all of them.

Blur does not tell which way things moved, so each film alone runs as a rule says (`exposure.camera.is_canonical`), and
two pictures of one movement may run against each other. In a burst neighbours decide:

* their films run so that their paths agree best, neighbours counting more: the mean inner product of the ways from the
  opening of the shutter to its closing, so that a picture where hardly anything moved hardly counts; and so that they
  go on as things go from each picture to the next, where these show the same scene;
* where that does not tell, or an order network is to decide, all are turned together: as the network says, or so that
  the motion of all together is canonical.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby, pairwise, product
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.analysis.motion_field import Field
from unblur.analysis.optical_flow import Grey, optical_flow
from unblur.exposure.camera import is_canonical
from unblur.pipeline.frame_order import Model, OrderScorer, load_order_scorer
from unblur.pipeline.restore import load
from unblur.tasks.frames import Film, frames
from unblur.tasks.inputs import Source, open_picture
from unblur.tasks.order import score_frames

HELD = 8
"""Films at most that are decided on together."""
REMEMBERED = 4
"""Films before that those that wait look back at."""
SAME = 0.5
"""Correlation of details, from which on two pictures show the same scene."""
SAYS = 0.2
"""From which agreement on, of 1, the way from picture to picture decides."""
PULL = 2.0
"""How much it counts beside the agreement of two films."""
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

    @property
    def paths(self) -> Field:
        """The field, where the film has paths."""
        assert self.field is not None
        return self.field

    @classmethod
    def of(cls, film: Film, order_scorer: OrderScorer | None = None) -> Shot:
        """Look at a film that has not been turned yet."""
        order = None
        if order_scorer is not None:
            order = score_frames(order_scorer, list(film.at(SCORED))).direction.score
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
    _before: list[tuple[Shot, int]] = field(default_factory=list)

    def directions(self, shots: Sequence[Shot]) -> list[int]:
        """+1 or -1 for each film: as its own rule has it, or turned; goes on from the films before."""
        if any(shot.field is None for shot in shots):
            return [1 if shot.order is None or shot.order >= 0 else -1 for shot in shots]
        chain = [*(shot for shot, _ in self._before), *shots]
        known = [sign for _, sign in self._before]
        agreed, (pulls, shares) = _agreements(chain), _passages(chain)
        signs = _best(agreed, pulls if self.by in (None, "motion") else 0 * pulls, known)
        if self.by is None:
            told = float(shares @ torch.tensor(signs).float()) >= SAYS
            signs = self._settled(shots, signs if told else _best(agreed, 0 * pulls, known), told)
        self._before = list(zip(chain, signs, strict=True))[-REMEMBERED:]
        return signs[len(known) :]

    def _settled(self, shots: Sequence[Shot], signs: Sequence[int], told: bool) -> list[int]:
        """The signs of the first films, turned together where that is called for; `told` by their motion."""
        orders = [sign * shot.order for shot, sign in zip(shots, signs, strict=True) if shot.order is not None]
        self.by = "order" if orders else "motion" if told else "convention"
        total = sum((sign * _mean(shot.paths) for shot, sign in zip(shots, signs, strict=True)), torch.zeros(2))
        canonical = sum(orders) >= 0 if orders else told or bool(is_canonical(*total))
        return [sign if canonical else -sign for sign in signs]


def _best(agreed: Tensor, pulls: Tensor, known: Sequence[int]) -> list[int]:
    """The signs s, first the `known`, of which the sum of s_i s_j `agreed` (N, N) and s_i `pulls` (N,) is the most."""
    chosen = [[*known, *free] for free in product((1, -1), repeat=len(pulls) - len(known))]
    signs = torch.tensor(chosen, dtype=pulls.dtype)
    sums = (torch.einsum("ci,cj,ij->c", signs, signs, agreed) + signs @ pulls).tolist()
    return chosen[max(range(len(chosen)), key=sums.__getitem__)]


def _agreements(chain: Sequence[Shot]) -> Tensor:
    """How far each two films agree, (N, N) above the diagonal: less by half for each film between them."""
    agreed = torch.zeros(len(chain), len(chain), dtype=torch.float64)
    for (i, one), (j, other) in combinations(enumerate(chain), 2):
        agreed[i, j] = _agreement(one.paths, other.paths) * 0.5 ** (j - i - 1)
    return agreed


def _passages(chain: Sequence[Shot]) -> tuple[Tensor, Tensor]:
    """What the way from picture to picture says of each film, (N,): how strongly, and as shares of all, 1 at most."""
    pulls, inner = torch.zeros(2, len(chain), dtype=torch.float64)
    most = 0.0
    for i, (one, other) in enumerate(pairwise(chain)):
        way = passage(one.grey, other.grey, one.paths.textured.shape)
        if way is None:
            continue
        for k, shown in ((i, one.paths), (i + 1, other.paths)):
            where = _seen(shown)
            own, there = shown.way[:, where], way[:, where]
            sizes = [float(each.square().sum(0).mean().sqrt()) for each in (own, there)]
            inner[k] += (both := float((own * there).sum(0).mean()))
            # Pictures may be far apart: that counts no more than the film's own motion.
            pulls[k] += PULL * both * min(1.0, sizes[0] / max(sizes[1], 1e-9))
            most += sizes[0] * sizes[1]
    return pulls, (inner / max(most, 1e-9)).float()


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


def direct(films: Sequence[Film], burst: Burst, order_scorer: OrderScorer | None = None) -> None:
    """Turn the films that run the other way; `burst` knows those before."""
    shots = [Shot.of(film, order_scorer) for film in films]
    for film, sign in zip(films, burst.directions(shots), strict=True):
        if sign < 0:
            film.turn()


def burst(sources: Sequence[Source], *, order: Model = None, **options: Any) -> list[Film]:
    """The films of several pictures of one burst, in one direction of time.

    Parameters
    ----------
    sources : sequence of path, Picture or Tensor
        In order; see `unblur.frames`. Pictures of another size begin another burst.
    order : str, path, nn.Module or OrderScorer, optional
        An order network, which then decides the direction of the whole; see `unblur.order`.
    **options
        Of `unblur.frames`, but for `sharp`; `reverse` turns all.

    Raises
    ------
    UnblurError
        As `unblur.frames` does.

    Examples
    --------
    >>> for film in unblur.burst(["a.jpg", "b.jpg"], n=25):          # doctest: +SKIP
    ...     film.save(film.picture.path.with_suffix(".mp4"))
    """
    most = options.pop("max_pixels", None)
    pictures = [open_picture(source, most) for source in sources]
    chosen = {name: options.pop(name) for name in ("model", "device", "dtype", "tile") if name in options}
    order_scorer = None if order is None else load_order_scorer(order, chosen.get("device", "auto"), "order")
    pipeline = load(**chosen, sizes=[picture.width * picture.height for picture in pictures])
    made = [frames(picture, model=pipeline, **options) for picture in pictures]
    for _, alike in groupby(made, key=lambda film: (film.picture.height, film.picture.width)):
        films, one = list(alike), Burst()
        for first in range(0, len(films), HELD):
            direct(films[first : first + HELD], one, order_scorer)
    return made
