"""The film of a network that sees what another film model made, beside the blurry picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unblur.exposure.response import Response
from unblur.pipeline.film import Average, MapFilm, RetiledFilm, averaged
from unblur.runtime.memory import working_memory
from unblur.runtime.runner import Runner, to_output_range

CPU = torch.device("cpu")
SHARE = 4
"""Estimates that are kept take a part of so many of the memory for a pass."""
APART = 6
"""Decimals of times, beyond which two are one."""


def ends_of(times: Sequence[float]) -> list[tuple[float, float]]:
    """Each time and 1 minus it, rounded: what is one moment is one number."""
    return [(round(time, APART), round(1 - time, APART)) for time in times]


class RefinerFilm:
    """Frames of a network for estimates.

    Attributes
    ----------
    estimates : MapFilm or RetiledFilm
        The other film.
    tile : int
        Side of the tiles that were used.
    """

    def __init__(
        self, runner: Runner, blurry: Tensor, estimates: MapFilm | RetiledFilm, *, tile: int | str, subject: str
    ) -> None:
        self.runner, self.blurry, self.estimates, self.subject = runner, blurry, estimates, subject
        half = torch.tensor([0.5])

        def probe(side: int) -> Tensor:
            grey = runner.grey(side)
            return self._seen(half, grey, grey, grey)

        self.tile = runner.tile(blurry.shape[-2], blurry.shape[-1], tile, lambda: runner.cost("estimated", probe))

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
            yield to_output_range(frame[0], self.subject)

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
            kept.update(zip(missing, self.estimates.frames(list(missing.values())), strict=True))
            yield kept[pair[0]], kept[pair[1]]
            # Where not all can stay, those do that are seen soonest.
            soon = dict.fromkeys(key for coming in pairs[number:] for key in coming if key in kept)
            kept = {key: _alone(kept[key]) for key in list(soon)[:most]}

    def _seen(self, time: Tensor, blurry: Tensor, there: Tensor, back: Tensor) -> Tensor:
        """The frame (1, 3, h, w) of a tile, with the estimates at its time and at 1 minus it."""
        return self.runner.draw(blurry, time, torch.stack((there, back), 1)[:, None])[:, 0]


def _alone(estimate: Tensor) -> Tensor:
    """Without the memory of others that were made with it."""
    return estimate if estimate.untyped_storage().nbytes() == estimate.nbytes else estimate.clone()


WholeFilm = MapFilm | RetiledFilm | RefinerFilm
"""Of a whole picture, by one model."""
