"""What the bytes of a clip say: its container, and whether all of it is there."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, Literal

# The names of FFmpeg's demuxers, so that FFmpeg is told the format and never guesses: some that it would guess are
# lists of other files and addresses to open.
Container = Literal["mov", "matroska", "avi", "gif", "webp"]

_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def container_of(head: bytes) -> Container | None:
    """The container of a clip from its first 16 bytes, or None. The file's name does not matter."""
    if head[4:8] in _MOV_BOXES:
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WEBP": "webp"}.get(head[8:12])  # type: ignore[return-value]
    return "gif" if head[:6] in (b"GIF87a", b"GIF89a") else None


def is_complete(path: str | os.PathLike[str], container: Container) -> bool:
    """Whether the parts that the container announces fit into the file; FFmpeg plays what there is without a word.

    A Matroska file of unknown length (a live recording) counts as complete.
    """
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        try:
            if container == "mov":
                return _boxes_fit(file, size)
            if container == "matroska":
                return _segment_fits(file, size)
            if container == "gif":
                return _gif_ends(file.read())
            return struct.unpack("<4xI", file.read(8))[0] + 8 <= size
        except (IndexError, struct.error):
            return False


def _boxes_fit(file: BinaryIO, size: int) -> bool:
    """Walk the outermost boxes: ISO/IEC 14496-12, 4.2."""
    position, film = 0, False
    while position < size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        elif length == 0:
            length = size - position
        film |= kind == b"moov"
        # Zeros behind the last box are padding, not a box.
        if length < 8:
            return film
        position += length
    return film and position == size


def _segment_fits(file: BinaryIO, size: int) -> bool:
    """The first two elements are the header and the segment that holds all else: RFC 8794, section 5; RFC 9559."""
    position = 0
    for _ in range(2):
        file.seek(position)
        head = file.read(16)
        name = _bytes_of_number(head[0])
        wide = _bytes_of_number(head[name])
        length = int.from_bytes(head[name : name + wide], "big") & ((1 << 7 * wide) - 1)
        if length == (1 << 7 * wide) - 1:
            return True
        position += name + wide + length
    return position <= size


def _bytes_of_number(first: int) -> int:
    """How many bytes a number of variable size takes: one more than there are leading zero bits."""
    return 9 - first.bit_length()


def _gif_ends(data: bytes) -> bool:
    """Walk the blocks up to the trailer: GIF89a, sections 17 to 27."""

    def table(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    position = 13 + table(data[10])
    while data[position] != 0x3B:
        if data[position] == 0x2C:
            position += 11 + table(data[position + 9])
        elif data[position] == 0x21:
            position += 2
        else:
            return False
        while data[position]:
            position += 1 + data[position]
        position += 1
    return True
