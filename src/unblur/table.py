"""What a protocol measured: tables for people, the same numbers for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from unblur._version import __version__

if TYPE_CHECKING:
    from rich.table import Table

TEXTS = {"task", "exposures", "of", "metric", "order"}
"""Headings of columns that stand on the left."""


class Sheet(NamedTuple):
    """A table as text.

    Attributes
    ----------
    headings : sequence of str
    lines : sequence of sequence of str
    ends : sequence of bool
        Whether something new begins after a line.
    title : str
        What stands above, where there are several tables.
    """

    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    ends: Sequence[bool]
    title: str = ""

    def markdown(self) -> str:
        """In Markdown."""
        rule = ["---" if heading in TEXTS else "---:" for heading in self.headings]
        table = "\n".join("| " + " | ".join(line) + " |" for line in (self.headings, rule, *self.lines)) + "\n"
        return f"{self.title}\n\n{table}" if self.title else table

    def table(self, title: str | None, caption: str | None) -> Table:
        """For `rich`."""
        from rich.table import Table
        from rich.text import Text

        # As text: brackets in a name are no markup.
        said = {"title": title, "caption": caption}
        table = Table(**{name: Text(text, f"table.{name}") for name, text in said.items() if text})  # type: ignore[arg-type]
        for heading in self.headings:
            table.add_column(Text(heading), justify="left" if heading in TEXTS else "right")
        for line, end in zip(self.lines, self.ends, strict=True):
            table.add_row(*map(Text, line), end_section=end)
        return table


@dataclass(frozen=True)
class Measured:
    """What every protocol tells.

    Attributes
    ----------
    protocol : str
    model : dict
        Name, network, device, number format.
    limit : int or None
        How many exposures of each class were measured; None means all.
    seconds : float
    """

    protocol: str
    model: dict[str, object]
    limit: int | None
    seconds: float

    @property
    def exit_code(self) -> int:
        """0."""
        return 0

    def counted(self) -> str:
        """What was measured, and how many."""
        raise NotImplementedError

    def sheets(self) -> list[Sheet]:
        """The tables."""
        raise NotImplementedError

    def results(self) -> dict[str, object]:
        """The numbers, for a machine-readable report."""
        raise NotImplementedError

    def summary(self) -> str:
        """One line."""
        note = f", {self.limit} of each class only" if self.limit else ""
        return f"{self.protocol}: {self.counted()} in {self.seconds:.1f} s{note}"

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        head = {"command": "eval", "unblur": __version__, "ok": True, "protocol": self.protocol, "model": self.model}
        return {**head, "limit": self.limit, "seconds": round(self.seconds, 3), **self.results()}

    def markdown(self) -> str:
        """The tables in Markdown."""
        return "\n".join(sheet.markdown() for sheet in self.sheets())

    def table(self) -> Any:
        """The tables for `rich`."""
        from rich.console import Group

        sheets, title = self.sheets(), f"{self.protocol}: {self.model['name']}"
        last = len(sheets) - 1
        tables = [
            sheet.table(sheet.title or (None if i else title), self.summary() if i == last else None)
            for i, sheet in enumerate(sheets)
        ]
        return tables[0] if last == 0 else Group(*tables)
