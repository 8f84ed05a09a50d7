"""The chunks of a WebP file: what Pillow does not tell about it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_ANIMATION = 2


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of the contents of every chunk: RFC 9649, section 2.3."""
    position = 12
    while position + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, position + 4)
        yield data[position : position + 4], position + 8, size
        position += 8 + size + size % 2


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
