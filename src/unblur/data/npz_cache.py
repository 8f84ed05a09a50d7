"""What was built once is kept as a file of arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.media.folder import atomic_path

Arrays = dict[str, NDArray[Any]]


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
