"""The manifest of a folder of exposures: JSON lines, one record per exposure, paths relative to the manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from unblur.data.exposure_metadata import NAME as METADATA
from unblur.data.exposure_metadata import Entry, Metadata, Order, Split, is_inside, read_metadata
from unblur.errors import UnblurError
from unblur.exposure.average import frame_times
from unblur.exposure.response import Response
from unblur.media.folder import atomic_path, is_folder

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


_ORDERS: dict[Direction, Order] = {"as_stored": "keep", "reversed": "reverse", "unknown": "ignore"}
_DIRECTIONS: dict[Order, Direction] = {"keep": "as_stored", "reverse": "reversed"}
_KEPT = ("source", "response", "size", "seed", "span")
"""Fields of a record that metadata has no place for: kept among the other keys of an entry."""


def metadata_of(records: Sequence[Record], where: str, root: Path, name: str, split: Split) -> Metadata:
    """A manifest that was found at `where` as metadata.

    Raises
    ------
    UnblurError
        It is empty, its exposures have different numbers of frames or only one, or times that are not evenly spaced.
    """
    if not records:
        raise UnblurError(where, "holds no exposure", "name a manifest with some")
    count = len(records[0].frames)
    entries = []
    for number, record in enumerate(records, 1):
        line = f"{where}, line {number}"
        if len(record.frames) != count or count < 2:
            problem = f"has {len(record.frames)} frames" + (f", line 1 has {count}" if count > 1 else "")
            raise UnblurError(line, problem, "make them all with one number of `frames`, 2 or more")
        if max(abs(a - b) for a, b in zip(record.times, frame_times(count).tolist(), strict=True)) > 1e-3:
            raise UnblurError(line, "has times that are not evenly spaced", "leave it out: metadata has no times")
        identity = PurePosixPath(record.blurry).with_suffix("").as_posix()
        more = {key: getattr(record, key) for key in _KEPT}
        more = {key: list(value) if isinstance(value, tuple) else value for key, value in more.items()}
        order = _ORDERS[record.direction]
        entries.append(Entry(identity, order, split, record.blurry, record.frames, None, more))
    return Metadata(name, count, tuple(entries), root)


def records_of(metadata: Metadata, size_of: Callable[[Path], tuple[int, int]]) -> list[Record]:
    """Metadata as the records of a manifest.

    Parameters
    ----------
    size_of : callable
        Height and width of a picture, for entries that do not say.
    """
    times = tuple(round(float(t), 6) for t in frame_times(metadata.frame_count))
    records = []
    for entry in metadata.entries:
        more: dict[str, Any] = {key: entry.more[key] for key in _KEPT if key in entry.more}
        more = {key: tuple(value) if isinstance(value, list) else value for key, value in more.items()}
        if "size" not in more:
            more["size"] = size_of(metadata.root / entry.blurry)
        direction: Direction = _DIRECTIONS.get(entry.order, "unknown")
        known: dict[str, Any] = {"source": entry.id, "response": "srgb", **more}
        records.append(Record(entry.blurry, entry.frames, times, direction=direction, **known))
    return records


def rebased(metadata: Metadata, folder: Path) -> Metadata | None:
    """The same pictures by their paths from `folder`; None if they are not in it."""
    try:
        below = metadata.root.resolve().relative_to(folder.resolve())
    except ValueError:
        return None
    moved = tuple(
        replace(
            entry,
            blurry=(PurePosixPath(below.as_posix()) / entry.blurry).as_posix(),
            frames=tuple((PurePosixPath(below.as_posix()) / frame).as_posix() for frame in entry.frames),
        )
        for entry in metadata.entries
    )
    return replace(metadata, entries=moved, root=folder)


def open_exposures(
    source: str | PathLike[str], root: str | PathLike[str] | None = None, split: Split = "train"
) -> Metadata | None:
    """The exposures of a ``metadata.json``, of a manifest, or of a folder with either; None for anything else.

    Parameters
    ----------
    root : str or path, optional
        Where the paths of metadata start.
    split : {"train", "val", "test"}
        Of the exposures of a manifest.

    Raises
    ------
    UnblurError
        The file is damaged or empty, or pictures are missing.
    """
    path = exposures_file(source)
    if path is None:
        return None
    if path.suffix.lower() == ".json":
        metadata = read_metadata(path, root)
        if not metadata.entries:
            raise UnblurError(path, "holds no exposure", "name a file with some")
        return metadata
    base = path.parent
    metadata = metadata_of(read_manifest(path), str(path), base, base.resolve().name or "data", split)
    eval_files(metadata, path)
    return metadata


def exposures_file(source: str | PathLike[str]) -> Path | None:
    """The metadata file or manifest that a user means: itself, or that of a folder; None for anything else."""
    path = Path(source)
    if is_folder(path):
        return next((path / name for name in (METADATA, NAME) if (path / name).is_file()), None)
    return path if path.suffix.lower() in (".json", ".jsonl") else None


def eval_files(metadata: Metadata, where: Path) -> None:
    """Refuse exposures whose pictures are not all there."""
    for number, entry in enumerate(metadata.entries, 1):
        for name in (entry.blurry, *entry.frames):
            if not (metadata.root / name).is_file():
                raise UnblurError(f"{where}, line {number}", f"names {name}, which is not there", "make it again")
