"""The manifest: metadata as JSON lines, one exposure a line, for other programs. Nothing else here reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from unblur.data.exposure_metadata import Metadata, Order, Split, id_of, is_inside, metadata_of
from unblur.errors import UnblurError
from unblur.exposure.average import frame_times

VERSION = 1
NAME = "manifest.jsonl"

_DIRECTIONS: dict[Order, str] = {"keep": "as_stored", "reverse": "reversed", "ignore": "unknown", "random": "unknown"}
_ORDERS: dict[str, Order] = {"as_stored": "keep", "reversed": "reverse", "unknown": "ignore"}
_FIELDS = ("blurry", "frames", "times", "source", "response", "direction", "size", "seed", "span")
_MEND = "mend or remove the line"


def manifest_text(metadata: Metadata, size_of: Callable[[Path], tuple[int, int]]) -> str:
    """Metadata as a manifest: a JSON object with the fields below on each line, and the version of the format.

    ``blurry`` and ``frames`` are paths from the manifest's folder; ``times`` are in [0, 1], 0 where the shutter opens;
    ``direction`` is the way that the canonical direction of time runs: "as_stored", "reversed" or "unknown";
    ``source``, ``response``, ``size``, ``seed`` and ``span`` are as in `unblur.data.exposure_metadata.Entry`.

    Parameters
    ----------
    metadata : Metadata
        With the paths as seen from the manifest.
    size_of : callable
        Height and width of a picture, for entries without a size.
    """
    lines = []
    for entry in metadata.entries:
        line = {
            "version": VERSION,
            "blurry": entry.blurry,
            "frames": entry.frames,
            "times": entry.frame_times(),
            "source": entry.source or entry.id,
            "response": entry.response or "srgb",
            "direction": _DIRECTIONS[entry.order],
            "size": entry.size or size_of(metadata.root / entry.blurry),
            "seed": entry.seed,
            "span": entry.span,
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines)


def read_manifest(path: Path, name: str, split: Split = "train") -> Metadata:
    """Read a manifest strictly: nothing unknown, nothing missing, nothing of a wrong type.

    Parameters
    ----------
    path : Path
    name : str
        Name of the data set.
    split : {"train", "val", "test"}
        Split of all its exposures.

    Raises
    ------
    UnblurError
        One line that names the file, the line and what is wrong there; or the manifest is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UnblurError(
            path, f"cannot be read ({reason})", "name a manifest written by unblur data metadata"
        ) from error
    if not lines:
        raise UnblurError(path, "holds no exposure", "name a manifest with some")
    data = [_entry(line, f"{path}, line {number}", split) for number, line in enumerate(lines, 1)]
    counts = [sum(key.startswith("frame") for key in entry) for entry in data]
    for number, count in enumerate(counts, 1):
        if count != counts[0]:
            problem = f"has {count} frames, line 1 has {counts[0]}"
            raise UnblurError(f"{path}, line {number}", problem, "keep lines of one number of frames")
    metadata = metadata_of({"name": name, "frame_per_seq": counts[0], "data": data}, path, "line")
    for number, found in enumerate(metadata.entries, 1):
        for picture in (found.blurry, *found.frames):
            if not (path.parent / picture).is_file():
                raise UnblurError(f"{path}, line {number}", f"names {picture}, which is not there", "make it again")
    return Metadata(metadata.name, metadata.frame_count, metadata.entries, path.parent)


def _entry(line: str, where: str, split: Split) -> dict[str, Any]:
    """A line as an entry of metadata, whose reader checks the rest."""
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnblurError(where, "not JSON", _MEND) from error
    if not isinstance(raw, dict):
        raise UnblurError(where, "not an object", _MEND)
    version = raw.pop("version", None)
    if version != VERSION:
        raise UnblurError(where, f"version {version!r} of the format", f"this program reads version {VERSION}")
    for name in _FIELDS:
        if name not in raw:
            raise UnblurError(where, f"field {name!r} is missing", _MEND)
    unknown = next((name for name in raw if name not in _FIELDS), None)
    if unknown is not None:
        raise UnblurError(where, f"unknown field {unknown!r}", _MEND)
    blurry, frames, times = raw["blurry"], raw["frames"], raw["times"]
    for name, value, fits in (
        ("blurry", blurry, is_inside(blurry) and PurePosixPath(blurry).name != ""),
        ("frames", frames, isinstance(frames, list) and len(frames) > 0),
        ("times", times, isinstance(times, list) and all(type(t) in (int, float) for t in times)),
        ("direction", raw["direction"], isinstance(raw["direction"], str) and raw["direction"] in _ORDERS),
        ("source", raw["source"], raw["source"] is not None),
        ("response", raw["response"], raw["response"] is not None),
        ("size", raw["size"], raw["size"] is not None),
    ):
        if not fits:
            raise UnblurError(where, f"field {name!r} cannot be {json.dumps(value)[:60]}", _MEND)
    if len(frames) != len(times):
        raise UnblurError(where, f"{len(frames)} frames but {len(times)} times", _MEND)
    entry: dict[str, Any] = {"id": id_of(blurry), "order": _ORDERS[raw["direction"]], "partition": split}
    entry |= {"blur_path": blurry} | {f"frame{number:03d}_path": frame for number, frame in enumerate(frames, 1)}
    even = all(abs(a - b) <= 1e-3 for a, b in zip(times, frame_times(len(frames)).tolist(), strict=True))
    entry |= {name: raw[name] for name in ("source", "response", "size", "seed", "span") if raw[name] is not None}
    return entry if even else entry | {"times": times}
