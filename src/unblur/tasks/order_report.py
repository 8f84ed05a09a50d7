"""What `unblur order` tells: directions of clips, shares that agree, and which do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from unblur._version import __version__
from unblur.data.exposure_metadata import Split
from unblur.errors import UnblurError
from unblur.metrics.ordering import consistent, hit
from unblur.pipeline.frame_order import Scored
from unblur.run_report import Job, Outcome

if TYPE_CHECKING:
    from rich.table import Table

LISTED = 20
"""Inconsistent clips that are named where people read; all are in the report for machines."""


@dataclass(frozen=True)
class Row:
    """A clip and its order."""

    id: str
    split: Split | None
    scored: Scored

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        direction = self.scored.direction
        return {
            "id": self.id,
            "split": self.split,
            "frames": self.scored.frames,
            "direction": direction.sign,
            "score": direction.score,
            "confidence": direction.confidence,
            "consistent": self.scored.consistent,
            "pairs": self.scored.forward.tolist(),
        }


@dataclass(frozen=True)
class ScoreReport:
    """Clips with their directions.

    Attributes
    ----------
    command : str
    model : dict
    rows : sequence of Row
    errors : list of UnblurError
    seconds : float
    """

    command: str
    model: dict[str, str]
    rows: Sequence[Row]
    errors: list[UnblurError]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0, or 1 if a clip failed or there was none."""
        return 1 if self.errors or not self.rows else 0

    @property
    def inconsistent(self) -> list[str]:
        """The clips whose symmetric pairs do not all lie on one side."""
        return [row.id for row in self.rows if not row.scored.consistent]

    def summary(self) -> str:
        """One line."""
        reversed_ = sum(row.scored.direction.sign < 0 for row in self.rows)
        failed = f", {len(self.errors)} failed" if self.errors else ""
        counts = f"{len(self.rows)} scored: {len(self.rows) - reversed_} as stored, {reversed_} reversed"
        return (
            f"{counts}, {len(self.inconsistent)} inconsistent{failed} in {self.seconds:.1f} s by {self.model['name']}"
        )

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {
            "command": self.command,
            "unblur": __version__,
            "ok": not self.errors,
            "seconds": round(self.seconds, 3),
            "model": self.model,
            "inconsistent": self.inconsistent,
            "results": [row.as_dict() for row in self.rows],
            "errors": [
                {"input": error.subject, "problem": error.problem, "remedy": error.remedy} for error in self.errors
            ],
        }

    def headings(self) -> list[str]:
        """Of the columns; the first one's are names."""
        return ["clip", "frames", "score", "confidence", "direction"]

    def cells(self) -> list[list[str]]:
        """The table's rows as text."""
        return [
            [
                row.id,
                str(row.scored.frames),
                f"{row.scored.direction.score:+.3g}",
                f"{row.scored.direction.confidence:.2f}",
                ("as stored" if row.scored.direction.sign > 0 else "reversed")
                + ("" if row.scored.consistent else ", inconsistent"),
            ]
            for row in self.rows
        ]

    def note(self) -> str:
        """What stands below the table."""
        return ""

    def markdown(self) -> str:
        """The table in Markdown."""
        headings = self.headings()
        lines = (headings, ["---", *("---:" for _ in headings[1:])], *self.cells())
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n" + self.note()

    def table(self) -> Table:
        """The table for `rich`."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(caption=escape(self.note()) or None)
        for number, heading in enumerate(self.headings()):
            table.add_column(heading, justify="right" if number else "left", overflow="fold")
        for cells in self.cells():
            table.add_row(*map(escape, cells))
        return table


@dataclass(frozen=True)
class Measured(ScoreReport):
    """hit and con@k over clips, for each split and for all."""

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {**super().as_dict(), "measures": {name: measures(rows) for name, rows in self._parts()}}

    def headings(self) -> list[str]:
        """Of the columns."""
        return ["clips", "n", *measures(self.rows)]

    def cells(self) -> list[list[str]]:
        """The table's rows as text."""
        columns = self.headings()[2:]
        lines = []
        for name, rows in self._parts():
            found = measures(rows)
            lines.append([name, str(len(rows)), *(f"{found[key]:.3f}" if key in found else "-" for key in columns)])
        return lines

    def note(self) -> str:
        """The clips that are inconsistent, the first ones."""
        names = self.inconsistent
        if not names:
            return ""
        more = f" and {len(names) - LISTED} more, all with `json`" if len(names) > LISTED else ""
        return f"inconsistent: {', '.join(names[:LISTED])}{more}\n"

    def _parts(self) -> list[tuple[str, list[Row]]]:
        names = sorted({row.split for row in self.rows if row.split})
        parts: list[tuple[str, list[Row]]] = [(name, [row for row in self.rows if row.split == name]) for name in names]
        return [*(parts if len(parts) > 1 else []), ("all", list(self.rows))]


@dataclass(frozen=True)
class Labelled(Measured):
    """Labels that were written.

    Attributes
    ----------
    job : Job
        What they were made of, and where they are.
    warning : str or None
    """

    job: Job
    warning: str | None = None

    def outcome(self) -> Outcome:
        """What became of the file."""
        facts: dict[str, object] = {"warning": self.warning} if self.warning else {}
        reversed_ = sum(row.scored.direction.sign < 0 for row in self.rows)
        return Outcome(self.job, f"{len(self.rows) - reversed_} keep, {reversed_} reverse", facts)

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        about = {"output": str(self.job.output), **({"warning": self.warning} if self.warning else {})}
        return {**super().as_dict(), **about}


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """Shares of clips: hit of each symmetric pair, the widest first, con@2 and con@3, and the mean confidence.

    A clip with fewer pairs does not count where there are none.
    """
    if not rows:
        return {}
    most = max(len(row.scored.forward) for row in rows)
    found: dict[str, float] = {}
    for pair in range(most):
        with_it = [row.scored for row in rows if len(row.scored.forward) > pair]
        hits = [hit(scored.forward[pair], scored.backward[pair]) for scored in with_it]
        found[f"hit {pair + 1}"] = float(torch.stack(hits).float().mean())
    for k in (2, 3):
        enough = [row.scored.forward for row in rows if len(row.scored.forward) >= k]
        if enough:
            found[f"con@{k}"] = float(torch.stack([consistent(scores, k) for scores in enough]).float().mean())
    found["confidence"] = sum(row.scored.direction.confidence for row in rows) / len(rows)
    return found
