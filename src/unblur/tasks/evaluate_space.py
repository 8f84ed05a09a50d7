"""How good a blur space is, by the protocol blur-1: how well it reads a blur, and carries it to another picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from torch import Tensor

from unblur.data.blur1 import NAME, load_transfers
from unblur.data.val1 import load_val1
from unblur.metrics.fidelity import psnr
from unblur.tasks.measured import Measured, Sheet
from unblur.tasks.reblur import Model
from unblur.tasks.space import Space, load_space

ASKED = 36.0
"""dB: what a good reading reaches."""
HEADINGS = ("task", "exposures", "n", "sharp as it is", "with the code", "gain", f"at least {ASKED:g} dB")

Progress = Callable[[str, int, int], None]


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
class Report(Measured):
    """What blur-1 measured.

    Attributes
    ----------
    rows : tuple of Row
    """

    rows: tuple[Row, ...]

    def row(self, task: str, exposures: str = "all") -> Row:
        """One row."""
        return next(row for row in self.rows if (row.task, row.exposures) == (task, exposures))

    def counted(self) -> str:
        """What was measured, and how many."""
        return f"{self.row('reading').count} readings, {self.row('transfer').count} transfers"

    def results(self) -> dict[str, object]:
        """The numbers, for a machine-readable report."""
        return {"results": [row.as_dict() for row in self.rows]}

    def sheets(self) -> list[Sheet]:
        """The table."""
        return [Sheet(HEADINGS, [row.cells() for row in self.rows], [row.exposures == "all" for row in self.rows])]


def evaluate_space(
    model: Model = None,
    data: str | PathLike[str] = ".",
    device: str = "auto",
    *,
    limit: int | None = None,
    cache: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure a blur space by blur-1; see `unblur.data.blur1`.

    Parameters
    ----------
    model, device
        See `unblur.encode_blur`.
    data, limit, cache, progress
        See `unblur.tasks.evaluate.evaluate`.

    Raises
    ------
    UnblurError
        The model is no blur space; data that are missing or cannot be read.
    """
    begun = time.perf_counter()
    space = load_space(model, device)
    tell = progress or (lambda stage, done, total: None)
    place = Path(cache) if cache else None
    building = lambda done, total: tell(f"building {NAME}", done, total)  # noqa: E731
    readings = load_val1(Path(data), place, limit=limit, progress=building)
    transfers = load_transfers(Path(data), place, limit=limit, progress=building)
    reading, transfer = [], []
    for name, exposures in readings.items():
        middle = exposures.frames[:, exposures.frames.shape[1] // 2]
        quadruples = zip(middle, exposures.blurry, middle, exposures.blurry, strict=True)
        reading.append(_measured(space, "reading", name, list(quadruples), tell))
    for name, pairs in transfers.items():
        transfer.append(_measured(space, "transfer", name, list(zip(*pairs.parts(), strict=True)), tell))
    rows = (*reading, _all(reading), *transfer, _all(transfer))
    return Report(NAME, space.as_dict(), limit, time.perf_counter() - begun, rows)


def _measured(space: Space, task: str, name: str, cases: list[tuple[Tensor, ...]], tell: Progress) -> Row:
    before, after = [], []
    for number, case in enumerate(cases):
        tell(f"{task} {name}", number, len(cases))
        sharp, blurry, other, truth = (image.float() / 255 for image in case)
        made = space.apply(other, space.encode(sharp, blurry))
        before.append(float(psnr(other, truth)))
        after.append(float(psnr(made, truth)))
    count = len(cases)
    return Row(task, name, count, sum(before) / count, sum(after) / count, sum(a >= ASKED for a in after) / count)


def _all(rows: list[Row]) -> Row:
    """The mean over all exposures: each counts the same, whatever its class."""
    total = sum(row.count for row in rows)
    mean = lambda key: sum(getattr(row, key) * row.count for row in rows) / total  # noqa: E731
    return Row(rows[0].task, "all", total, mean("before"), mean("after"), mean("reached"))
