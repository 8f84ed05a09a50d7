"""What a protocol measured: rows of numbers, shown as tables and written for machines, and published numbers beside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from unblur._version import __version__
from unblur.errors import UnblurError
from unblur.pipeline.restore import Progress
from unblur.run_report import RunReport
from unblur.table import Table

INPUT = "blurry input"
"""What stands in place of a model where the blurry input itself is measured."""
ALL = "all"
DIGITS = {
    **{"psnr": 2, "reblur": 2, "forward": 2, "gain": 2},
    **{"hit": 3, "con@2": 3, "con@3": 3, "confidence": 3},
}
"""Decimals in a table of metrics whose names contain these; four of others."""
Case = TypeVar("Case")


@dataclass(frozen=True)
class ScoreRow:
    """Means over a number of exposures.

    Attributes
    ----------
    labels : dict
        What was measured: ``exposures`` (the class, or "all"), ``of`` (the model, or the blurry input), and more.
    count : int
        Exposures.
    values : dict
        Metrics to numbers; None where there is nothing to measure. The numbers of single frames have their indices for
        names.
    """

    labels: dict[str, Any]
    count: int
    values: Mapping[Any, float | None]

    @property
    def frames(self) -> tuple[float | None, ...]:
        """The numbers of single frames."""
        return tuple(value for name, value in self.values.items() if isinstance(name, int))

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        frames = {"frames": list(self.frames)} if self.frames else {}
        named = {name: value for name, value in self.values.items() if isinstance(name, str)}
        return {**self.labels, "count": self.count, **frames, **named}

    def text(self, column: str | int) -> str:
        """A label, the count or a number as a table shows it."""
        if column == "count":
            return str(self.count)
        if column in self.labels:
            return str(self.labels[str(column)])
        value = self.values.get(column)
        if value is None:
            return "–"
        metric = str(self.labels.get("metric", column))
        if metric.startswith("reached"):
            return f"{100 * value:.0f} %"
        digits = next((digits for name, digits in DIGITS.items() if name in metric), 4)
        return f"{value:.{digits}f}"


@dataclass(frozen=True)
class ScoreTable:
    """Rows that share their columns.

    Attributes
    ----------
    columns : dict
        Labels, "count" and metrics in the order of the columns, and their headings.
    rows : tuple of ScoreRow
    group : callable
        Of a row; where it changes, a table draws a line.
    texts : dict of str to callable
        Of a row, in place of `ScoreRow.text` in a column.
    title : str
        Stands above the table.
    """

    columns: Mapping[Any, str]
    rows: tuple[ScoreRow, ...]
    group: Callable[[ScoreRow], object] = lambda row: row.labels.get("exposures")
    texts: Mapping[Any, Callable[[ScoreRow], str]] = field(default_factory=dict)
    title: str = ""

    def row(self, **labels: object) -> ScoreRow:
        """The first row with these labels.

        Raises
        ------
        KeyError
            There is none.
        """
        for row in self.rows:
            if labels.items() <= row.labels.items():
                return row
        raise KeyError(labels)

    def table(self) -> Table:
        """For people."""
        cells = [[self.texts.get(column, _text_of(column))(row) for column in self.columns] for row in self.rows]
        ends = [one != other for one, other in pairwise([*map(self.group, self.rows), object()])]
        return Table(list(self.columns.values()), cells, ends, self.title)


def _text_of(column: str | int) -> Callable[[ScoreRow], str]:
    return lambda row: row.text(column)


@dataclass(kw_only=True)
class EvaluationReport(RunReport):
    """What a protocol measured.

    Attributes
    ----------
    protocol : str
    model : dict
        Name, network, device, number format.
    limit : int or None
        How many exposures of each class were measured; None means all.
    counted : str
        What was measured, and how much of it, for the summary.
    scores : dict of str to ScoreTable
        By their names in a machine-readable report.
    notes : tuple of str
        What was left out, and why; what must be known of the numbers.
    published : tuple of PublishedTable
        Numbers of others, shown below ours.
    """

    command: str = "eval"
    protocol: str
    model: dict[str, object]
    limit: int | None = None
    counted: str
    scores: dict[str, ScoreTable]
    notes: tuple[str, ...] = ()
    published: tuple[PublishedTable, ...] = ()

    @property
    def rows(self) -> tuple[ScoreRow, ...]:
        """Of the first table."""
        return next(iter(self.scores.values())).rows

    def row(self, **labels: object) -> ScoreRow:
        """The first row of the first table with these labels; see `ScoreTable.row`."""
        return next(iter(self.scores.values())).row(**labels)

    def summary(self) -> str:
        """One line."""
        limit = f", {self.limit} of each class only" if self.limit else ""
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{self.protocol}: {self.counted} in {self.seconds:.1f} s{limit}{notes}"

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        scores = {name: [row.as_dict() for row in score.rows] for name, score in self.scores.items() if score.rows}
        return {
            **{"command": self.command, "unblur": __version__, "ok": True},
            **{"protocol": self.protocol, "model": self.model, "limit": self.limit, "seconds": round(self.seconds, 3)},
            **self.metadata,
            **scores,
            "notes": list(self.notes),
        }

    @property
    def title(self) -> str:
        """Stands above the tables in a terminal."""
        return f"{self.protocol}: {self.model['name']}"

    def tables(self) -> list[Table]:
        """Our tables, and the published ones."""
        own = [score.table() for score in self.scores.values() if score.rows]
        return own + [published.table for published in self.published]


class PublishedTable(NamedTuple):
    """Numbers of others.

    Attributes
    ----------
    table : Table
    beside : str
        Which of our tables it belongs to, by its name in `EvaluationReport.scores`; empty for none of them.
    """

    table: Table
    beside: str = ""


def read_published(path: str | PathLike[str] | None, size: int | None = None) -> tuple[PublishedTable, ...]:
    """Read published numbers, to be shown below those that a protocol measures.

    The file is JSON: ``tables``, each with ``title``, ``columns`` (the first is the name) and ``rows`` of text, and
    ``note``, which follows each title. A table may say ``beside`` which of ours it belongs, and the range of picture
    ``sizes`` in pixels (longest side, lowest and highest) that it can be compared with.

    Parameters
    ----------
    path : path or None
        None gives nothing.
    size : int, optional
        Longest side of the pictures that are measured, in pixels; tables for others are left out.

    Raises
    ------
    UnblurError
        There is no such file, or it holds something else.
    """
    if path is None:
        return ()
    remedy = "name a file of published numbers, such as research/published/faces.json"
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UnblurError(path, f"cannot be read ({error.strerror})", remedy) from None
    except ValueError:
        raise UnblurError(path, "is no JSON", remedy) from None
    try:
        note = f": {content['note']}" if content.get("note") else ""
        tables = []
        for one in content["tables"]:
            low, high = one.get("sizes", (0, float("inf")))
            if size is not None and not low <= size <= high:
                continue
            rows = [[str(cell) for cell in row] for row in one["rows"]]
            if any(len(row) != len(one["columns"]) for row in rows):
                raise ValueError
            table = Table([str(name) for name in one["columns"]], rows, title=f"{one['title']}{note}")
            tables.append(PublishedTable(table, str(one.get("beside", ""))))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UnblurError(path, "holds no tables of published numbers", remedy) from None
    return tuple(tables)


def over_all(rows: Sequence[ScoreRow], weights: Sequence[float] | None = None, **labels: object) -> ScoreRow:
    """The mean of rows over all their exposures, each of which counts the same whatever its class.

    Parameters
    ----------
    rows : sequence of ScoreRow
    weights : sequence of float, optional
        Of the rows, in place of their counts.
    labels
        In place of those of the first row.
    """
    weights = [row.count for row in rows] if weights is None else weights
    values: dict[Any, float | None] = {}
    for name in rows[0].values:
        column = [row.values.get(name) for row in rows]
        terms = [value * weight for value, weight in zip(column, weights, strict=True) if value is not None]
        values[name] = sum(terms) / sum(weights) if len(terms) == len(rows) else None
    return ScoreRow({**rows[0].labels, **labels}, sum(row.count for row in rows), values)


def class_rows(
    classes: Mapping[str, Sequence[Case]],
    measure: Callable[[Case], Mapping[str, float]],
    progress: Progress,
    **labels: str,
) -> Iterator[ScoreRow]:
    """A row for each class, and one for all, to which every exposure counts the same.

    Parameters
    ----------
    classes : dict of str to sequence
        What is measured.
    measure : callable
        Of one exposure to its metrics.
    progress : callable
        Called with (stage, steps done, steps in all).
    labels
        Of all rows.
    """
    everything: list[Mapping[str, float]] = []
    for name, cases in classes.items():
        stage = " ".join((*labels.values(), name))
        measured = []
        for number, case in enumerate(cases):
            progress(stage, number, len(cases))
            measured.append(measure(case))
        yield _mean_row({**labels, "exposures": name}, measured)
        everything += measured
    yield _mean_row({**labels, "exposures": ALL}, everything)


def _mean_row(labels: dict[str, Any], measured: Sequence[Mapping[str, float]]) -> ScoreRow:
    means = {name: _mean(one[name] for one in measured) for name in measured[0]}
    return ScoreRow(labels, len(measured), means)


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)
