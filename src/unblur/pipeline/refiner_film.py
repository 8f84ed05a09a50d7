"""The film of a network that sees what another film model made, beside the blurry picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unblur.exposure.response import Response
from unblur.pipeline.film import Average, MapFilm, RetiledFilm, averaged
from unblur.runtime.memory import working_memory
from unblur.runtime.runner import Runner, finished

METHOD = 1
"""Version of how films are made that are drafts, beside the weights; it is noted with drafts that are kept.

Raise it when the same weights make other frames than before, by more than rounding: what decodes paths, `propagation`,
`consistency`, `remainder`, and what calls them, `Engine.see` and `film_function` of `tasks.models`. A network that
learned from drafts has never seen others.
"""
CPU = torch.device("cpu")
SHARE = 4
"""Drafts that are kept take a part of so many of the memory for a pass."""
APART = 6
"""Decimals of times, beyond which two are one."""


def ends_of(times: Sequence[float]) -> list[tuple[float, float]]:
    """Each time and 1 minus it, rounded: what is one moment is one number."""
    return [(round(time, APART), round(1 - time, APART)) for time in times]


class DraftedFilm:
    """Frames of a network for drafts.

    Attributes
    ----------
    drafts : MapFilm or RetiledFilm
        The other film.
    tile : int
        Side of the tiles that were used.
    """

    def __init__(
        self, runner: Runner, blurry: Tensor, drafts: MapFilm | RetiledFilm, *, tile: int | str, subject: str
    ) -> None:
        self.runner, self.blurry, self.drafts, self.subject = runner, blurry, drafts, subject
        half = torch.tensor([0.5])

        def probe(side: int) -> Tensor:
            grey = runner.grey(side)
            return self._seen(half, grey, grey, grey)

        self.tile = runner.tile(blurry.shape[-2], blurry.shape[-1], tile, lambda: runner.cost("drafted", probe))

    def frames(self, times: Sequence[float]) -> Iterator[Tensor]:
        """(3, H, W) in [0, 1] on the CPU, for every time, one after the other."""
        for time, (there, back) in zip(times, self._drafts(times), strict=True):
            moment = torch.tensor([time], dtype=torch.float32)
            frame, self.tile = self.runner.tiled(
                lambda *pictures, moment=moment: self._seen(moment, *pictures),
                self.blurry,
                there[None],
                back[None],
                tile=self.tile,
                subject=self.subject,
            )
            yield finished(frame[0], self.subject)

    def averages(self, times: Sequence[float], responses: Sequence[Response]) -> Iterator[Average]:
        """As `unblur.pipeline.film.MapFilm.averages`, in a single band."""
        yield from averaged(self.frames(times), responses)

    def _drafts(self, times: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
        """Those (3, H, W) at each time and at 1 minus it; as far as memory goes, none is made twice."""
        pairs = ends_of(times)
        most = working_memory(CPU) // SHARE // (4 * self.blurry[0].numel())
        kept: dict[float, Tensor] = {}
        for number, (time, pair) in enumerate(zip(times, pairs, strict=True), 1):
            missing = {key: when for key, when in zip(pair, (time, 1 - time), strict=True) if key not in kept}
            kept.update(zip(missing, self.drafts.frames(list(missing.values())), strict=True))
            yield kept[pair[0]], kept[pair[1]]
            # Where not all can stay, those do that are seen soonest.
            soon = dict.fromkeys(key for coming in pairs[number:] for key in coming if key in kept)
            kept = {key: _alone(kept[key]) for key in list(soon)[:most]}

    def _seen(self, time: Tensor, blurry: Tensor, there: Tensor, back: Tensor) -> Tensor:
        """The frame (1, 3, h, w) of a tile, with the drafts at its time and at 1 minus it."""
        return self.runner.draw(blurry, time, torch.stack((there, back), 1)[:, None])[:, 0]


def _alone(draft: Tensor) -> Tensor:
    """Without the memory of others that were made with it."""
    return draft if draft.untyped_storage().nbytes() == draft.nbytes else draft.clone()


WholeFilm = MapFilm | RetiledFilm | DraftedFilm
"""Of a whole picture, by one model."""
