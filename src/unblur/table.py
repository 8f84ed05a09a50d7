"""A table for people, in Markdown and in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table as RichTable

TEXT_COLUMNS = {"task", "exposures", "of", "metric", "order", "clip", "clips"}
"""Headings of the columns that are aligned left."""


class Table(NamedTuple):
    """Cells as text, with a heading over every column.

    Attributes
    ----------
    headings : sequence of str
    rows : sequence of sequence of str
    ends : sequence of bool
        Whether a group of rows ends with each row, which a terminal marks by a line; empty without groups.
    title : str
        Stands above the table.
    caption : str
        Stands below it.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    ends: Sequence[bool] = ()
    title: str = ""
    caption: str = ""

    def markdown(self) -> str:
        """In Markdown, with a line break at the end."""
        rule = ["---" if heading in TEXT_COLUMNS else "---:" for heading in self.headings]
        lines = ["| " + " | ".join(row) + " |" for row in (self.headings, rule, *self.rows)]
        return "\n".join([self.title, ""] * bool(self.title) + lines + [self.caption] * bool(self.caption)) + "\n"

    def __rich__(self) -> RichTable:
        """For a terminal."""
        from rich.table import Table as RichTable
        from rich.text import Text

        # As text: brackets in a name are no markup.
        title, caption = (Text(text, style) if text else None for text, style in self._around())
        table = RichTable(title=title, caption=caption)
        for heading in self.headings:
            table.add_column(Text(heading), justify="left" if heading in TEXT_COLUMNS else "right", overflow="fold")
        for row, end in zip(self.rows, self.ends or [False] * len(self.rows), strict=True):
            table.add_row(*map(Text, row), end_section=end)
        return table

    def _around(self) -> list[tuple[str, str]]:
        return [(self.title, "table.title"), (self.caption, "table.caption")]
