"""Where the frames of a clip come from: a video file, an animated WebP, or a folder of pictures."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from PIL import WebPImagePlugin
from torch import Tensor

from unblur.errors import UnblurError
from unblur.media.colours import planes_of, rgb_of
from unblur.media.container import Container
from unblur.media.header import check_size, damaged
from unblur.media.image import read_image
from unblur.media.webp import frame_durations

FOLDER_RATE = 25.0


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
    """An animated WebP, which FFmpeg reads only since its version 8.1 and Pillow since long."""

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
        """`FOLDER_RATE`: pictures do not say."""
        return FOLDER_RATE


def _rate_of(times: list[float]) -> float:
    return (len(times) - 1) / times[-1] if len(times) > 1 and times[-1] > 0 else FOLDER_RATE
