"""How well an order network tells which way time runs, by the protocol order-1: the films of val-1."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch

from unblur.data.val1 import load_val1
from unblur.metrics.ordering import consistent, hit
from unblur.tasks.measured import Measured, Sheet
from unblur.tasks.order import SIDE, Model, Scored, gathered, load_orderer

NAME = "order-1"
HEADINGS = ("exposures", "n", "hit", "con@2", "con@3", "confidence")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """Shares of a class.

    Attributes
    ----------
    exposures : str
    count : int
    hit : float
        Whose widest pair lies on the other side when it is reversed.
    con2, con3 : float
        Whose two, three symmetric pairs lie on one side.
    confidence : float
        Its mean.
    """

    exposures: str
    count: int
    hit: float
    con2: float
    con3: float
    confidence: float

    def cells(self) -> list[str]:
        """As text."""
        return [
            self.exposures,
            str(self.count),
            *(f"{share:.3f}" for share in (self.hit, self.con2, self.con3, self.confidence)),
        ]

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        numbers = {"hit": self.hit, "con@2": self.con2, "con@3": self.con3, "confidence": self.confidence}
        return {"exposures": self.exposures, "count": self.count, **numbers}


@dataclass(frozen=True)
class Report(Measured):
    """What order-1 measured.

    Attributes
    ----------
    rows : tuple of Row
    """

    rows: tuple[Row, ...]

    def counted(self) -> str:
        """What was measured, and how many."""
        return f"{self.rows[-1].count} clips of seven frames"

    def results(self) -> dict[str, object]:
        """The numbers, for a machine-readable report."""
        return {"results": [row.as_dict() for row in self.rows]}

    def sheets(self) -> list[Sheet]:
        """The table."""
        return [Sheet(HEADINGS, [row.cells() for row in self.rows], [row.exposures == "clips" for row in self.rows])]


def evaluate_order(
    model: Model = None,
    data: str | PathLike[str] = ".",
    device: str = "auto",
    *,
    side: int = SIDE,
    limit: int | None = None,
    cache: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure an order network by order-1: on the frames of `unblur.data.val1`, that it was told nothing of.

    Parameters
    ----------
    model, device, side
        See `unblur.order`.
    data, limit, cache, progress
        See `unblur.tasks.evaluate.evaluate`.

    Raises
    ------
    UnblurError
        The model does not score orders; data that are missing or cannot be read.
    """
    begun = time.perf_counter()
    orderer = load_orderer(model, device)
    tell = progress or (lambda stage, done, total: None)
    place = Path(cache) if cache else None
    classes = load_val1(
        Path(data), place, limit=limit, progress=lambda done, total: tell(f"building {NAME}", done, total)
    )
    rows: list[Row] = []
    everything: list[Scored] = []
    for name, exposures in classes.items():
        scored = []
        for number, frames in enumerate(exposures.frames):
            tell(name, number, len(exposures.frames))
            clip = gathered(((exposures.names[number], frame.float() / 255) for frame in frames), side)
            scored.append(orderer.score(clip, subject=exposures.names[number]))
        rows.append(_row(name, scored))
        everything += scored
    known: dict[str, object] = {**orderer.as_dict(), "device": str(orderer.device), "dtype": "float32", "side": side}
    return Report(NAME, known, limit, time.perf_counter() - begun, (*rows, _row("all", everything)))


def _row(name: str, scored: list[Scored]) -> Row:
    forward, backward = (torch.stack([getattr(one, way) for one in scored]) for way in ("forward", "backward"))
    judged = (hit(forward, backward)[:, 0], consistent(forward, 2), consistent(forward, 3))
    shares = [float(one.float().mean()) for one in judged]
    confidence = sum(one.direction.confidence for one in scored) / len(scored)
    return Row(name, len(scored), shares[0], shares[1], shares[2], confidence)
