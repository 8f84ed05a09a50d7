"""Arrays that take long to build, kept in files."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.media.folder import atomic_path

Arrays = dict[str, NDArray[Any]]
log = logging.getLogger(__name__)


def cached_arrays(
    cache: Path | None,
    path: Path,
    key: object,
    build: Callable[[], Arrays],
    is_whole: Callable[[Arrays], bool],
    *,
    prefix: str = "",
) -> Arrays:
    """What `build` makes of a file, from the cache where it is there.

    Parameters
    ----------
    cache : Path, optional
        Folder of the cache; without it, and for what is no file, `build` is called.
    path : Path
        The file; its contents are part of the cache's key.
    key : object
        What else `build` depends on; its text counts.
    is_whole : callable
        Whether arrays from the cache are what `build` makes.
    prefix : str
        Of the names of files in the cache.
    """
    if cache is None or not path.is_file():
        return build()
    digest = hashlib.sha256(repr(key).encode())
    digest.update(path.read_bytes())
    entry = Path(cache) / f"{prefix}{digest.hexdigest()[:32]}.npz"
    stored = stored_arrays(entry)
    if stored is not None and is_whole(stored):
        return stored
    if entry.exists():
        log.warning("%s: damaged, built again", entry)
    arrays = build()
    store_arrays(entry, arrays)
    return arrays


def store_arrays(entry: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name, all or nothing.

    Raises
    ------
    UnblurError
        If the file cannot be written.
    """
    with atomic_path(entry) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def stored_arrays(entry: Path) -> Arrays | None:
    """What `store_arrays` wrote; None if there is nothing, or nothing whole."""
    if not entry.exists():
        return None
    try:
        with np.load(entry) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
