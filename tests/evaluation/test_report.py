from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console as Screen

from unblur.errors import UnblurError
from unblur.evaluation.report import (
    ALL,
    EvaluationReport,
    ScoreRow,
    ScoreTable,
    class_rows,
    over_all,
    read_published,
)

FACES = Path(__file__).parents[2] / "research" / "published" / "faces.json"


def row(name: str, count: int = 1, **values: Any) -> ScoreRow:
    return ScoreRow({"exposures": name}, count, values)


def report(*rows: ScoreRow, model: str = "m", group: Any = None) -> EvaluationReport:
    columns = {"exposures": "exposures", "count": "n", "psnr": "PSNR", "ssim": "SSIM"}
    table = ScoreTable(columns, rows) if group is None else ScoreTable(columns, rows, group)
    return EvaluationReport(
        protocol="x-1", model={"name": model}, counted="4 things", scores={"results": table}, begun=1.0, ended=3.5
    )


def test_every_exposure_counts_the_same_whatever_its_class() -> None:
    steps: list[tuple[str, int, int]] = []
    classes = {"few": [1], "many": [3, 4, 5]}
    rows = list(class_rows(classes, lambda x: {"twice": 2 * x}, lambda *step: steps.append(step), task="doubling"))
    assert [(row.labels["exposures"], row.values["twice"]) for row in rows] == [("few", 2), ("many", 8), (ALL, 6.5)]
    assert {row.labels["task"] for row in rows} == {"doubling"}
    assert steps == [("doubling few", 0, 1), ("doubling many", 0, 3), ("doubling many", 1, 3), ("doubling many", 2, 3)]
    whole = over_all(rows[:2], exposures=ALL)
    assert (whole.labels, whole.count, whole.values) == (rows[2].labels, 4, {"twice": 6.5})
    assert over_all([row("a", psnr=1.0), row("b", psnr=None)]).values == {"psnr": None}
    assert over_all([row("a", 9, psnr=1.0), row("b", psnr=2.0)], [1, 1]).values == {"psnr": 1.5}


def test_numbers_as_people_and_machines_read_them() -> None:
    shown = report(row("mild", 3, psnr=30.126, ssim=0.98765), row(ALL, psnr=None))
    assert shown.markdown().splitlines() == [
        "| exposures | n | PSNR | SSIM |",
        "| --- | ---: | ---: | ---: |",
        "| mild | 3 | 30.13 | 0.9877 |",
        "| all | 1 | – | – |",
    ]
    assert shown.summary() == "x-1: 4 things in 2.5 s"
    machine = json.loads(json.dumps(shown.as_dict()))
    assert machine["results"][0] == {"exposures": "mild", "count": 3, "psnr": 30.126, "ssim": 0.98765}
    assert (machine["command"], machine["ok"], machine["seconds"]) == ("eval", True, 2.5)
    assert shown.row(exposures=ALL).values == {"psnr": None}
    with pytest.raises(KeyError, match="no-such"):
        shown.row(exposures="no-such")
    assert ScoreRow({}, 1, {0: 1.0, 1: 2.0, "mean": 1.5}).as_dict() == {"count": 1, "frames": [1.0, 2.0], "mean": 1.5}


def test_groups_of_rows_stand_apart() -> None:
    rows = [row(name) for name in ("mild", "clips", "all", "mild", "all")]
    (table,) = report(*rows, group=lambda row: row.labels["exposures"] == ALL).tables()
    assert table.ends == [False, True, True, True, True]


def test_brackets_in_names_are_no_markup() -> None:
    screen = Screen(width=120, record=True, file=StringIO())
    shown = report(row("[bold]mild"), model="[/red] m")
    screen.print(shown.tables()[0]._replace(title=shown.title))
    drawn = screen.export_text()
    assert "x-1: [/red] m" in drawn
    assert "[bold]mild" in drawn


def test_published_numbers_by_the_size_of_the_pictures() -> None:
    titles = {size: [one.table.title for one in read_published(FACES, size)] for size in (None, 128, 256)}
    assert [len(several) for several in titles.values()] == [4, 3, 3]
    assert titles[128][0].startswith("Table 3, centre frame, 128 x 128, * trained again on 300VW: the paper's")
    assert titles[256][0].startswith("Table 2")
    assert [one.beside for one in read_published(FACES, 256)] == ["centres", "films", ""]
    assert read_published(None) == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no tables of published numbers"),
        ('{"tables": [{"title": "a", "columns": ["of", "PSNR"], "rows": [["x"]]}]}', "holds no tables"),
        (None, "cannot be read"),
    ],
)
def test_files_that_hold_no_published_numbers(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "published.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UnblurError, match=rf"published\.json: {problem}"):
        read_published(path)


def test_the_papers_numbers_agree_with_each_other() -> None:
    two, _, four, five = (published.table.rows for published in read_published(FACES))
    counts = [13765.0, 18739, 23445, 27830, 32409]  # frames of each length, of the paper's table 1
    *lengths, whole = [[float(cell) for cell in row[1:]] for row in four[1:]]
    columns = list(zip(*lengths, strict=True))
    for number in (0, 1, 2, 4):
        weighted = sum(value * count for value, count in zip(columns[number], counts, strict=True)) / sum(counts)
        assert weighted == pytest.approx(whole[number], abs=2e-4)
    assert sum(columns[3]) / 5 == pytest.approx(whole[3], abs=1e-4), "of FID the plain mean"
    assert five[-1][1:] == two[-1][1:]
