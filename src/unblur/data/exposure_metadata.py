"""``metadata.json``: which pictures are one exposure, and which way its frames run.

The format is HyperCUT's; an entry may also have the keys ``source``, ``response``, ``size``, ``seed``, ``span`` and
``times`` of `Entry`. Without ``times`` frame i of N stands at i / (N - 1) of the exposure.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args

from unblur.errors import UnblurError
from unblur.exposure.average import frame_times
from unblur.exposure.response import Response
from unblur.media.folder import atomic_path, is_folder

NAME = "metadata.json"

Order = Literal["keep", "ignore", "reverse", "random"]
Split = Literal["train", "val", "test"]
Box = tuple[float, ...]

_FRAME = re.compile(r"frame([0-9]{3,9})_path")
_PROVENANCE = ("source", "response", "size", "seed", "span", "times")
_OWN = ("id", "order", "partition", "blur_path", "bbox", *_PROVENANCE)
_AGAIN = "make the file again with unblur data metadata"


@dataclass(frozen=True)
class Entry:
    """One blurry picture and the sharp frames of its exposure.

    Attributes
    ----------
    id : str
        No other entry of the file has it.
    order : {"keep", "ignore", "reverse", "random"}
        How the frames are loaded; see `direction`.
    split : {"train", "val", "test"}
    blurry : str
        Path of the blurry picture.
    frames : tuple of str
        Paths of the frames as they are stored.
    box : tuple of float, optional
        Left, top, right and bottom of the person, in pixels; a fifth number, how sure the detector was, may follow.
    more : mapping
        Other keys of the entry, such as what ``unblur order label`` found.
    source : str, optional
        Name of the clip or photo that it comes from.
    response : {"srgb", "gamma", "linear"}, optional
        Camera response through which the light was averaged.
    size : (int, int), optional
        Height and width in pixels.
    seed : int, optional
        Of a synthetic path.
    span : (int, int), optional
        First and last frame of the clip, both averaged.
    times : tuple of float, optional
        When each frame was, rising, in [0, 1]; None if they are evenly spaced, ends among them.
    """

    id: str
    order: Order
    split: Split
    blurry: str
    frames: tuple[str, ...]
    box: Box | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    response: Response | None = None
    size: tuple[int, int] | None = None
    seed: int | None = None
    span: tuple[int, int] | None = None
    times: tuple[float, ...] | None = None

    def frame_times(self) -> tuple[float, ...]:
        """When each frame was, in [0, 1]; one frame alone is at 0.5."""
        return self.times or tuple(round(float(t), 6) for t in frame_times(len(self.frames)))

    def direction(self, seed: int = 0) -> int:
        """+1 if the frames are to be loaded as they are stored, -1 if reversed.

        +1 for "keep" and "ignore", -1 for "reverse"; for "random" it depends on `seed` and the id alone.
        """
        if self.order == "random":
            digest = hashlib.sha256(f"{seed} {self.id}".encode()).digest()
            return 1 if digest[0] & 1 else -1
        return -1 if self.order == "reverse" else 1


@dataclass(frozen=True)
class Metadata:
    """What a ``metadata.json`` says. HyperCUT's files have 7 frames per exposure; any number is fine here.

    Attributes
    ----------
    name : str
        Name of the data set.
    frame_count : int
        Sharp frames per exposure.
    entries : tuple of Entry
    root : Path
        Folder that the paths start from; not in the file.
    more : mapping
        Other keys of the file.
    """

    name: str
    frame_count: int
    entries: tuple[Entry, ...]
    root: Path = Path()
    more: Mapping[str, Any] = field(default_factory=dict)

    def of_split(self, split: Split | None) -> Metadata:
        """One split of it; all of it for None.

        Raises
        ------
        UnblurError
            It has no entry of that split.
        """
        if split is None:
            return self
        chosen = tuple(entry for entry in self.entries if entry.split == split)
        if not chosen:
            there = sorted({entry.split for entry in self.entries})
            raise UnblurError(f"{self.name}, split {split}", "has no entry", f"there are: {', '.join(there)}")
        return replace(self, entries=chosen)

    def paths(self, entry: Entry) -> tuple[Path, list[Path]]:
        """The blurry picture of an entry and its frames as they are stored."""
        return self.root / entry.blurry, [self.root / frame for frame in entry.frames]


def read_metadata(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, *, check_pictures: bool = True
) -> Metadata:
    """Read a ``metadata.json`` strictly, and look whether all pictures are there. Nothing in it is executed.

    Parameters
    ----------
    path : str or path
        The file.
    root : str or path, optional
        Where the paths in it start, or a folder with one of the data set's name where they do, as the released files
        have it. By default the folder of the file. No path may lead out of it, nor any link.
    check_pictures : bool
        Whether all pictures must be there.

    Raises
    ------
    UnblurError
        One line that names the file, the entry, what is wrong there and what to do: not JSON, cut short, a field that
        is missing or of a wrong type, an unknown order or split, an id twice, another number of frames than the
        file says, a picture that is missing or outside of the root.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UnblurError(path, f"cannot be read ({reason})", f"name a {NAME}") from error
    metadata = parse_metadata(text, path)
    if not check_pictures:
        return replace(metadata, root=path.parent if root is None else Path(root))
    place = _Place(Path(root) if root is not None else path.parent, metadata.name, metadata.entries)
    for number, entry in enumerate(metadata.entries, 1):
        with _located(path, number, {"id": entry.id}):
            for picture in (entry.blurry, *entry.frames):
                place.check(picture)
    return replace(metadata, root=place.base)


