"""What was measured of classes of exposures: a row of each, and one of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Generic, Protocol, TypeVar

from unblur.evaluation.film_table import ALL
from unblur.table import Measured, Sheet

Progress = Callable[[str, int, int], None]
"""Called with (stage, steps done, steps in all)."""
Case = TypeVar("Case")
Found = TypeVar("Found")


class Line(Protocol):
    """A row of a table."""

    @property
    def exposures(self) -> str:
        """The class, or "all"."""
        ...

    def cells(self) -> list[str]:
        """As text."""
        ...

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        ...


Row = TypeVar("Row", bound=Line)


@dataclass(frozen=True)
class Tally(Measured, Generic[Row]):
    """What a protocol measured, in one table.

    Attributes
    ----------
    rows : tuple of Row
    """

    headings: ClassVar[Sequence[str]]
    rows: tuple[Row, ...]

    def results(self) -> dict[str, object]:
        """The numbers, for a machine-readable report."""
        return {"results": [row.as_dict() for row in self.rows]}

    def sheets(self) -> list[Sheet]:
        """The table; "all" stands apart."""
        named = [row.exposures for row in self.rows]
        ends = [ALL in two for two in pairwise([*named, ALL])]
        return [Sheet(self.headings, [row.cells() for row in self.rows], ends)]


def rows_of(
    classes: Mapping[str, Sequence[Case]],
    measure: Callable[[Case], Found],
    row: Callable[[str, Sequence[Found]], Row],
    tell: Progress,
    stage: str = "",
) -> Iterator[Row]:
    """A row of each class, and one of all, to which every exposure counts the same.

    Parameters
    ----------
    classes : dict of str to sequence
        What is to be measured.
    measure, row : callable
        Of one exposure; of a class and all that was found of it.
    tell : callable
    stage : str
        What the classes' names follow there.
    """
    everything: list[Found] = []
    for name, cases in classes.items():
        found = []
        for number, case in enumerate(cases):
            tell(f"{stage} {name}".strip(), number, len(cases))
            found.append(measure(case))
        yield row(name, found)
        everything += found
    yield row(ALL, everything)
