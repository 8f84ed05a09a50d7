"""The bytes of a file before anything is decoded: what format they are, and the errors that readers share."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

from unblur.errors import UnblurError

Format = Literal["png", "jpeg", "tiff", "webp", "bmp"]

# Also the largest picture that is worth reading by default: a float32 copy of it takes 2.4 GB.
DEFAULT_MAX_PIXELS = 200_000_000

_AGAIN = "copy or download it again"


def picture_format(path: str | os.PathLike[str], head: bytes) -> Format:
    """The format of a picture from its first 16 bytes; the file's name does not matter.

    Raises
    ------
    UnblurError
        Not a PNG, JPEG, TIFF, WebP or BMP picture.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM":
        return "bmp"
    raise UnblurError(path, "is not a PNG, JPEG, TIFF, WebP or BMP picture", "convert it to one of these")


def read_contents(path: str | os.PathLike[str], in_folder: str, limit: int | None = None) -> bytes:
    """Read an ordinary file, or its first `limit` bytes.

    Parameters
    ----------
    in_folder : str
        What to do if `path` is a folder, for the error.

    Raises
    ------
    UnblurError
        Missing, a folder, a pipe or device, unreadable, or empty.
    """
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise UnblurError(path, "is a folder", in_folder)
        if not stat.S_ISREG(mode):
            raise UnblurError(path, "is not an ordinary file", "save it as a file first")
        with Path(path).open("rb") as file:
            data = file.read(limit)
    except FileNotFoundError as fault:
        raise UnblurError(path, "does not exist", "check the name") from fault
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise UnblurError(path, f"cannot be read ({reason})", "check the name and the permissions") from fault
    if not data:
        raise UnblurError(path, "is empty", "save or download it again")
    return data


def check_size(path: str | os.PathLike[str], width: int, height: int, max_pixels: int) -> None:
    """Raise UnblurError if there are no pixels or more than `max_pixels`."""
    if width <= 0 or height <= 0:
        raise UnblurError(path, f"has no pixels ({width} x {height})", "give a picture with at least one pixel")
    if width * height > max_pixels:
        raise UnblurError(
            path,
            f"has {width} x {height} = {width * height} pixels, more than the limit of {max_pixels}",
            f"if you trust the file, raise the limit with `max_pixels={width * height}`",
        )


def truncated(path: str | os.PathLike[str]) -> UnblurError:
    """The error for a file that ends too early."""
    return UnblurError(path, "is truncated", _AGAIN)


def damaged(path: str | os.PathLike[str], reason: object = "") -> UnblurError:
    """The error for a file that no decoder can read."""
    detail = f" ({reason})" if str(reason) else ""
    return UnblurError(path, f"is damaged{detail}", _AGAIN)


def unsupported(path: str | os.PathLike[str], reason: object) -> UnblurError:
    """The error for an intact file whose kind of pixels is not supported."""
    return UnblurError(path, f"is of a kind that is not supported ({reason})", "save it as 8 or 16-bit grey or RGB")
