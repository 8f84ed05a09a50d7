"""What was measured of films: tables of means, and of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from unblur.evaluation.frechet_table import SetRow, sheet
from unblur.evaluation.protocols import Scores
from unblur.table import Measured, Sheet

COLUMNS = ("psnr@0", "psnr@0.5", "psnr@1", "psnr", "ssim@0", "ssim@0.5", "ssim@1", "ssim", "reblur", "forward")
ORDER_COLUMNS = ("hit", "con@2", "con@3")
INPUT = "blurry input"
ALL = "all"
NAMES = {"made": ("", ""), "clip": ("p", ""), "pair": ("p", " of pairs")}
"""What stands before and after a metric's name, by the direction of time that was taken."""


@dataclass(frozen=True)
class Row:
    """Means over the exposures of one class.

    Attributes
    ----------
    exposures : str
        The class, or "all".
    of : str
        The model, or the blurry input taken for every frame.
    count : int
        Exposures.
    values : dict
        `COLUMNS` to numbers: PSNR in dB, SSIM, the PSNR in dB of the averaged film against the input in linear light
        (``reblur``), and the share of films that run in the canonical direction of time (``forward``). Where an order
        network was asked, `ORDER_COLUMNS`. None where there is nothing to measure.
    """

    exposures: str
    of: str
    count: int
    values: dict[str, float | None]


@dataclass(frozen=True)
class FrameRow:
    """A metric of every frame, and its mean: means over the exposures of one class.

    Attributes
    ----------
    exposures, of, count
        As in `Row`.
    metric : str
        A key of `unblur.evaluation.options.Measures.metrics`.
    direction : {"made", "clip", "pair"}
        Of the films as they were made, or with each clip or each pair of its frames in the direction that is better by
        this metric.
    values : tuple of float
    name : str
        What the metric is called.
    """

    exposures: str
    of: str
    count: int
    metric: str
    direction: str
    values: tuple[float, ...]
    name: str

    @property
    def mean(self) -> float:
        """Over the frames."""
        return sum(self.values) / len(self.values)

    def cells(self) -> list[str]:
        """As text."""
        before, after = NAMES[self.direction]
        before += "-" if before and " " in self.name else ""
        digits = 2 if self.metric.startswith("psnr") else 4
        numbers = [f"{value:.{digits}f}" for value in (*self.values, self.mean)]
        return [self.exposures, str(self.count), self.of, before + self.name + after, *numbers]

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        about = {"exposures": self.exposures, "of": self.of, "count": self.count}
        return {
            **about,
            "metric": self.metric,
            "name": self.name,
            "direction": self.direction,
            "frames": list(self.values),
            "mean": self.mean,
        }