def parse_metadata(text: str, where: str | os.PathLike[str]) -> Metadata:
    """As `read_metadata`, of a text that was found at `where`; no picture is looked for, and the root is empty."""
    return metadata_of(_load(text, where), where)


def metadata_of(document: Any, where: str | os.PathLike[str], unit: str = "entry") -> Metadata:
    """As `parse_metadata`, of the JSON document; messages say ``WHERE, entry N``, or another `unit`."""
    with _located(where):
        _check_head(document)
    name, count, entries = document["name"], document["frame_per_seq"], []
    taken: dict[str, int] = {}
    for number, raw in enumerate(document["data"], 1):
        with _located(where, number, raw, unit):
            entries.append(_entry(raw, count))
            first = taken.setdefault(entries[-1].id, number)
            if first != number:
                raise _Fault(f"has the id of {unit} {first}", "give each entry an id of its own")
    more = {key: value for key, value in document.items() if key not in ("name", "frame_per_seq", "data")}
    return Metadata(name, count, tuple(entries), Path(), more)


def find_metadata(source: str | os.PathLike[str]) -> Path | None:
    """The metadata file that a user means: itself, or that of a folder; None for anything else.

    Raises
    ------
    UnblurError
        `source` is a manifest.
    """
    path = Path(source)
    if is_folder(path):
        return path / NAME if (path / NAME).is_file() else None
    if path.suffix.lower() == ".jsonl":
        raise UnblurError(path, "is a manifest", f"make metadata of it: unblur data metadata {path}")
    return path if path.suffix.lower() == ".json" else None


def open_metadata(source: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Metadata | None:
    """The exposures of a ``metadata.json`` or of a folder with one, for networks; None for anything else.

    Parameters
    ----------
    source, root : str or path
        See `find_metadata` and `read_metadata`.

    Raises
    ------
    UnblurError
        See `read_metadata`; or there is no exposure, one frame of each, or frames that are not evenly spaced in time.
    """
    path = find_metadata(source)
    if path is None:
        return None
    metadata = read_metadata(path, root)
    if not metadata.entries:
        raise UnblurError(path, "holds no exposure", "name a file with some")
    if metadata.frame_count < 2:
        raise UnblurError(path, "has one frame of each exposure", "make it with 2 frames or more")
    for number, entry in enumerate(metadata.entries, 1):
        if entry.times is not None:
            with _located(path, number, {"id": entry.id}):
                raise _Fault("has times that are not evenly spaced", "remove the entry")
    return metadata


def rebased(metadata: Metadata, folder: Path) -> Metadata | None:
    """The same pictures by their paths from `folder`; None if they are not in it."""
    try:
        below = PurePosixPath(metadata.root.resolve().relative_to(folder.resolve()).as_posix())
    except ValueError:
        return None
    moved = tuple(
        replace(
            entry,
            blurry=(below / entry.blurry).as_posix(),
            frames=tuple((below / frame).as_posix() for frame in entry.frames),
        )
        for entry in metadata.entries
    )
    return replace(metadata, entries=moved, root=folder)


def id_of(blurry: str) -> str:
    """An id for the exposure of a blurry picture: its path without the suffix, in printable letters."""
    path = PurePosixPath(blurry).with_suffix("").as_posix()
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in path)


