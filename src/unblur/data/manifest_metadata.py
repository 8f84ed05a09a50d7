"""Our manifest as HyperCUT's metadata, and back; either of them read as metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from unblur.data.exposure_metadata import NAME, Entry, Metadata, Order, Split, read_metadata
from unblur.data.manifest import NAME as MANIFEST
from unblur.data.manifest import Direction, Record, read_manifest
from unblur.errors import UnblurError
from unblur.exposure.average import frame_times
from unblur.media.folder import is_folder

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
        return next((path / name for name in (NAME, MANIFEST) if (path / name).is_file()), None)
    return path if path.suffix.lower() in (".json", ".jsonl") else None


def eval_files(metadata: Metadata, where: Path) -> None:
    """Refuse exposures whose pictures are not all there."""
    for number, entry in enumerate(metadata.entries, 1):
        for name in (entry.blurry, *entry.frames):
            if not (metadata.root / name).is_file():
                raise UnblurError(f"{where}, line {number}", f"names {name}, which is not there", "make it again")
