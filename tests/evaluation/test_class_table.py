from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import StringIO

from rich.console import Console as Screen

from unblur.evaluation.class_table import Tally, rows_of


@dataclass(frozen=True)
class Row:
    exposures: str
    mean: float

    def cells(self) -> list[str]:
        return [self.exposures, f"{self.mean:g}"]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Report(Tally[Row]):
    headings = ("exposures", "mean")

    def counted(self) -> str:
        return "numbers"


def mean(name: str, found: Sequence[int]) -> Row:
    return Row(name, sum(found) / len(found))


def test_every_exposure_counts_the_same_whatever_its_class() -> None:
    told: list[tuple[str, int, int]] = []
    rows = rows_of({"few": [1], "many": [3, 4, 5]}, lambda x: 2 * x, mean, lambda *step: told.append(step), "doubling")
    assert [(row.exposures, row.mean) for row in rows] == [("few", 2), ("many", 8), ("all", 6.5)]
    assert told == [("doubling few", 0, 1), ("doubling many", 0, 3), ("doubling many", 1, 3), ("doubling many", 2, 3)]


def test_all_stands_apart() -> None:
    rows = tuple(Row(name, 1) for name in ("mild", "clips", "all", "mild", "all"))
    report = Report("x-1", {"name": "m"}, None, 1.0, rows)
    (sheet,) = report.sheets()
    assert sheet.ends == [False, True, True, True, True]
    assert report.as_dict()["results"] == [row.as_dict() for row in rows]


def test_brackets_in_names_are_no_markup() -> None:
    report = Report("x-1", {"name": "[/red] m"}, None, 1.0, (Row("[bold]mild", 1),))
    screen = Screen(width=120, record=True, file=StringIO())
    screen.print(report.table())
    drawn = screen.export_text()
    assert "[/red] m" in drawn
    assert "[bold]mild" in drawn
