"""HyperCUT's ``metadata.json``: which pictures are one exposure, and which way its frames run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args

from unblur.errors import UnblurError
from unblur.media.folder import atomic_path

NAME = "metadata.json"

Order = Literal["keep", "ignore", "reverse", "random"]
Split = Literal["train", "val", "test"]
Box = tuple[float, ...]

_FRAME = re.compile(r"frame([0-9]{3,9})_path")
_OWN = ("id", "order", "partition", "blur_path", "bbox")
_AGAIN = "make the file again with unblur data metadata"


@dataclass(frozen=True)
class Entry:
    """One blurry picture and the sharp frames of its exposure.

    Attributes
    ----------
    id : str
        No other entry of the file has it.
    order : {"keep", "ignore", "reverse", "random"}
        What to do with the frames when they are loaded; see `direction`.
    split : {"train", "val", "test"}
    blurry : str
        Path of the blurry picture.
    frames : tuple of str
        Paths of the frames as they are stored.
    box : tuple of float, optional
        Left, top, right and bottom of the person, in pixels; a fifth number, how sure the detector was, may follow.
    more : mapping
        Other keys of the entry, such as what ``unblur order label`` found.
    """

    id: str
    order: Order
    split: Split
    blurry: str
    frames: tuple[str, ...]
    box: Box | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def direction(self, seed: int = 0) -> int:
        """+1 if the frames are to be loaded as they are stored, -1 if reversed.

        "keep" and "ignore" say +1, "reverse" -1; "random" tosses a coin, which falls the same way whenever the `seed`
        is the same.
        """
        if self.order == "random":
            toss = hashlib.sha256(f"{seed} {self.id}".encode()).digest()
            return 1 if toss[0] & 1 else -1
        return -1 if self.order == "reverse" else 1


@dataclass(frozen=True)
class Metadata:
    """What a ``metadata.json`` says. HyperCUT's files have 7 frames per exposure; any number from 2 on is fine here.

    Attributes
    ----------
    name : str
        Of the data set.
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

    def part(self, split: Split | None) -> Metadata:
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


def read_metadata(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Metadata:
    """Read a ``metadata.json`` strictly, and look whether all pictures are there. Nothing in it is executed.

    Parameters
    ----------
    path : str or path
        The file.
    root : str or path, optional
        Where the paths in it start, or a folder with one of the data set's name where they do, as the released files
        have it. By default the folder of the file. No path may lead out of it, nor any link.

    Raises
    ------
    UnblurError
        One line that names the file, the entry, what is wrong there and what to do: not JSON, cut short, a field that
        is missing or of a wrong type, an unknown order or split, an id twice, another number of frames than the
        file says, a picture that is missing or outside of the root.
    """
    path = Path(path)
    document = _load(path)
    with _told(path):
        _check_head(document)
    name, count, entries = document["name"], document["frame_per_seq"], []
    taken: dict[str, int] = {}
    for number, raw in enumerate(document["data"], 1):
        with _told(path, number, raw):
            entries.append(_entry(raw, count))
            first = taken.setdefault(entries[-1].id, number)
            if first != number:
                raise _Fault(f"has the id of entry {first}", "give each entry an id of its own")
    place = _Place(Path(root) if root is not None else path.parent, name, entries)
    for number, entry in enumerate(entries, 1):
        with _told(path, number, {"id": entry.id}):
            for picture in (entry.blurry, *entry.frames):
                place.check(picture)
    more = {key: value for key, value in document.items() if key not in ("name", "frame_per_seq", "data")}
    return Metadata(name, count, tuple(entries), place.base, more)


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
def _told(path: Path, number: int | None = None, raw: Any = None) -> Iterator[None]:
    """Tell of faults with the file and the entry that they are in."""
    try:
        yield
    except _Fault as fault:
        name = raw.get("id") if isinstance(raw, dict) else None
        called = f" ({_short(name)})" if isinstance(name, str) else ""
        where = str(path) if number is None else f"{path}, entry {number}{called}"
        raise UnblurError(where, fault.problem, fault.remedy) from None


def _load(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UnblurError(path, f"cannot be read ({reason})", f"name a {NAME}") from error
    try:
        return json.loads(
            text, object_pairs_hook=_once, parse_constant=_finite, parse_float=lambda number: _finite(number)
        )
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "too deep"
        raise UnblurError(path, f"is not JSON, or is cut short ({reason})", _AGAIN) from None


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
    if not isinstance(count, int) or isinstance(count, bool) or count < 2:
        raise _Fault(f"'frame_per_seq' cannot be {_short(count)}", "write the number of frames there, 2 or more")
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
    more = {key: value for key, value in raw.items() if key not in _OWN and not _FRAME.fullmatch(key)}
    paths = tuple(value for _, value in frames)
    return Entry(raw["id"], raw["order"], raw["partition"], raw["blur_path"], paths, _box(raw.get("bbox")), more)


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
    return raw | dict(entry.more)


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


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
            remedy = "add it, remove the entry, or say with `root` where the paths start"
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
