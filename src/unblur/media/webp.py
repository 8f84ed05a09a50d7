"""WebP beyond stills: the chunks of a file, and the writing of moving ones."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import av
import numpy as np

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


def write_webp(path: str | os.PathLike[str], frames: Iterator[np.ndarray], rate: Fraction, loop: bool) -> None:
    """Write (H, W, 3) uint8 RGB frames as an animated WebP of quality 90, for ever or once.

    Every frame is whole, which libwebp's own animation encoder does not keep to: it drops a frame that equals the one
    before. Times are milliseconds, rounded without drift.
    """
    first = next(frames)
    with av.open(f"file:{path}", "w", format="webp", options={"loop": "0" if loop else "1"}) as file:
        track = file.add_stream("libwebp", rate=rate, options={"quality": "90"})
        track.height, track.width, track.pix_fmt = *first.shape[:2], "bgra"
        track.codec_context.time_base = 1 / rate
        for number, array in enumerate(chain([first], frames)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24").reformat(format="bgra")
            frame.pts, frame.time_base, frame.duration = number, 1 / rate, 1
            file.mux(track.encode(frame))
        file.mux(track.encode(None))
