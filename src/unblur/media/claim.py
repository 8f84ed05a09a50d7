"""One process at a time writes into a folder."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from unblur.errors import UnblurError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Claim:
    """A folder that nobody else may claim until this is released, forgotten, or its process ends, however it ends.

    It leaves no file. Where the system or the file system knows no such thing, nothing is claimed.

    Raises
    ------
    UnblurError
        Another has claimed it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.release = lambda: None
        if fcntl is None:
            return
        try:
            handle = os.open(Path(folder), os.O_RDONLY)
        except OSError:  # whoever writes there will say so
            return
        self.release = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            remedy = "wait until that has ended, or choose another folder"
            raise UnblurError(folder, "is being written by another run", remedy) from None
        except OSError:  # some network file systems
            self.release()