def metadata_text(metadata: Metadata) -> str:
    """What `read_metadata` reads, ASCII.

    Raises
    ------
    ValueError
        If an entry breaks the schema, or two have one id.
    """
    data = [_raw(entry) for entry in metadata.entries]
    document = {"name": metadata.name, "frame_per_seq": metadata.frame_count, **metadata.more, "data": data}
    try:
        _check_head(document)
        for raw in data:
            _entry(raw, metadata.frame_count)
    except _Fault as fault:
        raise ValueError(fault.problem) from fault
    if len({entry.id for entry in metadata.entries}) != len(data):
        raise ValueError("two entries have one id")
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def write_metadata(path: str | os.PathLike[str], metadata: Metadata) -> Path:
    """Write `metadata_text`, all or nothing.

    Raises
    ------
    ValueError
        See `metadata_text`.
    UnblurError
        If the file cannot be written.
    """
    text = metadata_text(metadata)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="ascii")
    return Path(path)


def is_inside(value: Any) -> bool:
    """Whether a path points nowhere outside the folder that it starts from, on any system, links aside."""
    if not isinstance(value, str) or not value:
        return False
    return not any(path.anchor or ".." in path.parts for path in (PurePosixPath(value), PureWindowsPath(value)))


class _Fault(Exception):
    """What is wrong, and what to do, wherever it was."""

    def __init__(self, problem: str, remedy: str = _AGAIN) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


@contextmanager
def _located(
    path: str | os.PathLike[str], number: int | None = None, raw: Any = None, unit: str = "entry"
) -> Iterator[None]:
    """Name the file and the entry in which a fault is."""
    try:
        yield
    except _Fault as fault:
        name = raw.get("id") if isinstance(raw, dict) else None
        called = f" ({_short(name)})" if isinstance(name, str) else ""
        where = str(path) if number is None else f"{path}, {unit} {number}{called}"
        raise UnblurError(where, fault.problem, fault.remedy) from None


def _load(text: str, where: str | os.PathLike[str]) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_once, parse_constant=_finite, parse_float=lambda number: _finite(number)
        )
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "too deep"
        raise UnblurError(where, f"is not JSON, or is cut short ({reason})", _AGAIN) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice in one object")
    return found


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is no number")
    return value


def _check_head(document: Any) -> None:
    if not isinstance(document, dict):
        raise _Fault(f"holds no object but {_short(document)}")
    for name in ("name", "frame_per_seq", "data"):
        if name not in document:
            raise _Fault(f"has no {name!r}")
    if not _is_text(document["name"]):
        raise _Fault(f"'name' cannot be {_short(document['name'])}", "write the data set's name there")
    count = document["frame_per_seq"]
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise _Fault(f"'frame_per_seq' cannot be {_short(count)}", "write the number of frames there, 1 or more")
    if not isinstance(document["data"], list):
        raise _Fault(f"'data' cannot be {_short(document['data'])}", "write the list of entries there")


def _entry(raw: Any, count: int) -> Entry:
    if not isinstance(raw, dict):
        raise _Fault(f"is no object but {_short(raw)}", "mend or remove the entry")
    for name in ("id", "order", "partition", "blur_path"):
        if name not in raw:
            raise _Fault(f"has no {name!r}", "mend or remove the entry")
    if not _is_text(raw["id"]) or not raw["id"].isprintable():
        raise _Fault(f"'id' cannot be {_short(raw['id'])}", "give each entry an id of its own")
    for name, known in (("order", get_args(Order)), ("partition", get_args(Split))):
        if raw[name] not in known:
            raise _Fault(f"'{name}' cannot be {_short(raw[name])}", f"use {', '.join(known)}")
    frames = _frames(raw, count)
    for key, value in (("blur_path", raw["blur_path"]), *frames):
        if not _is_text(value) or not is_inside(value):
            raise _Fault(f"{key!r} cannot be {_short(value)}", "use a path that starts at the root and stays in it")
    given = {key: raw[key] for key in _PROVENANCE if raw.get(key) is not None}
    for key, value in given.items():
        if not _CHECKS[key](value) or (key == "times" and len(value) != count):
            raise _Fault(f"{key!r} cannot be {_short(value)}", "mend or remove it")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    more = {key: value for key, value in raw.items() if key not in _OWN and not _FRAME.fullmatch(key)}
    paths = tuple(value for _, value in frames)
    box = _box(raw.get("bbox"))
    return Entry(raw["id"], raw["order"], raw["partition"], raw["blur_path"], paths, box, more, **given)


