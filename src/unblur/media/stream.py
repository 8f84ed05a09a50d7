"""Frame sources of a clip: a video file, an animated WebP or a folder; and checks that a file is complete."""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from PIL import WebPImagePlugin
from torch import Tensor

from unblur.errors import UnblurError
from unblur.media.colours import planes_of, rgb_of
from unblur.media.contents import check_size, damaged
from unblur.media.image import read_image
from unblur.media.webp import frame_durations

FOLDER_RATE = 25.0

# The names of FFmpeg's demuxers, so that FFmpeg is told the format and never guesses: some that it would guess are
# lists of other files and addresses to open.
Container = Literal["mov", "matroska", "avi", "gif", "webp"]

_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


class Stream(Protocol):
    """Frames that can be read again and again, one at a time."""

    def frames(self) -> Generator[Tensor]:
        """Each frame, (3, H, W) float32 RGB in [0, 1], from the first."""

    def times(self) -> list[float]:
        """Seconds from the first frame at which each frame is shown."""

    def rate(self) -> float:
        """Frames per second, on average."""


@dataclass(frozen=True)
class VideoStream:
    """The first video track of a file that FFmpeg reads."""

    path: Path
    container: Container
    max_pixels: int

    def frames(self) -> Generator[Tensor]:
        """Each frame, (3, H, W) float32 RGB in [0, 1], from the first."""
        with self._opened() as file:
            reformatter = VideoReformatter()
            track = file.streams.video[0]
            track.thread_type = "AUTO"
            for frame in file.decode(track):
                check_size(self.path, frame.width, frame.height, self.max_pixels)
                yield rgb_of(frame, reformatter)

    def times(self) -> list[float]:
        """Seconds from the first frame at which each frame is shown, without decoding any."""
        with self._opened() as file:
            track = file.streams.video[0]
            shown = sorted(
                float(packet.pts * packet.time_base)
                for packet in file.demux(track)
                if packet.pts is not None and packet.time_base is not None and not packet.is_discard
            )
        return [time - shown[0] for time in shown]

    def rate(self) -> float:
        """Frames per second, on average."""
        if self.container == "gif":
            return _rate_of(self.times())
        with self._opened() as file:
            track = file.streams.video[0]
            return float(track.average_rate or track.guessed_rate or FOLDER_RATE)

    @contextmanager
    def _opened(self) -> Iterator[InputContainer]:
        try:
            # With "file:" in front no other part of the name can be taken for a protocol.
            with av.open(f"file:{self.path}", format=self.container, metadata_errors="replace") as file:
                if not file.streams.video:
                    raise UnblurError(self.path, "holds no video", "give a file with a video track")
                context = file.streams.video[0].codec_context
                if context is None:
                    raise UnblurError(self.path, "is stored in a way that PyAV cannot decode", "convert it to H.264")
                check_size(self.path, context.width, context.height, self.max_pixels)
                yield file
        except av.FFmpegError as fault:
            raise damaged(self.path, fault.strerror) from fault


@dataclass(frozen=True)
class WebpStream:
    """An animated WebP, read by Pillow: FFmpeg reads them only since version 8.1."""

    path: Path
    data: bytes

    def frames(self) -> Generator[Tensor]:
        """Each frame, (3, H, W) float32 RGB in [0, 1], from the first."""
        try:
            image = WebPImagePlugin.WebPImageFile(BytesIO(self.data))
        except Exception as fault:
            raise damaged(self.path, fault) from fault
        with image:
            for number in range(image.n_frames):
                try:
                    image.seek(number)
                    frame = image.convert("RGBA" if "A" in image.mode else "RGB")
                except Exception as fault:
                    raise damaged(self.path, f"frame {number + 1}: {fault}") from fault
                yield planes_of(np.asarray(frame))

    def times(self) -> list[float]:
        """Seconds from the first frame at which each frame is shown."""
        return [total / 1000 for total in accumulate(frame_durations(self.data)[:-1], initial=0)]

    def rate(self) -> float:
        """Frames per second, on average."""
        return _rate_of(self.times())


@dataclass(frozen=True)
class FolderStream:
    """Pictures of one size, in the order given."""

    paths: Sequence[Path]
    max_pixels: int

    def frames(self) -> Generator[Tensor]:
        """Each frame, (3, H, W) float32 RGB in [0, 1], from the first; alpha is laid over white."""
        for path in self.paths:
            picture = read_image(path, max_pixels=self.max_pixels)
            pixels = picture.pixels
            yield pixels if picture.alpha is None else pixels * picture.alpha + (1 - picture.alpha)

    def times(self) -> list[float]:
        """Seconds from the first frame at which each frame is shown, at `FOLDER_RATE`."""
        return [number / FOLDER_RATE for number in range(len(self.paths))]

    def rate(self) -> float:
        """`FOLDER_RATE`, because pictures do not state a rate."""
        return FOLDER_RATE


def _rate_of(times: list[float]) -> float:
    return (len(times) - 1) / times[-1] if len(times) > 1 and times[-1] > 0 else FOLDER_RATE


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
    """Whether the parts that the container announces fit into the file; FFmpeg reads a truncated file without an error.

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
