"""The chunks of a WebP file (RFC 9649): Pillow reports size only after it has allocated the pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_ANIMATION = 2


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of the contents of every chunk: section 2.3."""
    position = 12
    while position + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, position + 4)
        yield data[position : position + 4], position + 8, size
        position += 8 + size + size % 2


def canvas(data: bytes) -> tuple[int, int]:
    """Width and height, from the first chunk; 0 and 0 if it is of an unknown kind.

    Raises
    ------
    EOFError
        If the file is shorter than it says.
    """
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise EOFError("truncated")
    kind, packed = data[12:16], int.from_bytes(data[21:25], "little")
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0


def is_animated(head: bytes) -> bool:
    """Whether the first 21 bytes say that more than one frame follows."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & _ANIMATION)


def is_lossy(data: bytes) -> bool:
    """Whether a still picture was stored with loss, so that what was grey may be off by one."""
    return any(name == b"VP8 " for name, _, _ in chunks(data))


def frame_durations(data: bytes) -> list[int]:
    """Milliseconds for which each frame is shown; one zero for a still picture."""
    durations = [
        int.from_bytes(data[start + 12 : start + 15], "little")
        for name, start, size in chunks(data)
        if name == b"ANMF" and start + size <= len(data)
    ]
    return durations or [0]