def _frames(raw: dict[str, Any], count: int) -> list[tuple[str, Any]]:
    """The frames' keys and values in order: as many as the file says, none left out."""
    numbers = sorted(int(match[1]) for match in map(_FRAME.fullmatch, raw) if match)
    if len(numbers) != count:
        missing = next((n for n in range(1, len(numbers) + 1) if n not in numbers), None)
        lacks = "" if missing is None else f", and misses {_key(missing)}"
        raise _Fault(f"has {len(numbers)} frames, the file says {count}{lacks}", "add or remove frames, or the entry")
    for wanted, number in enumerate(numbers, 1):
        if number != wanted or _key(number) not in raw:
            raise _Fault(f"misses {_key(wanted)}", "number the frames from 001 on, or remove the entry")
    return [(_key(number), raw[_key(number)]) for number in numbers]


def _key(number: int) -> str:
    return f"frame{number:03d}_path"


def _box(value: Any) -> Box | None:
    if value is None:
        return None
    is_box = isinstance(value, (list, tuple)) and len(value) in (4, 5)
    is_box = is_box and all(isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) < 1e9 for n in value)
    if not is_box or not (value[0] < value[2] and value[1] < value[3]):
        raise _Fault(f"'bbox' cannot be {_short(value)}", "use left, top, right, bottom in pixels, or remove it")
    return tuple(value)


def _raw(entry: Entry) -> dict[str, Any]:
    raw: dict[str, Any] = {"id": entry.id, "order": entry.order, "partition": entry.split}
    raw |= {"blur_path": entry.blurry, **{_key(n): frame for n, frame in enumerate(entry.frames, 1)}}
    if entry.box is not None:
        raw["bbox"] = list(entry.box)
    for key in _PROVENANCE:
        value = getattr(entry, key)
        if value is not None:
            raw[key] = list(value) if isinstance(value, tuple) else value
    return raw | dict(entry.more)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pair(value: Any, least: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_int(n) and n >= least for n in value)


def _is_rising(value: Any) -> bool:
    is_number = lambda t: _is_int(t) or (isinstance(t, float) and math.isfinite(t))  # noqa: E731
    numbers = isinstance(value, (list, tuple)) and len(value) > 0 and all(map(is_number, value))
    return numbers and all(0 <= t <= 1 for t in value) and all(a < b for a, b in pairwise(value))


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "source": _is_text,
    "response": lambda value: value in get_args(Response),
    "size": lambda value: _is_pair(value, 1),
    "seed": _is_int,
    "span": lambda value: _is_pair(value, 0) and value[0] < value[1],
    "times": _is_rising,
}


def _short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Place:
    """The root, and whether files are in it."""

    def __init__(self, root: Path, name: str, entries: Iterable[Entry]) -> None:
        self.top = os.path.realpath(root)
        self.base = root
        first = next(iter(entries), None)
        if first is not None and is_inside(name):
            below = root / name
            # The released files lie in ROOT/NAME and are named from there.
            if not _is_there(root / first.blurry) and _is_there(below / first.blurry):
                self.base = below
        self._inside: dict[str, bool] = {}

    def check(self, name: str) -> None:
        """Refuse a picture that is not there, or that a link leads to from outside.

        Folders are looked up once: there are many pictures in each.
        """
        path = os.path.join(self.base, name)  # noqa: PTH118, because it is called for every picture
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder not in self._inside:
            self._inside[folder] = self._holds(os.path.realpath(folder))
        inside = self._inside[folder]
        try:
            found = os.lstat(path)
            if inside and stat.S_ISLNK(found.st_mode):
                inside = self._holds(os.path.realpath(path))
                found = os.stat(path)  # noqa: PTH116
        except OSError as error:
            problem = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            remedy = "add it, remove the entry, or name the folder where the paths start with `root`"
            raise _Fault(f"names {_short(name)}, which {problem}", remedy) from None
        if not inside:
            remedy = "copy it into the root, or name with `root` a folder that holds both"
            raise _Fault(f"names {_short(name)}, which a link leads to, out of the root {self.top}", remedy)
        if not stat.S_ISREG(found.st_mode):
            raise _Fault(f"names {_short(name)}, which is no file", "name a picture")

    def _holds(self, real: str) -> bool:
        return real == self.top or real.startswith(self.top.rstrip(os.sep) + os.sep)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
