"""A report to read: a single HTML file, or HTML and Markdown with their pictures beside them."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from markdown_it import MarkdownIt

from unblur.data.pictures import Pixels
from unblur.errors import UnblurError
from unblur.media.folder import atomic_path
from unblur.table import Table

HTML, MARKDOWN, PICTURES = "report.html", "report.md", "pictures"
GAP = 4
"""Pixels between the pictures of a strip."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")
_FIRST = re.compile(r"^(\d{0,9})([-+=.)])(?=[-=\s]|$)")
"""What makes a list, a rule or a heading of a paragraph that begins with it."""
TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ margin: 0 auto; max-width: 60rem; padding: 1rem; background: #fff; color: #222;
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.5rem; }}
table {{ display: block; overflow-x: auto; border-collapse: collapse; font-size: .875rem;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }}
th, td {{ padding: .2rem .6rem; text-align: left; white-space: nowrap; }}
th {{ border-bottom: 2px solid #888; white-space: normal; vertical-align: bottom; }}
img {{ max-width: 100%; height: auto; }}
</style>
{body}
</html>
"""


class Strip(NamedTuple):
    """Pictures side by side.

    Attributes
    ----------
    pictures : sequence of ndarray
        (H, W, 3) uint8, all of one height.
    name : str
    about : str
        What must be known of them.
    """

    pictures: Sequence[Pixels]
    name: str
    about: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes
    ----------
    heading : str
    text : sequence of str
        Paragraphs.
    tables : sequence of Table
        Without their titles.
    strips : sequence of Strip
    """

    heading: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    strips: Sequence[Strip] = ()


@dataclass(frozen=True)
class Page:
    """The contents of a report.

    Attributes
    ----------
    title : str
    text : sequence of str
        Paragraphs.
    sections : sequence of Section
    """

    title: str
    text: Sequence[str]
    sections: Sequence[Section]

    @property
    def strips(self) -> list[Strip]:
        """Of all sections."""
        return [strip for section in self.sections for strip in section.strips]

    def markdown(self, pictures: Sequence[str]) -> str:
        """In Markdown, with the addresses of the pictures of `strips`."""
        blocks, addresses = [f"# {escaped(self.title)}", *map(escaped, self.text)], iter(pictures)
        for section in self.sections:
            blocks += [f"## {escaped(section.heading)}", *map(escaped, section.text)]
            for table in section.tables:
                headings, *rows = [[escaped(cell) for cell in row] for row in (table.headings, *table.rows)]
                blocks.append(table._replace(headings=headings, rows=rows, title="").markdown().rstrip())
            for strip in section.strips:
                about = f": {escaped(strip.about)}" if strip.about else ""
                blocks.append(f"**{escaped(strip.name)}**{about}\n\n![{escaped(strip.name)}]({next(addresses)})")
        return "\n\n".join(blocks) + "\n"


def write_page(page: Page, out: str | PathLike[str]) -> list[Path]:
    """Write a report; whoever opens it needs no network.

    Parameters
    ----------
    out : path
        A file with the suffix .html, which then holds its pictures too; or a folder for ``report.html``, ``report.md``
        and ``pictures``.

    Returns
    -------
    list of Path
        The HTML file, and in a folder the Markdown file.

    Raises
    ------
    UnblurError
        It cannot be written there.
    """
    check_page(out)
    out = Path(out)
    pictures = [_png(strip.pictures) for strip in page.strips]
    names = [f"{PICTURES}/{number:02d}.png" for number in range(1, len(pictures) + 1)]
    markdown = page.markdown(names)
    body = MarkdownIt("commonmark", {"html": False, "xhtmlOut": False}).enable("table").render(markdown)
    html = TEMPLATE.format(title=escape(page.title), body=body)
    if _is_html(out):
        for name, picture in zip(names, pictures, strict=True):
            html = html.replace(f'src="{name}"', f'src="data:image/png;base64,{base64.b64encode(picture).decode()}"')
        return [_write(out, html)]
    for name, picture in zip(names, pictures, strict=True):
        _write_bytes(out / name, picture)
    return [_write(out / HTML, html), _write(out / MARKDOWN, markdown)]


def check_page(out: str | PathLike[str]) -> None:
    """Refuse a place where no report can be, before it is made."""
    out, remedy = Path(out), "name a folder, or a file with the suffix .html"
    single = _is_html(out)
    try:
        if out.is_dir() if single else out.is_file():
            raise UnblurError(out, f"is a {'folder' if single else 'file'}", remedy)
        place = next(place for place in ((out, *out.parents)[single:]) if place.exists())
        if not (place.is_dir() and os.access(place, os.W_OK)):
            raise UnblurError(out, f"cannot be written: {place} is no folder that can be written to", remedy)
    except OSError as error:
        raise UnblurError(out, f"cannot be written ({error.strerror})", remedy) from None


def _is_html(out: Path) -> bool:
    return out.suffix.lower() in (".html", ".htm")


def escaped(text: str) -> str:
    """Text for Markdown, in which every character stands for itself."""
    return _FIRST.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", " ".join(text.split())))


def _write(path: Path, text: str) -> Path:
    # Names may hold surrogates, which no file can.
    return _write_bytes(path, text.encode(errors="replace"))


def _write_bytes(path: Path, content: bytes) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def _png(pictures: Sequence[Pixels]) -> bytes:
    white = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    strip = np.concatenate([part for picture in pictures for part in (white, picture)][1:], 1)
    return cv2.imencode(".png", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))[1].tobytes()
