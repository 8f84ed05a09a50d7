"""What the first bytes of a picture say: its format, size and depth, before anything is decoded."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unblur.errors import UnblurError

Format = Literal["png", "jpeg", "tiff", "webp", "bmp"]

# Also the largest picture that is worth reading by default: a float32 copy of it takes 2.4 GB.
DEFAULT_MAX_PIXELS = 200_000_000

_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class Header:
    """Format, size in pixels as stored (before any rotation), and bits per sample."""

    format: Format
    width: int
    height: int
    bits: int


def image_format(head: bytes) -> Format | None:
    """The format of a picture from its first 16 bytes, or None. The file's name does not matter."""
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
    return None


def read_header(path: str | os.PathLike[str], data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Header:
    """Read the header of a picture and refuse what must not reach a decoder.

    Parameters
    ----------
    path : str or path
        Where `data` came from, for the error.
    data : bytes
        The whole file.
    max_pixels : int
        Refuse more pixels (width times height) than this.

    Raises
    ------
    UnblurError
        Not a PNG, JPEG, TIFF, WebP or BMP picture; truncated; without pixels; too large.
    """
    kind = image_format(data[:16])
    if kind is None:
        raise UnblurError(path, "is not a PNG, JPEG, TIFF, WebP or BMP picture", "convert it to one of these")
    parsers = {"png": _png, "jpeg": _jpeg, "tiff": _tiff, "webp": _webp, "bmp": _bmp}
    try:
        header = parsers[kind](path, data)
    except (IndexError, OverflowError, struct.error) as fault:
        raise truncated(path) from fault
    check_size(path, header.width, header.height, max_pixels)
    return header


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
    """The error for a sound file that stores its pixels in a way that is not read here."""
    return UnblurError(path, f"is of a kind that is not supported ({reason})", "save it as 8 or 16-bit grey or RGB")


def _png(path: str | os.PathLike[str], data: bytes) -> Header:
    """Walk the chunks: https://www.w3.org/TR/png-3/, sections 5 and 11.2."""
    if data[12:16] != b"IHDR":
        raise damaged(path, "no header") if len(data) >= 16 else truncated(path)
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    position, name, view = 8, b"", memoryview(data)
    while name != b"IEND":
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        (stored,) = struct.unpack_from(">I", data, position + 8 + length)
        # Critical chunks only (upper case): many files in use have a wrong checksum on a comment.
        if not name[0] & 32 and zlib.crc32(view[position + 4 : position + 8 + length]) != stored:
            raise damaged(path, "wrong checksum")
        position += 12 + length
    return Header("png", width, height, bits)


def _jpeg(path: str | os.PathLike[str], data: bytes) -> Header:
    """Walk the segments up to the frame header: ITU-T T.81, annex B."""
    position = 2
    while True:
        while data[position] == 0xFF and data[position + 1] == 0xFF:
            position += 1
        if data[position] != 0xFF:
            raise damaged(path, "a marker is missing")
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width = struct.unpack_from(">BHH", data, position + 4)
            return Header("jpeg", width, height, bits)
        if marker in (0xD9, 0xDA):
            raise damaged(path, "no frame header")
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD8
        position += 2 if alone else 2 + struct.unpack_from(">H", data, position + 2)[0]


def _tiff(path: str | os.PathLike[str], data: bytes) -> Header:
    """Read the first directory: TIFF 6.0, section 2; BigTIFF has wider fields."""
    order, big = "<" if data[:2] == b"II" else ">", data[:4] in (b"II+\0", b"MM\0+")
    wide = "Q" if big else "I"
    (start,) = struct.unpack_from(order + wide, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    first, step, value_at = (start + 8, 20, 12) if big else (start + 2, 12, 8)
    tags: dict[int, int] = {}
    for place in range(first, first + count * step, step):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        (number,) = struct.unpack_from(order + wide, data, place + 4)
        letter = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if letter is None or tag not in (254, 256, 257, 258):
            if tag == 50706:
                tags[tag] = 1
            continue
        value = place + value_at
        if number * struct.calcsize(letter) > (8 if big else 4):
            (value,) = struct.unpack_from(order + wide, data, value)
        (tags[tag],) = struct.unpack_from(order + letter, data, value)
    # Camera raw files (DNG, NEF, CR2 ...) are TIFF files whose first picture is a thumbnail.
    if 50706 in tags or tags.get(254, 0) & 1 or data[8:10] == b"CR":
        raise UnblurError(path, "is a camera raw file", "export it from your raw converter as a 16-bit TIFF")
    if 256 not in tags or 257 not in tags:
        raise damaged(path, "no size")
    return Header("tiff", tags[256], tags[257], tags.get(258, 1))


def _webp(path: str | os.PathLike[str], data: bytes) -> Header:
    """Read the first chunk: RFC 9649, section 2, RFC 6386, section 9.1."""
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise truncated(path)
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    elif kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise damaged(path, "no picture in it")
    return Header("webp", width, height, 8)


def _bmp(path: str | os.PathLike[str], data: bytes) -> Header:
    """Read the information header; a negative height means top row first."""
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header("bmp", width, abs(height), 8)