@dataclass(frozen=True)
class Report(Measured):
    """What a protocol measured.

    Attributes
    ----------
    verified : dict
        Class of exposures to "exact", "close" or "no": whether the data are those of published scores. Empty where no
        scores are published.
    rows : tuple of Row
        For each class, and for all exposures alike, the input and the model.
    frames : tuple of FrameRow
        The same of every frame, where metrics were named.
    sets : tuple of SetRow
        Frechet distances, where they were asked for.
    times : tuple of float
        Of the frames.
    notes : tuple of str
        What was left out, and why.
    """

    verified: dict[str, str]
    rows: tuple[Row, ...]
    frames: tuple[FrameRow, ...] = ()
    sets: tuple[SetRow, ...] = ()
    times: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    def row(self, exposures: str = ALL, *, of_input: bool = False) -> Row:
        """One row."""
        return next(r for r in self.rows if r.exposures == exposures and (r.of == INPUT) == of_input)

    def frame_row(self, metric: str, direction: str, exposures: str = ALL, *, of_input: bool = False) -> FrameRow:
        """One row of the frames."""
        rows = (r for r in self.frames if (r.metric, r.direction) == (metric, direction))
        return next(r for r in rows if r.exposures == exposures and (r.of == INPUT) == of_input)

    def counted(self) -> str:
        """What was measured, and how many."""
        return f"{self.row().count} exposures"

    def summary(self) -> str:
        """One line."""
        foreign = bool(self.verified) and min(self.verified.values(), key=_trust) == "no"
        notes = "".join(f"; {note}" for note in self.notes)
        return super().summary() + (", not on the published data" if foreign else "") + notes

    def results(self) -> dict[str, object]:
        """The numbers, for a machine-readable report."""
        rows = [{"exposures": row.exposures, "of": row.of, "count": row.count, **row.values} for row in self.rows]
        found: dict[str, object] = {"data": self.verified, "results": rows}
        if self.frames:
            found |= {"times": list(self.times), "frames": [row.as_dict() for row in self.frames]}
        if self.sets:
            found["sets"] = [row.as_dict() for row in self.sets]
        return found | ({"notes": list(self.notes)} if self.notes else {})

    def sheets(self) -> list[Sheet]:
        """The tables."""
        headings = self._headings()
        lines = [
            [r.exposures, str(r.count), r.of, *(_text(r.values[name], name) for name in headings)] for r in self.rows
        ]
        sheets = [Sheet(["exposures", "n", "of", *headings.values()], lines, [r.of != INPUT for r in self.rows])]
        if self.frames:
            times = ["t=" + f"{time:.2f}".rstrip("0").rstrip(".") for time in self.times]
            groups = [(row.exposures, row.of) for row in self.frames]
            ends = [one != other for one, other in pairwise([*groups, None])]
            cells = [row.cells() for row in self.frames]
            sheets.append(Sheet(["exposures", "n", "of", "metric", *times, "mean"], cells, ends))
        if self.sets:
            sheets.append(sheet(list(self.sets)))
        return sheets

    def _headings(self) -> dict[str, str]:
        frames = f"{len(self.times) or 7} frames"
        headings: dict[str, str] = {}
        for name in ("psnr", "ssim"):
            headings |= {f"{name}@0": f"{name.upper()} t=0", f"{name}@0.5": "t=0.5", f"{name}@1": "t=1", name: frames}
        shares = {name: name for name in ORDER_COLUMNS if name in self.rows[0].values}
        return {**headings, "reblur": "reblur", **shares}


def rows_of(
    name: str, of: str, scores: Scores, names: Mapping[str, str], without: Set[str] = frozenset()
) -> tuple[Row, list[FrameRow]]:
    """What was measured of a class; `names` are those of metrics, `without` are columns that say nothing."""
    means = scores.summary()
    columns = COLUMNS + (ORDER_COLUMNS if scores.order is not None or "hit" in without else ())
    row = Row(name, of, len(scores.psnr), {key: None if key in without else means[key] for key in columns})
    frames = []
    for metric, both in scores.both.items():
        found = {"made": both.forward}
        if of != INPUT:  # which is the same in either direction
            found |= {"clip": both.best(), "pair": both.best("pair")}
        means_of = {way: tuple(values.mean(0).tolist()) for way, values in found.items()}
        frames += [FrameRow(name, of, row.count, metric, way, v, names[metric]) for way, v in means_of.items()]
    return row, frames


def over_all(rows: Sequence[Row]) -> Row:
    """The mean over all exposures: each counts the same, whatever its class."""
    counts = [row.count for row in rows]
    values = {key: _mean((row.values[key] for row in rows), counts) for key in rows[0].values}
    return Row(ALL, rows[0].of, sum(counts), values)


def frames_over_all(rows: Sequence[FrameRow]) -> Iterator[FrameRow]:
    """The same of every frame: rows of one model, for each metric."""
    for metric, direction in dict.fromkeys((row.metric, row.direction) for row in rows):
        chosen = [row for row in rows if (row.metric, row.direction) == (metric, direction)]
        counts = [row.count for row in chosen]
        means = [_mean(each, counts) for each in zip(*(row.values for row in chosen), strict=True)]
        values = tuple(mean for mean in means if mean is not None)
        yield FrameRow(ALL, chosen[0].of, sum(counts), metric, direction, values, chosen[0].name)


def _mean(values: Iterable[float | None], counts: Sequence[int]) -> float | None:
    known = list(values)
    if any(value is None for value in known):
        return None
    return sum(value * count for value, count in zip(known, counts, strict=True) if value is not None) / sum(counts)


def _text(value: Any, name: str) -> str:
    if value is None:
        return "–"
    digits = 4 if name.startswith("ssim") else 3 if name in ORDER_COLUMNS else 2
    return f"{value:.{digits}f}"


def _trust(verified: str) -> int:
    return ("no", "close", "exact").index(verified)
