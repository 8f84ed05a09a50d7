"""The manifest of a folder of exposures: JSON lines, one record per exposure, paths relative to the manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args

from unblur.errors import UnblurError
from unblur.exposure.response import Response
from unblur.media.folder import atomic_path

VERSION = 1
NAME = "manifest.jsonl"

Direction = Literal["as_stored", "reversed", "unknown"]


@dataclass(frozen=True)
class Record:
    """One exposure.

    Attributes
    ----------
    blurry : str
        Path of the blurry picture.
    frames : tuple of str
        Paths of the sharp frames, in the order of `times`; at least one.
    times : tuple of float
        When each frame was, 0 the shutter opens, 1 it closes; rising.
    source : str
        The clip or photo that it was made from.
    response : {"srgb", "gamma", "linear"}
        Camera response through which the light was averaged.
    direction : {"as_stored", "reversed", "unknown"}
        Which way the canonical direction of time runs: as the frames are stored, reversed, or nobody knows.
    size : (int, int)
        Height and width in pixels.
    seed : int or None
        Of a synthetic path.
    span : (int, int) or None
        First and last frame of the clip, both averaged.
    """

    blurry: str
    frames: tuple[str, ...]
    times: tuple[float, ...]
    source: str
    response: Response
    direction: Direction
    size: tuple[int, int]
    seed: int | None = None
    span: tuple[int, int] | None = None


def manifest_text(records: Iterable[Record]) -> str:
    """What `parse_manifest` reads.

    Raises
    ------
    ValueError
        If a record breaks the schema.
    """
    lines = []
    for record in records:
        problem = _problem(asdict(record))
        if problem:
            raise ValueError(f"{record.blurry}: {problem}")
        lines.append(json.dumps({"version": VERSION, **asdict(record)}, ensure_ascii=False) + "\n")
    return "".join(lines)


def write_manifest(path: Path, records: Iterable[Record]) -> Path:
    """Write `manifest_text`, all or nothing.

    Raises
    ------
    ValueError
        If a record breaks the schema.
    UnblurError
        If the file cannot be written.
    """
    text = manifest_text(records)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def read_manifest(path: Path) -> list[Record]:
    """Read a manifest strictly: nothing unknown, nothing missing, nothing of a wrong type.

    Raises
    ------
    UnblurError
        One line that names the file, the line and what is wrong there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UnblurError(path, f"cannot be read ({reason})", "name a manifest written by `unblur data`") from error
    return parse_manifest(text, path)


def parse_manifest(text: str, where: str | Path) -> list[Record]:
    """As `read_manifest`, of a text that was found at `where`."""
    return [_parse(line, f"{where}, line {number}") for number, line in enumerate(text.splitlines(), 1)]


def _parse(line: str, where: str) -> Record:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnblurError(where, "not JSON", "mend or remove the line") from error
    if not isinstance(entry, dict):
        raise UnblurError(where, "not a record", "mend or remove the line")
    version = entry.pop("version", None)
    if version != VERSION:
        raise UnblurError(where, f"version {version!r} of the format", f"this program reads version {VERSION}")
    problem = _problem(entry)
    if problem:
        raise UnblurError(where, problem, "mend or remove the line")
    checked: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Record(**checked)


def _problem(entry: dict[str, Any]) -> str | None:
    """What is wrong with a record's fields, or None."""
    names = [field.name for field in fields(Record)]
    for name in entry:
        if name not in names:
            return f"unknown field {name!r}"
    for name in names:
        if name not in entry:
            return f"field {name!r} is missing"
        if not _CHECKS[name](entry[name]):
            return f"field {name!r} cannot be {json.dumps(entry[name])[:60]}"
    if len(entry["frames"]) != len(entry["times"]):
        return f"{len(entry['frames'])} frames but {len(entry['times'])} times"
    return None


def is_inside(value: Any) -> bool:
    """Whether a path points nowhere outside the folder that it starts from, on any system, links aside."""
    if not isinstance(value, str) or not value:
        return False
    return not any(path.anchor or ".." in path.parts for path in (PurePosixPath(value), PureWindowsPath(value)))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_rising(value: Any) -> bool:
    numbers = _is_sequence(value) and all(_is_int(t) or (isinstance(t, float) and math.isfinite(t)) for t in value)
    return numbers and all(0 <= t <= 1 for t in value) and all(a < b for a, b in pairwise(value))


def _is_pair(value: Any, least: int) -> bool:
    return _is_sequence(value) and len(value) == 2 and all(_is_int(n) and n >= least for n in value)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple))


_CHECKS = {
    "blurry": is_inside,
    "frames": lambda v: _is_sequence(v) and len(v) > 0 and all(is_inside(p) for p in v),
    "times": _is_rising,
    "source": lambda v: isinstance(v, str) and bool(v),
    "response": lambda v: v in get_args(Response),
    "direction": lambda v: v in get_args(Direction),
    "size": lambda v: _is_pair(v, 1),
    "seed": lambda v: v is None or _is_int(v),
    "span": lambda v: v is None or (_is_pair(v, 0) and v[0] < v[1]),
}
