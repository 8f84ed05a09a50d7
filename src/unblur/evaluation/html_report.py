"""A report to read: a single HTML file, or HTML and Markdown with their pictures beside them."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from unblur.data.pictures import Pixels
from unblur.errors import UnblurError
from unblur.media.folder import atomic_path
from unblur.table import TEXTS, Sheet

HTML, MARKDOWN, PICTURES = "report.html", "report.md", "pictures"
GAP = 4
"""Pixels between the pictures of a strip."""
_MARKED = re.compile(r"([\\`*_{}\[\]<>#|~!&])")
_FIRST = re.compile(r"^(\d{0,9})([-+=.)])(?=[-=\s]|$)")
"""What makes a list, a rule or a heading of a paragraph that begins with it."""
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: #fff; color: #222;
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #888; white-space: normal; vertical-align: bottom; }
tr.end td { border-bottom: 1px solid #ccc; }
.text { text-align: left; }
figure { margin: 0 0 .8rem; display: grid; grid-template-columns: 14rem 1fr; gap: .2rem 1rem; align-items: center; }
figcaption { font-size: .875rem; }
img { max-width: 100%; height: auto; }
@media (max-width: 44rem) { figure { grid-template-columns: 1fr; } }
"""


class Strip(NamedTuple):
    """Pictures side by side.

    Attributes
    ----------
    pictures : sequence of ndarray
        (H, W, 3) uint8, all of one height.
    name : str
    said : str
        What is to be known of them.
    """

    pictures: Sequence[Pixels]
    name: str
    said: str = ""


@dataclass(frozen=True)
class Part:
    """Of a page: a heading, and below it text, a table or strips of pictures.

    Attributes
    ----------
    heading : str
    text : sequence of str
        Paragraphs.
    sheet : Sheet or None
    strips : sequence of Strip
    """

    heading: str
    text: Sequence[str] = ()
    sheet: Sheet | None = None
    strips: Sequence[Strip] = ()


@dataclass(frozen=True)
class Page:
    """What a report says.

    Attributes
    ----------
    title : str
    text : sequence of str
        Paragraphs.
    parts : sequence of Part
    """

    title: str
    text: Sequence[str]
    parts: Sequence[Part]


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
    pictures = {id(strip): _png(strip.pictures) for part in page.parts for strip in part.strips}
    if _is_html(out):
        inside = lambda strip: "data:image/png;base64," + base64.b64encode(pictures[id(strip)]).decode()  # noqa: E731
        return [_write(out, _html(page, inside))]
    names = {key: f"{PICTURES}/{number:02d}.png" for number, key in enumerate(pictures, 1)}
    for key, name in names.items():
        _write_bytes(out / name, pictures[key])
    beside = lambda strip: names[id(strip)]  # noqa: E731
    return [
        _write(out / HTML, _html(page, beside)),
        _write(out / MARKDOWN, _markdown(page, beside)),
    ]


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


def marked(text: str) -> str:
    """Text for Markdown, in which every character stands for itself."""
    return _FIRST.sub(r"\1\\\2", _MARKED.sub(r"\\\1", " ".join(text.split())))


def _write(path: Path, text: str) -> Path:
    # Names may hold halves of characters, which no file can.
    return _write_bytes(path, text.encode(errors="replace"))


def _write_bytes(path: Path, content: bytes) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def _png(pictures: Sequence[Pixels]) -> bytes:
    white = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    strip = np.concatenate([part for picture in pictures for part in (white, picture)][1:], 1)
    return cv2.imencode(".png", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))[1].tobytes()


def _html(page: Page, source: Callable[[Strip], str]) -> str:
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(page.title)}</title>",
        f"<style>{STYLE}</style>",
        f"<h1>{escape(page.title)}</h1>",
        *(f"<p>{escape(text)}</p>" for text in page.text),
    ]
    for part in page.parts:
        lines.append(f"<h2>{escape(part.heading)}</h2>")
        lines += [f"<p>{escape(text)}</p>" for text in part.text]
        if part.sheet is not None:
            lines.append(_html_table(part.sheet))
        for strip in part.strips:
            caption = f"<strong>{escape(strip.name)}</strong>" + (f"<br>{escape(strip.said)}" if strip.said else "")
            image = f'<img src="{escape(source(strip))}" alt="{escape(strip.name)}">'
            lines.append(f"<figure><figcaption>{caption}</figcaption>{image}</figure>")
    return "\n".join(lines) + "\n</html>\n"


def _html_table(sheet: Sheet) -> str:
    left = [' class="text"' if heading in TEXTS else "" for heading in sheet.headings]

    def cells(line: Sequence[str], kind: str) -> str:
        return "".join(f"<{kind}{side}>{escape(cell)}</{kind}>" for cell, side in zip(line, left, strict=True))

    ends = [' class="end"' if end else "" for end in sheet.ends]
    rows = [f"<tr{end}>{cells(line, 'td')}</tr>" for line, end in zip(sheet.lines, ends, strict=True)]
    head = f"<thead><tr>{cells(sheet.headings, 'th')}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>\n' + "\n".join(rows) + "\n</tbody></table></div>"


def _markdown(page: Page, source: Callable[[Strip], str]) -> str:
    blocks = [f"# {marked(page.title)}", *map(marked, page.text)]
    for part in page.parts:
        blocks += [f"## {marked(part.heading)}", *map(marked, part.text)]
        if part.sheet is not None:
            lines = [[marked(cell) for cell in line] for line in part.sheet.lines]
            blocks.append(part.sheet._replace(lines=lines, title="").markdown().rstrip())
        for strip in part.strips:
            said = f": {marked(strip.said)}" if strip.said else ""
            blocks.append(f"{marked(strip.name)}{said}\n\n![{marked(strip.name)}]({source(strip)})")
    return "\n\n".join(blocks) + "\n"
