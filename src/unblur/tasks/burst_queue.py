"""The films of many files, those of a burst in one direction, with no more of them in memory than it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import torch

from unblur.errors import UnblurError
from unblur.media.decode import picture_size
from unblur.pipeline.frame_order import OrderScorer
from unblur.runtime.memory import working_memory
from unblur.tasks.burst import HELD, Burst, direct
from unblur.tasks.frames import Film

MEMORY = 64
"""Bytes for each pixel of a film that waits."""


class Reel:
    """Films of files in one direction, made a few ahead of when they are asked for.

    Parameters
    ----------
    files : sequence of Path
        In order. Those of equal size that follow each other are a burst; another size begins a new one.
    make : callable
        Makes a film.
    order_scorer : OrderScorer, optional
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
        order_scorer: OrderScorer | None = None,
        *,
        together: bool = True,
    ) -> None:
        self._make, self._orderer = make, order_scorer
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
