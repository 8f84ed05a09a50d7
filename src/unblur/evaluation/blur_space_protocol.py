"""How good a blur space is, by the protocol blur-1: how well it reads a blur, and carries it to another picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

from torch import Tensor

from unblur.evaluation.blur1 import NAME, load_transfers
from unblur.evaluation.class_table import Progress, Tally, rows_of
from unblur.evaluation.film_table import ALL
from unblur.evaluation.val1 import Exposures, load_val1
from unblur.metrics.fidelity import psnr
from unblur.pipeline.blur_transfer import BlurSpace, Model, load_blur_space

ASKED = 36.0
"""dB: what a good reading reaches."""


@dataclass(frozen=True)
class Row:
    """Means over a class.

    Attributes
    ----------
    task : str
        "reading" or "transfer".
    exposures : str
    count : int
    before : float
        PSNR in dB of the sharp picture itself against the blurry one.
    after : float
        Of the sharp picture with the code put on it.
    reached : float
        Share of pictures with at least 36 dB after.
    """

    task: str
    exposures: str
    count: int
    before: float
    after: float
    reached: float

    def cells(self) -> list[str]:
        """As text."""
        numbers = [f"{value:.2f}" for value in (self.before, self.after, self.after - self.before)]
        return [self.task, self.exposures, str(self.count), *numbers, f"{100 * self.reached:.0f} %"]

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        numbers = {"psnr_sharp": self.before, "psnr": self.after, "reached_36": self.reached}
        return {"task": self.task, "exposures": self.exposures, "count": self.count, **numbers}


@dataclass(frozen=True)
class Report(Tally[Row]):
    """What blur-1 measured."""

    headings = ("task", "exposures", "n", "sharp as it is", "with the code", "gain", f"at least {ASKED:g} dB")

    def row(self, task: str, exposures: str = ALL) -> Row:
        """One row."""
        return next(row for row in self.rows if (row.task, row.exposures) == (task, exposures))

    def counted(self) -> str:
        """What was measured, and how many."""
        return f"{self.row('reading').count} readings, {self.row('transfer').count} transfers"


def evaluate_space(
    model: Model = None,
    data: str | PathLike[str] = ".",
    *,
    device: str = "auto",
    limit: int | None = None,
    cache: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure a blur space by blur-1; see `unblur.evaluation.blur1`.

    Parameters
    ----------
    model, device
        See `unblur.encode_blur`.
    data, limit, cache, progress
        See `unblur.evaluation.film_protocol.evaluate`.

    Raises
    ------
    UnblurError
        The model is no blur space; data that are missing or cannot be read.
    """
    begun = time.perf_counter()
    space = load_blur_space(model, device)
    tell = progress or (lambda stage, done, total: None)
    place = Path(cache) if cache else None
    building = lambda done, total: tell(f"building {NAME}", done, total)  # noqa: E731
    readings = load_val1(Path(data), place, limit=limit, progress=building)
    transfers = load_transfers(Path(data), place, limit=limit, progress=building)
    read = {name: _middle(some) for name, some in readings.items()}
    carried = {name: list(zip(*some.parts(), strict=True)) for name, some in transfers.items()}
    measure = partial(_measured, space)
    rows = rows_of(read, measure, partial(_row, "reading"), tell, "reading")
    more = rows_of(carried, measure, partial(_row, "transfer"), tell, "transfer")
    return Report(NAME, space.as_dict(), limit, time.perf_counter() - begun, (*rows, *more))


def _middle(exposures: Exposures) -> list[tuple[Tensor, ...]]:
    """Of every exposure the sharp picture of its middle and the blurry one, which is to be made of it again."""
    middle, blurry = exposures.frames[:, exposures.frames.shape[1] // 2], exposures.blurry
    return list(zip(middle, blurry, middle, blurry, strict=True))


def _measured(space: BlurSpace, case: tuple[Tensor, ...]) -> tuple[float, float]:
    """PSNR against the truth of another picture as it is, and with the blur of a pair."""
    sharp, blurry, other, truth = (image.float() / 255 for image in case)
    made = space.apply(other, space.encode(sharp, blurry))
    return float(psnr(other, truth)), float(psnr(made, truth))


def _row(task: str, name: str, found: Sequence[tuple[float, float]]) -> Row:
    count, (before, after) = len(found), zip(*found, strict=True)
    return Row(task, name, count, sum(before) / count, sum(after) / count, sum(a >= ASKED for a in after) / count)
