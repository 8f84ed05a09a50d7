"""A metadata file for pictures that are there already: data sets in the layouts of their authors, and manifests.

A manifest is metadata as JSON lines, one exposure a line, for other programs; nothing but `make_metadata` reads one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from unblur.data.exposure_metadata import (
    NAME,
    Entry,
    Metadata,
    Order,
    Split,
    id_of,
    is_inside,
    metadata_of,
    metadata_text,
    read_metadata,
    rebased,
)
from unblur.data.layouts import MEANS, ExposureLayout, Found, find_exposures, read_box
from unblur.data.pictures import PictureFolder, picture_size_of
from unblur.errors import UnblurError, UsageError
from unblur.exposure.average import average, frame_times
from unblur.exposure.response import Response
from unblur.media.folder import atomic_path
from unblur.media.image import Picture, read_image, write_image
from unblur.run_report import Job, Listener, Outcome, RunReport, Silent


@dataclass(frozen=True)
class MetadataOptions:
    """How the exposures of a folder are listed.

    Attributes
    ----------
    layout : {"auto", "rb2v", "baist", "reds"}
        See `unblur.data.layouts.find_exposures`.
    split : {"train", "val", "test"}
        Of exposures in no folder with the name of one.
    name : str, optional
        Of the data set; that of its folder by default.
    group : int
        Consecutive frames that are averaged in the layout reds.
    response : {"srgb", "gamma", "linear"}
        Camera response through which they are averaged.
    """

    layout: ExposureLayout = "auto"
    split: Split = "train"
    name: str | None = None
    group: int = 7
    response: Response = "srgb"

    @property
    def averaged(self) -> str:
        """The folder for means."""
        return f"{MEANS}{self.group}" + ("" if self.response == "srgb" else f"_{self.response}")


def make_metadata(
    source: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    options: MetadataOptions | None = None,
    listener: Listener | None = None,
    *,
    overwrite: bool = False,
) -> RunReport:
    """List the exposures of a folder or of a manifest in a ``metadata.json``, or export metadata as a manifest.

    Parameters
    ----------
    source : str or path
        A folder, a ``manifest.jsonl``, or a ``metadata.json``.
    out : str or path, optional
        The file to write; ``metadata.json`` in the folder by default. A name that ends in ``.jsonl`` exports a
        manifest, of the folder's ``metadata.json`` if there is one.
    overwrite : bool
        Replace a file that says something else: labels, or the work of hours, may be in it.

    Raises
    ------
    UnblurError
        No exposures there, or some that are not whole; see `find_exposures` and `read_metadata`. Another file is there.
    """
    options, listener, source = options or MetadataOptions(), listener or Silent(), Path(source)
    if options.group < 2:
        raise UsageError("group", options.group, "too few frames", "use 2 or more")
    root = source if source.is_dir() else source.parent
    target = checked_target(root / NAME if out is None else out, source)
    layout, metadata = _listed(source, root, options, listener, exports=target.suffix.lower() == ".jsonl")
    warning = write_beside(target, metadata, overwrite=overwrite)
    message = f"{len(metadata.entries)} x {metadata.frame_count} frames, {layout}"
    parts = Counter[str](entry.split for entry in metadata.entries)
    details: dict[str, object] = {"layout": layout, "entries": len(metadata.entries), "frames": metadata.frame_count}
    details |= {"splits": dict(parts), "root": str(metadata.root), **({"warning": warning} if warning else {})}
    report = RunReport("data metadata", "listed", count=len(metadata.entries))
    report.results.append(Outcome(Job(source, target), message, details))
    listener.done(report.results[0])
    return report


def checked_target(out: str | PathLike[str], source: Path) -> Path:
    """Where the metadata of `source` are written; refused before any work if they cannot be.

    Raises
    ------
    UnblurError
        It is the source, a folder, or has the name of something else, such as one of the pictures.
    """
    target = Path(out)
    if target.resolve() == source.resolve():
        raise UnblurError(target, "would overwrite its input", "choose another name for `out`")
    if target.is_dir():
        raise UnblurError(target, "is a folder", f"name a file, such as `out={target / NAME}`")
    if target.suffix.lower() not in (".json", ".jsonl"):
        raise UnblurError(target, "is no name of metadata or of a manifest", "let it end in .json, or in .jsonl")
    return target


def write_beside(target: Path, metadata: Metadata, *, overwrite: bool = True) -> str | None:
    """Write metadata, or a manifest for a name in ``.jsonl``, with the paths as seen from its folder.

    Returns
    -------
    str or None
        A warning, if the pictures are elsewhere.

    Raises
    ------
    UnblurError
        Without `overwrite`: a file that says something else is there.
    """
    moved = rebased(metadata, target.parent)
    warning = None if moved else f"{target} has paths that start in {metadata.root}: name it with `root`"
    as_manifest = target.suffix.lower() == ".jsonl"
    text = (_as_manifest(target, metadata, moved) if as_manifest else metadata_text(moved or metadata)).encode()
    if not overwrite and target.is_file() and not _holds(target, text):
        remedy = "choose another name for `out`, or pass `overwrite` to replace it"
        raise UnblurError(target, "is there already, and says something else", remedy)
    with atomic_path(target) as temporary:
        temporary.write_bytes(text)
    return warning


def _holds(path: Path, text: bytes) -> bool:
    try:
        return path.read_bytes() == text
    except OSError:
        return False


def _as_manifest(target: Path, metadata: Metadata, moved: Metadata | None) -> str:
    if moved is None:
        remedy = "write it into the folder of the pictures, or into one above"
        raise UnblurError(target, f"cannot name pictures in {metadata.root}", remedy)
    return manifest_text(moved, picture_size_of)


def _listed(
    source: Path, root: Path, options: MetadataOptions, listener: Listener, *, exports: bool
) -> tuple[str, Metadata]:
    if not source.exists():
        raise UnblurError(source, "does not exist", "name a folder of pictures, a manifest or metadata")
    name = options.name or root.resolve().name or "data"
    manifest = source / MANIFEST if source.is_dir() and options.layout == "auto" else source
    if manifest.suffix.lower() == ".jsonl" and manifest.is_file():
        return "manifest", read_manifest(manifest, name, options.split)
    listed = source / NAME if source.is_dir() and exports else source
    if listed.is_file():
        return "metadata", read_metadata(listed)
    layout, found = find_exposures(
        str(source),
        PictureFolder(source).names,
        layout=options.layout,
        split=options.split,
        group=options.group,
        averaged=options.averaged,
    )
    if layout == "reds":
        _average(root, found, options.response, listener)
    entries = tuple(_entry(root, one) for one in found)
    return layout, Metadata(name, len(found[0].frames), entries, root)


def _entry(root: Path, found: Found) -> Entry:
    box = None if found.annotation is None else read_box(root / found.annotation)
    return Entry(found.id, "ignore", found.split, found.blurry, found.frames, box)


def _average(root: Path, found: Sequence[Found], response: Response, listener: Listener) -> None:
    """Expose frames that have no blurry picture yet."""
    for number, one in enumerate(found):
        listener.progress("averaging", number, len(found))
        if (root / one.blurry).is_file():
            continue
        frames = [read_image(root / frame).pixels for frame in one.frames]
        if len({frame.shape for frame in frames}) > 1:
            raise UnblurError(root / one.frames[0], "begins a group of pictures of several sizes", "leave them out")
        blurry = average(torch.stack(frames)[None], response, levels=255)[0]
        write_image(root / one.blurry, Picture(blurry))


MANIFEST_VERSION = 1
MANIFEST = "manifest.jsonl"

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
            "version": MANIFEST_VERSION,
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
    data = [_manifest_entry(line, f"{path}, line {number}", split) for number, line in enumerate(lines, 1)]
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


def _manifest_entry(line: str, where: str, split: Split) -> dict[str, Any]:
    """A line as an entry of metadata, whose reader checks the rest."""
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnblurError(where, "not JSON", _MEND) from error
    if not isinstance(raw, dict):
        raise UnblurError(where, "not an object", _MEND)
    version = raw.pop("version", None)
    if version != MANIFEST_VERSION:
        raise UnblurError(where, f"version {version!r} of the format", f"this program reads version {MANIFEST_VERSION}")
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
