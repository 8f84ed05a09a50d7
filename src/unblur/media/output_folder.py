"""An output folder: locked while one run writes it, and resumed by a later run with the same settings."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from unblur._version import __version__
from unblur.errors import UnblurError
from unblur.media.atomic import atomic_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_ANOTHER = "choose a new or empty folder"


class OutputFolder:
    """A folder for the results of a command: created if missing, locked, and refused if it holds something else.

    The lock leaves no file; it ends with `release`, when this is forgotten, or when the process ends, however it ends.
    Where the system or the file system knows no locks, nothing is locked.

    Parameters
    ----------
    folder : str or path
        A new or empty folder, or one of an earlier run.
    settings : mapping, optional
        How the results are made, as JSON; kept in the file `note` and compared with that of an earlier run.
    note : str
        Name of that file.
    free : collection of str
        Keys of `settings` that may differ between runs.
    marks : collection of str
        Other files that show that the folder is of an earlier run.
    beside : collection of str
        Files and folders that may be there before the first run.

    Raises
    ------
    UnblurError
        The folder is a file, holds something else or results with other settings, is being written by another run, or
        cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        settings: Mapping[str, Any] | None = None,
        *,
        note: str = "options.json",
        free: Collection[str] = (),
        marks: Collection[str] = (),
        beside: Collection[str] = (),
    ) -> None:
        self.path = Path(folder)
        self.release = lambda: None
        names = self._names()
        if names and not {note, *marks} & names:
            others = sorted(name for name in names if name not in beside and not name.startswith("."))
            if others:
                raise UnblurError(folder, f"holds something else ({others[0]})", _ANOTHER)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise UnblurError(folder, f"cannot be written ({fault.strerror})", "choose another folder") from fault
        self._lock()
        if settings is not None:
            self._compare(self.path / note, {"unblur": __version__, **json.loads(json.dumps(settings))}, free)

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _names(self) -> set[str]:
        try:
            return {entry.name for entry in self.path.iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            if os.path.lexists(self.path):
                raise UnblurError(self.path, "is a file, not a folder", _ANOTHER) from None
            return set()
        except OSError as fault:
            raise UnblurError(self.path, f"cannot be read ({fault.strerror})", "choose another folder") from fault

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError:  # writing will fail with a message
            return
        self.release = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            remedy = "wait until that has ended, or choose another folder"
            raise UnblurError(self.path, "is being written by another run", remedy) from None
        except OSError:  # some network file systems
            self.release()

    def _compare(self, note: Path, settings: dict[str, Any], free: Collection[str]) -> None:
        if note.exists():
            try:
                found = json.loads(note.read_text(encoding="utf-8"))
                compared = [name for name in settings if name not in ("unblur", *free)]
                other = next((name for name in compared if found.get(name) != settings[name]), None)
            except (OSError, ValueError, AttributeError) as error:
                self.release()
                raise UnblurError(note, "cannot be read", _ANOTHER) from error
            if other is not None:
                self.release()
                problem = f"holds results made with another {other} ({_short(found.get(other))})"
                raise UnblurError(self.path, problem, "use the same as then, or choose an empty folder")
        with atomic_path(note) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
