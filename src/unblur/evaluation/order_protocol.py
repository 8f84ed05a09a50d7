"""How well an order network tells which way time runs, by the protocol order-1: the films of val-1."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from unblur.evaluation.class_table import Progress, Tally, rows_of
from unblur.evaluation.val1 import load_val1
from unblur.metrics.ordering import consistent, hit
from unblur.pipeline.frame_order import SIDE, Model, Scored, gathered, load_order_scorer

NAME = "order-1"


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
class Report(Tally[Row]):
    """What order-1 measured."""

    headings = ("exposures", "n", "hit", "con@2", "con@3", "confidence")

    def counted(self) -> str:
        """What was measured, and how many."""
        return f"{self.rows[-1].count} clips of seven frames"


def evaluate_order(
    model: Model = None,
    data: str | PathLike[str] = ".",
    *,
    device: str = "auto",
    side: int = SIDE,
    limit: int | None = None,
    cache: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure an order network by order-1: on the frames of `unblur.evaluation.val1`, that it was told nothing of.

    Parameters
    ----------
    model, device, side
        See `unblur.order`.
    data, limit, cache, progress
        See `unblur.evaluation.film_protocol.evaluate`.

    Raises
    ------
    UnblurError
        The model does not score orders; data that are missing or cannot be read.
    """
    begun = time.perf_counter()
    order_scorer = load_order_scorer(model, device)
    tell = progress or (lambda stage, done, total: None)
    building = lambda done, total: tell(f"building {NAME}", done, total)  # noqa: E731
    classes = load_val1(Path(data), Path(cache) if cache else None, limit=limit, progress=building)
    clips = {name: list(zip(some.names, some.frames, strict=True)) for name, some in classes.items()}

    def measure(clip: tuple[str, Tensor]) -> Scored:
        name, frames = clip
        return order_scorer.score(gathered(((name, frame.float() / 255) for frame in frames), side), subject=name)

    rows = tuple(rows_of(clips, measure, _row, tell))
    known: dict[str, object] = {
        **order_scorer.as_dict(),
        "device": str(order_scorer.device),
        "dtype": "float32",
        "side": side,
    }
    return Report(NAME, known, limit, time.perf_counter() - begun, rows)


def _row(name: str, scored: Sequence[Scored]) -> Row:
    forward, backward = (torch.stack([getattr(one, way) for one in scored]) for way in ("forward", "backward"))
    judged = (hit(forward, backward)[:, 0], consistent(forward, 2), consistent(forward, 3))
    shares = [float(one.float().mean()) for one in judged]
    confidence = sum(one.direction.confidence for one in scored) / len(scored)
    return Row(name, len(scored), shares[0], shares[1], shares[2], confidence)
