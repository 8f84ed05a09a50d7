"""Pictures in an LMDB: one file in place of a hundred thousand, read page by page.

Ours holds the files as they are, each under its whole path below the folder it came from, and an index (JSON) under
a name that no file can have. The format that the authors of Blur Kernel Space released (that of BasicSR: raw numbers,
and ``meta_info.pkl`` beside them) is read too, without running what a pickle says.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unblur.data.pictures import Pixels, pixels_of, size_of
from unblur.errors import UnblurError, require
from unblur.media.output_folder import OutputFolder
from unblur.models.safe_pickle import read_arrays

SUFFIX = ".lmdb"
FORMAT, VERSION = "unblur pictures", 1
AGAIN = "copy it again, or make it again with unblur data lmdb"
FIRST_SIZE = 1 << 26  # bytes; grows as needed
_INDEX, _TEXT, _HASHED, _STAMP = b"\0unblur", b"\0text ", b"\0sha256 ", b"\0stamp "  # no path holds a zero byte
_LONGEST = 511  # bytes of a key: the library's limit

# The library refuses to open a file twice in one process, so that readers of one file share it while there are any.
_open: weakref.WeakValueDictionary[str, _Environment] = weakref.WeakValueDictionary()


def _lmdb() -> Any:
    """The library, which only those need who store pictures in it."""
    return require("lmdb", "train")


def is_lmdb(path: str | os.PathLike[str]) -> bool:
    """Whether something of that name looks like an LMDB."""
    path = Path(path)
    return (path / "data.mdb").exists() or (path.suffix.lower() == SUFFIX and path.exists())


class LmdbPictures:
    """The pictures of an LMDB, ours or of the released format; safe to read from several threads at once.

    Raises
    ------
    UnblurError
        It is not there, not an LMDB, cut short, not finished, or lacks pictures that its index names.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.place = Path(path), str(path)
        self._file = _environment(self.path)
        index = self._file.get(_INDEX)
        self._raw = index is None
        self._sizes = self._released() if index is None else self._ours(index)
        self.names = sorted(self._sizes, key=lambda name: name.split("/"))
        self._check_complete()

    def size(self, name: str) -> tuple[int, int]:
        """Height and width."""
        height, width = self._sizes[name][:2]
        return height, width

    def contents(self, name: str) -> bytes:
        """The file as it was."""
        data = self._file.get(key_of(name))
        if data is None:
            raise UnblurError(self.path, f"holds no {name}, which its index names", AGAIN)
        return data

    def read(self, name: str) -> Pixels:
        """(H, W, 3) uint8, RGB; may be a view that cannot be written to."""
        data, subject = self.contents(name), f"{self.path}, {name}"
        if not self._raw:
            return pixels_of(subject, data)
        height, width, channels = self._sizes[name]
        if len(data) != height * width * channels:
            problem = f"holds {len(data)} bytes, not {height} x {width} x {channels}"
            raise UnblurError(subject, problem, "make the LMDB again")
        # Stored blue first.
        pixels = np.frombuffer(data, np.uint8).reshape(height, width, channels)[:, :, ::-1]
        return np.broadcast_to(pixels, (height, width, 3))

    def text(self, name: str) -> str | None:
        """A file of text that was stored with the pictures."""
        data = self._file.get(_TEXT + name.encode())
        return None if data is None else data.decode("utf-8", "replace")

    def _ours(self, stored: bytes) -> dict[str, tuple[int, int, int]]:
        try:
            index = json.loads(stored)
            if index["format"] != FORMAT or index["version"] != VERSION:
                raise ValueError(f"{index['format']}, version {index['version']}")
            complete = index["complete"]
            sizes = {name: (int(height), int(width), 3) for name, (height, width) in index["pictures"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnblurError(self.path, f"its index cannot be read ({error})", AGAIN) from error
        if not complete:
            raise UnblurError(self.path, "was not finished", "run the command that made it again: it goes on")
        return sizes

    def _released(self) -> dict[str, tuple[int, int, int]]:
        note = self.path / "meta_info.pkl"
        if not note.is_file():
            raise UnblurError(self.path, "holds no index of unblur's and no meta_info.pkl beside it", AGAIN)
        return read_meta_info(note)

    def _check_complete(self) -> None:
        stored = self._file.keys()
        missing = [name for name in self.names if key_of(name) not in stored]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UnblurError(self.path, f"lacks {missing[0]}{more}, which its index names", AGAIN)
        if not self.names:
            raise UnblurError(self.path, "holds no picture", AGAIN)


class LmdbWriter:
    """Writes pictures into an LMDB; what is in it after a kill is whole, and a second run goes on from there.

    Parameters
    ----------
    path : path
        A folder with the LMDB's two files in it; made if it is not there.
    folder : OutputFolder, optional
        Where the folder is locked already.

    Attributes
    ----------
    finished : bool
        Whether it has been finished, and nothing added since.

    Raises
    ------
    UnblurError
        It cannot be written, is being written by another process, or holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], folder: OutputFolder | None = None) -> None:
        self.path = Path(path)
        lmdb = _lmdb()
        self._folder = folder or OutputFolder(path, marks=("data.mdb",))
        try:
            file = self.path / "data.mdb"
            if file.exists() and file.stat().st_size:  # it is empty where the first run was killed at once
                _check_whole(self.path)
            self._env = lmdb.open(str(self.path), map_size=FIRST_SIZE, subdir=True)
        except (lmdb.Error, OSError) as fault:
            self._folder.release()
            raise UnblurError(path, f"cannot be written ({_said(fault)})", "choose another place") from fault
        except UnblurError:
            self._folder.release()
            raise
        index = self._get(_INDEX)
        if index is None and self._env.stat()["entries"]:
            self.close()
            raise UnblurError(path, "holds an LMDB of another program", "name a new one")
        self._begun = index is not None
        self.finished = index is not None and bool(json.loads(index).get("complete"))

    def __enter__(self) -> LmdbWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._env.close()
        self._folder.release()

    def keys(self) -> set[bytes]:
        """Of every picture that is there, `key_of` its name."""
        with self._env.begin() as look:
            return {key for key in look.cursor().iternext(keys=True, values=False) if _is_picture(key)}

    def add(self, pictures: Mapping[str, bytes], stamps: Mapping[str, str] | None = None) -> None:
        """Store files under their names, all of them or, if it is killed, none; the index is not finished after it.

        `stamps` are texts that change whenever a file does; see `stamp`.
        """
        index = {} if self._begun and not self.finished else {_INDEX: _index(complete=False)}
        self._begun, self.finished = True, False
        files = {key_of(name): data for name, data in pictures.items()}
        self._put(index | files | _stamps(stamps or {}))

    def mark(self, stamps: Mapping[str, str]) -> None:
        """Keep other stamps for pictures that are there."""
        self._put(_stamps(stamps))

    def stamp(self, name: str) -> str | None:
        """The stamp that was stored with the file; None if there was none."""
        return (self._get(_stamp_key(name)) or b"").decode() or None

    def holds(self, name: str, data: bytes) -> bool:
        """Whether this is what is stored under that name, byte for byte."""
        return self._get(key_of(name)) == data

    def finish(self, sizes: Mapping[str, tuple[int, int]], texts: Mapping[str, str] | None = None) -> None:
        """Write the index: now it can be read.

        Parameters
        ----------
        sizes : mapping
            Height and width of every picture, by name.
        texts : mapping, optional
            Files of text to be kept with the pictures, such as a manifest.
        """
        known = {_TEXT + name.encode(): text.encode() for name, text in (texts or {}).items()}
        self._put(known | {_INDEX: _index(complete=True, pictures=dict(sizes))})
        self._begun = self.finished = True

    def measure(self, name: str) -> tuple[int, int]:
        """Height and width of a picture that is there."""
        return size_of(f"{self.path}, {name}", self._get(key_of(name)) or b"")

    def _get(self, key: bytes) -> bytes | None:
        with self._env.begin() as look:
            value: bytes | None = look.get(key)
            return value

    def _put(self, values: Mapping[bytes, bytes]) -> None:
        lmdb = _lmdb()
        while True:
            try:
                with self._env.begin(write=True) as change:
                    for key, value in values.items():
                        change.put(key, value)
                return
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()["map_size"])
            except (lmdb.Error, OSError) as fault:
                remedy = "free some space, or choose another place"
                raise UnblurError(self.path, f"cannot be written ({_said(fault)})", remedy) from fault


def key_of(name: str) -> bytes:
    """The key of a picture: its whole path, so that no two share one; a sum of it where that is too long."""
    key = name.encode("utf-8", "surrogatepass")
    return key if len(key) <= _LONGEST else _HASHED + hashlib.sha256(key).hexdigest().encode()


def _stamp_key(name: str) -> bytes:
    return _STAMP + hashlib.sha256(key_of(name)).hexdigest().encode()


def _stamps(stamps: Mapping[str, str]) -> dict[bytes, bytes]:
    return {_stamp_key(name): stamp.encode() for name, stamp in stamps.items()}


class _Environment:
    """An LMDB that is open for reading."""

    def __init__(self, path: Path) -> None:
        lmdb = _lmdb()
        _check_whole(path)
        try:
            self._env = lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir(), readahead=False)
        except (lmdb.Error, OSError) as fault:
            raise UnblurError(path, f"cannot be read as an LMDB ({_said(fault)})", AGAIN) from fault

    def get(self, key: bytes) -> bytes | None:
        with self._env.begin() as look:
            value: bytes | None = look.get(key)
            return value

    def keys(self) -> set[bytes]:
        with self._env.begin() as look:
            return set(look.cursor().iternext(keys=True, values=False))

    def __del__(self) -> None:
        if hasattr(self, "_env"):
            self._env.close()


def _environment(path: Path) -> _Environment:
    place = os.path.realpath(path)
    found = _open.get(place)
    if found is None:
        found = _open[place] = _Environment(path)
    return found


def _check_whole(path: Path) -> None:
    """Refuse a file that is shorter than it says: reading beyond its end would end the process."""
    file = path / "data.mdb" if path.is_dir() else path
    if not file.is_file():
        problem = "does not exist" if not path.exists() else "holds no data.mdb"
        raise UnblurError(path, problem, "name an LMDB, such as one made with unblur data lmdb")
    lmdb = _lmdb()
    try:
        with lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir()) as env:
            wanted = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    except lmdb.Error as fault:
        if "already open" in str(fault):
            return  # and was looked at then
        raise UnblurError(path, f"cannot be read as an LMDB ({_said(fault)})", AGAIN) from fault
    if file.stat().st_size < wanted:
        raise UnblurError(path, f"is cut short ({file.stat().st_size} of {wanted} bytes)", AGAIN)


def _index(*, complete: bool, pictures: Mapping[str, tuple[int, int]] | None = None) -> bytes:
    about = {"format": FORMAT, "version": VERSION, "complete": complete, "pictures": pictures or {}}
    return json.dumps(about, sort_keys=True).encode()


def _is_picture(key: bytes) -> bool:
    return not key.startswith(b"\0") or key.startswith(_HASHED)


def _said(fault: BaseException) -> str:
    text = (getattr(fault, "strerror", None) or str(fault)).rsplit(": ", 1)[-1]
    return text[:1].lower() + text[1:]


def read_meta_info(path: Path) -> dict[str, tuple[int, int, int]]:
    """Height, width and channels by key, of a released LMDB's ``meta_info.pkl``; nothing in it is executed.

    It holds ``{"name": ..., "resolution": "C_H_W", "keys": [...]}``; the resolution may be a list, of one for all keys
    or of one for each.
    """
    try:
        with path.open("rb") as file:
            meta = read_arrays(file.read(), ())
    except pickle.UnpicklingError as error:
        raise UnblurError(
            path, f"{error}, which a list of keys does not need", "make the LMDB again with unblur data lmdb"
        ) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise UnblurError(path, "is damaged", "get it again, or make the LMDB again") from error
    try:
        keys = [key.decode() if isinstance(key, bytes) else str(key) for key in meta["keys"]]
        resolution = meta["resolution"]
        listed = [resolution] if isinstance(resolution, str) else list(resolution)
        shapes = [_shape(text) for text in listed]
        if len(shapes) not in (1, len(keys)):
            raise ValueError(f"{len(shapes)} resolutions of {len(keys)} keys")
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise UnblurError(path, f"holds no keys and resolution ({error})", "make the LMDB again") from error
    return dict(zip(keys, shapes if len(shapes) == len(keys) else shapes * len(keys), strict=True))


def _shape(text: Any) -> tuple[int, int, int]:
    match = re.fullmatch(r"([13])_(\d{1,6})_(\d{1,6})", str(text))
    if match is None:
        raise ValueError(f"resolution {str(text)[:40]!r}")
    channels, height, width = (int(number) for number in match.groups())
    return height, width, channels
