"""Atomic output: files and folders are written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unblur.errors import UnblurError

FRAME_NAME = "frame_{:05d}.png"
_OUR_FRAME = re.compile(r"frame_\d{5,}\.png")
_DESKTOP_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
_OUTPUT_FAULTS = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EFBIG: "choose a file system that holds larger files",
    errno.EROFS: "choose an output in a folder you can write to",
    errno.EACCES: "choose an output in a folder you can write to",
    errno.EPERM: "choose an output in a folder you can write to",
    errno.EIO: "check the disk",
}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file atomically: it appears whole or not at all.

    Missing parent folders are made. If the body raises, the temporary file and the folders made for it are removed and
    what stood at `path` before is untouched. A symbolic link is followed, so that it stays a link.

    Parameters
    ----------
    path : str or path
        The file to make or replace.

    Yields
    ------
    Path
        An empty file in the same folder, with the same suffix and a hidden name. It is synced and renamed on success.

    Raises
    ------
    UnblurError
        If the output cannot be written there: read-only, a file where a folder should be, a folder or a device at
        `path`, or a full disk.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, atomic_path(Path(folder) / "new" / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    """
    target = Path(os.path.realpath(path))
    temporary = _hidden_name(target)
    with _staged(Path(path), target, temporary, _refuse_no_file, _make_file, Path.unlink):
        yield temporary
        _sync(temporary)
        temporary.replace(target)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a folder of numbered frames atomically; as `atomic_path`, for a folder.

    A folder that stands at `path` is replaced if it holds nothing but frames of ours (`FRAME_NAME`), and refused if
    it holds anything else.

    Yields
    ------
    Path
        An empty hidden folder beside `path`, renamed on success.

    Raises
    ------
    UnblurError
        If the folder cannot be written there, or other files are in it.
    """
    target = Path(os.path.realpath(path))
    temporary = _hidden_name(target)
    with _staged(Path(path), target, temporary, _refuse_foreign, Path.mkdir, shutil.rmtree):
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        # Files may have come into the old folder while the frames were made.
        _refuse_foreign(Path(path), target)
        _swap(temporary, target)


@contextmanager
def _staged(
    path: Path,
    target: Path,
    temporary: Path,
    refuse: Callable[[Path, Path], None],
    make: Callable[[Path], None],
    remove: Callable[[Path], object],
) -> Iterator[None]:
    """Make `temporary` and its parents, turn faults of the disk into an UnblurError, and clean up after any failure."""
    made: list[Path] = []
    try:
        try:
            refuse(path, target)
            made = _make_parents(target.parent)
            make(temporary)
        except OSError as fault:
            remedy = _OUTPUT_FAULTS.get(fault.errno or 0, "choose an output in a folder you can write to")
            raise UnblurError(path, f"cannot be written ({_reason(fault)})", remedy) from fault
        yield
    except BaseException as fault:
        with suppress(OSError):
            remove(temporary)
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        if isinstance(fault, OSError) and fault.errno in _OUTPUT_FAULTS:
            raise UnblurError(path, f"cannot be written ({_reason(fault)})", _OUTPUT_FAULTS[fault.errno]) from fault
        raise
    _sync(target.parent)


def _reason(fault: OSError) -> str:
    return (fault.strerror or str(fault)).lower()


def _hidden_name(target: Path) -> Path:
    # Short, so that a target whose name has the longest length allowed still has room for it.
    return target.parent / f".{secrets.token_hex(8)}{target.suffix}"


def _make_parents(folder: Path) -> list[Path]:
    """Make `folder` and return what was made, outermost first."""
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    missing.reverse()
    for number, new in enumerate(missing):
        try:
            new.mkdir(exist_ok=True)
        except OSError:
            for old in reversed(missing[:number]):
                with suppress(OSError):
                    old.rmdir()
            raise
    return missing


def _make_file(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def _sync(path: Path) -> None:
    # Some file systems, and Windows, cannot sync a folder; the rename holds without it.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refuse_no_file(path: Path, target: Path) -> None:
    if target.is_dir():
        raise UnblurError(path, "is a folder", "name a file for the output")
    if target.exists() and not target.is_file():
        raise UnblurError(path, "is not an ordinary file", "choose another name for the output")


def _refuse_foreign(path: Path, target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UnblurError(path, "is a file, not a folder", "choose another name for the folder of frames")
    for entry in sorted(target.iterdir()):
        if not _OUR_FRAME.fullmatch(entry.name) and entry.name not in _DESKTOP_LITTER:
            raise UnblurError(path, f"holds other files ({entry.name})", "choose a new or empty folder for the frames")


def _swap(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    old = _hidden_name(target)
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
