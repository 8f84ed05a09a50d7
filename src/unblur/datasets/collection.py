"""A growing collection of pictures with a line about each entry: whatever moment it is killed at, nothing is lost.

OUT/augment.json      how all this was made: a second run must say the same
OUT/augment.jsonl     a line for each entry, written after its pictures
OUT/...               the pictures; or, if OUT ends in .lmdb, the files of an LMDB that holds them
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from unblur.data.lmdb_store import SUFFIX, LmdbWriter, check_picture, key_of
from unblur.errors import UnblurError
from unblur.media.atomic import atomic_path
from unblur.media.claim import Claim

OPTIONS, LINES = "augment.json", "augment.jsonl"
HALVES = ("blurry", "sharp")
_FIELDS = {"index": int, "blurry": str, "sharp": str}
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.\w+")  # what `atomic_path` leaves behind when it is killed


class _Pictures(Protocol):
    def has(self, name: str) -> bool: ...
    def put(self, files: Mapping[str, bytes]) -> None: ...
    def close(self, names: list[str]) -> None: ...


class Collection:
    """Entries by number, in a folder or in an LMDB.

    Parameters
    ----------
    out : path
        A new or empty place, or one of an earlier run with the same `about`.
    about : mapping
        How the entries are made; JSON.
    free : collection of str
        Fields of `about` that may differ.

    Attributes
    ----------
    entries : dict of int to dict
        What is there, complete with its pictures: the lines.

    Raises
    ------
    UnblurError
        `out` holds something else, or what was made otherwise, is being written by another run, or cannot be written.
    """

    def __init__(self, out: str | PathLike[str], about: Mapping[str, Any], free: tuple[str, ...] = ()) -> None:
        self.out = Path(out)
        self._claim(json.loads(json.dumps(about)), free)
        self._pictures: _Pictures = _Store(self.out) if is_store(self.out) else _Folder(self.out)
        self.entries = {entry["index"]: entry for entry in self._lines() if self._is_whole(entry)}
        self._write_lines()
        self._file = (self.out / LINES).open("a", encoding="utf-8")

    def add(self, entry: dict[str, Any], files: Mapping[str, bytes]) -> None:
        """Keep an entry: first its pictures, then its line.

        Parameters
        ----------
        entry : dict
            With its number in ``index``, and the names of its pictures in ``blurry`` and ``sharp``.
        """
        self._pictures.put(files)
        self._file.write(_line(entry))
        self._file.flush()
        self.entries[entry["index"]] = entry

    def close(self, *, finished: bool) -> None:
        """Put the lines in order, and if all is done, make an LMDB readable."""
        self._file.close()
        self._write_lines()
        names = [entry[half] for entry in self.entries.values() for half in HALVES]
        self._pictures.close(names if finished else [])

    def _claim(self, about: dict[str, Any], free: tuple[str, ...]) -> None:
        note = self.out / OPTIONS
        if note.exists():
            try:
                found = json.loads(note.read_text(encoding="utf-8"))
                other = [name for name in about if name not in free and found.get(name) != about[name]]
            except (OSError, ValueError, AttributeError) as error:
                raise UnblurError(note, "cannot be read", "choose an empty folder") from error
            if other:
                problem = f"holds pictures made with another {other[0]} ({_short(found.get(other[0]))})"
                raise UnblurError(self.out, problem, "say the same as then, or choose an empty folder")
        elif self.out.exists() and (not self.out.is_dir() or any(_others(self.out))):
            raise UnblurError(self.out, "holds something else", "choose a new or empty folder")
        with atomic_path(note) as temporary:
            temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    def _lines(self) -> list[dict[str, Any]]:
        path = self.out / LINES
        if not path.exists():
            return []
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # half written when the run was killed
                continue
            if isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in _FIELDS.items()):
                found.append(entry)
        return found

    def _is_whole(self, entry: dict[str, Any]) -> bool:
        return all(self._pictures.has(entry[half]) for half in HALVES)

    def _write_lines(self) -> None:
        with atomic_path(self.out / LINES) as temporary:
            temporary.write_text("".join(_line(self.entries[i]) for i in sorted(self.entries)), encoding="utf-8")


class _Folder:
    """Pictures as files below a folder."""

    def __init__(self, out: Path) -> None:
        self.out, self.claim = out, Claim(out)
        for path in out.rglob(".*"):
            if _UNFINISHED.fullmatch(path.name):
                path.unlink()

    def has(self, name: str) -> bool:
        return (self.out / name).is_file()

    def put(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            with atomic_path(self.out / name) as temporary:
                temporary.write_bytes(data)

    def close(self, names: list[str]) -> None:
        self.claim.release()


class _Store:
    """Pictures in an LMDB."""

    def __init__(self, out: Path) -> None:
        self.writer = LmdbWriter(out, beside=(OPTIONS, LINES))
        self.there = self.writer.keys()
        self.sizes: dict[str, tuple[int, int]] = {}
        self.added = False

    def has(self, name: str) -> bool:
        return key_of(name) in self.there

    def put(self, files: Mapping[str, bytes]) -> None:
        self.sizes |= {name: check_picture(name, data) for name, data in files.items()}
        self.writer.add(files)
        self.added = True

    def close(self, names: list[str]) -> None:
        if names and (self.added or not self.writer.finished):
            self.writer.finish({name: self.sizes.get(name) or self.writer.measure(name) for name in names})
        self.writer.close()


def is_store(out: str | PathLike[str]) -> bool:
    """Whether an output of that name is an LMDB."""
    return Path(out).suffix.lower() == SUFFIX


def _others(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=True) + "\n"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
