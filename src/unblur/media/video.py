"""Clips: reading and writing frames of MP4, MKV, GIF, animated WebP and folders of PNGs."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from unblur.errors import UnblurError
from unblur.media.atomic import FRAME_NAME, atomic_folder, atomic_path
from unblur.media.contents import DEFAULT_MAX_PIXELS, check_size, read_contents, truncated
from unblur.media.encode import encode
from unblur.media.encode_clip import write_gif, write_mp4, write_webp
from unblur.media.folder import images_in, is_folder
from unblur.media.stream import FolderStream, Stream, VideoStream, WebpStream, container_of, is_complete
from unblur.media.webp import canvas

__all__ = ["Clip", "read_clip", "write_clip"]

Writer = Callable[[str | os.PathLike[str], Iterator[np.ndarray], Fraction, bool], None]
# Viewers slow down a GIF with less than 2/100 s between frames, and a WebP with 10 ms or less.
_WRITERS: dict[str, tuple[Writer, str, int, int]] = {
    ".mp4": (write_mp4, "libx264", 16_384, 1000),
    ".gif": (write_gif, "gif", 65_535, 50),
    ".webp": (write_webp, "libwebp", 16_383, 90),
}
_SLOWEST = 0.01
_INSTEAD = "write a folder of PNGs: end the name with /"


@dataclass(frozen=True)
class Clip:
    """Frames of one size, read from the file anew in every iteration and never held together.

    Iterating gives each frame as (3, H, W) float32 RGB in [0, 1].

    Attributes
    ----------
    path : Path
        The file or folder.
    fps : float
        Frames per second, on average; 25 for a folder, which states none.
    width, height : int
        In pixels, as seen (a rotation that the file states is applied).
    """

    path: Path
    fps: float
    width: int
    height: int
    _stream: Stream = field(repr=False)

    def __iter__(self) -> Iterator[Tensor]:
        """Each frame, from the first."""
        for number, frame in enumerate(self._stream.frames(), 1):
            if frame.shape != (3, self.height, self.width):
                raise UnblurError(
                    self.path,
                    f"frame {number} is {frame.shape[2]} x {frame.shape[1]}, the first is {self.width} x {self.height}",
                    "give frames of one size",
                )
            yield frame

    @cached_property
    def times(self) -> tuple[float, ...]:
        """Seconds after the first frame at which each is shown; found without decoding."""
        return tuple(self._stream.times())

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.times)


def read_clip(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Clip:
    """Open an MP4, MKV, AVI, GIF, animated WebP, or a folder of pictures as a clip; the content decides which.

    The file's rotation, colour matrix and range are applied; transparent pixels become white; pixels count as
    square; sound is ignored. The first frame is decoded at once, so that a clip that cannot be read is refused here.

    Parameters
    ----------
    path : str or path
        A file, or a folder whose pictures, in natural order, are the frames.
    max_pixels : int
        Refuse frames with more pixels than this.

    Raises
    ------
    UnblurError
        If it is missing, empty, truncated, damaged, too large, not a clip, or a folder without pictures. While
        iterating: if a later frame is damaged, or has another size.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clip = read_clip(write_clip(Path(folder) / "a.mp4", torch.rand(5, 3, 16, 24), fps=12.5))
    ...     clip.fps, clip.count, clip.times[1], sum(1 for frame in clip)
    (12.5, 5, 0.08, 5)
    """
    stream = _stream_of(Path(path), max_pixels)
    frames = stream.frames()
    first = next(frames, None)
    frames.close()
    if first is None:
        raise UnblurError(path, "holds no frames", "give a clip with at least one frame")
    return Clip(Path(path), stream.rate(), first.shape[2], first.shape[1], stream)


def write_clip(
    path: str | os.PathLike[str],
    frames: Iterable[Tensor],
    *,
    fps: float = 25.0,
    count: int | None = None,
    loop: bool = True,
) -> Path:
    """Write frames as a clip; the name of `path` decides the kind. It appears whole or not at all.

    ============  ==================================================================================================
    name          result
    ============  ==================================================================================================
    .mp4          H.264, yuv420p, BT.709; an odd width or height grows by one pixel, a copy of the last column or row
    .gif          one palette for all frames, ordered dither; at most 50 frames per second
    .webp         animated WebP, quality 90; at most 90 frames per second
    folder/       PNGs ``frame_00000.png`` ...; a name that ends with ``/``, has no suffix, or is a folder. It
                  replaces a folder of such frames, and no other
    ============  ==================================================================================================

    Parameters
    ----------
    path : str or path
        The file or folder to make; missing folders above it are made.
    frames : iterable of Tensor
        (3, H, W) RGB in [0, 1], all of one size; taken one at a time. Values are clamped and rounded to 8 bits.
    fps : float
        Frames per second, 0.01 to 1000; may be fractional, such as 30000 / 1001.
    count : int, optional
        How many frames there must be.
    loop : bool
        Whether a GIF or WebP plays for ever, or once.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    UnblurError
        If the name is of no known kind, the place cannot be written to, the kind cannot hold the size or rate,
        values are not numbers, or the folder holds other files.
    ValueError
        If there are no frames, not `count` of them, or a shape is wrong.
    RuntimeError
        If the file holds another number of frames than were given. Nothing is left behind.
    """
    name, target = str(path), Path(path)
    if not math.isfinite(fps) or not _SLOWEST <= fps <= 1000:
        raise UnblurError(path, f"cannot have {fps:g} frames per second", f"choose `fps` from {_SLOWEST} to 1000")
    checked = _Checked(path, frames)
    if name.endswith(("/", os.sep)) or not target.suffix or is_folder(target):
        with atomic_folder(target) as temporary:
            _write_pngs(temporary, iter(checked))
            _expect(path, checked.given, count, len(list(temporary.iterdir())))
        return target
    if target.suffix.lower() not in _WRITERS:
        remedy = "end the name with .mp4, .gif or .webp, or with / for a folder of PNGs"
        raise UnblurError(path, "does not name a known kind of clip", remedy)
    write, encoder, checked.longest, fastest = _WRITERS[target.suffix.lower()]
    if encoder not in av.codecs_available:
        raise UnblurError(path, f"this build of PyAV has no {encoder}", f"pip install av, or {_INSTEAD}")
    if fps > fastest:
        raise UnblurError(
            path, f"cannot show {fps:g} frames per second", f"choose `fps={fastest}` or less, or write .mp4"
        )
    with atomic_path(target) as temporary:
        try:
            write(temporary, iter(checked), Fraction(fps).limit_denominator(1001), loop)
        except av.FFmpegError as fault:
            if isinstance(fault, OSError):
                raise
            raise UnblurError(path, f"cannot be encoded ({fault.strerror})", _INSTEAD) from fault
        _expect(path, checked.given, count, read_clip(temporary).count)
    return target


def _stream_of(path: Path, max_pixels: int) -> Stream:
    if is_folder(path):
        pictures = images_in(path)
        if not pictures:
            raise UnblurError(path, "is a folder without pictures", "name a clip, or a folder of PNGs")
        return FolderStream(tuple(pictures), max_pixels)
    head = read_contents(path, "name a clip", limit=32)
    container = container_of(head)
    if container is None:
        raise UnblurError(path, "is not an MP4, MKV, AVI, GIF or animated WebP clip", "convert it to MP4")
    if not is_complete(path, container):
        raise truncated(path)
    if container == "gif":
        # FFmpeg reports a size that it refuses as 0 x 0.
        width, height = struct.unpack_from("<HH", head, 6)
        check_size(path, width, height, max_pixels)
    if container == "webp":
        data = path.read_bytes()
        check_size(path, *canvas(data), max_pixels)
        return WebpStream(path, data)
    return VideoStream(path, container, max_pixels)


class _Checked:
    """Convert frames to (H, W, 3) uint8 and count them; checks shapes and values."""

    def __init__(self, path: str | os.PathLike[str], frames: Iterable[Tensor]) -> None:
        self.path, self.frames, self.given, self.longest = path, frames, 0, 2**31 - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        shape = None
        for frame in self.frames:
            shape = shape or frame.shape
            if frame.ndim != 3 or frame.shape[0] != 3 or frame.shape != shape:
                raise ValueError(f"frames must be (3, H, W) of one size, got {tuple(frame.shape)} after {tuple(shape)}")
            check_size(self.path, frame.shape[2], frame.shape[1], 2**62)
            if max(shape) > self.longest:
                raise UnblurError(
                    self.path,
                    f"this kind of clip holds at most {self.longest} pixels a side",
                    _INSTEAD,
                )
            if not frame.isfinite().all():
                raise UnblurError(
                    self.path, "the result holds values that are not numbers", "run again with `dtype=float32`"
                )
            self.given += 1
            steps = (frame.detach().to("cpu", torch.float32).clamp(0, 1) * 255).round_()
            yield steps.permute(1, 2, 0).to(torch.uint8).contiguous().numpy()
        if not self.given:
            raise ValueError("there are no frames to write")


def _write_pngs(folder: Path, frames: Iterator[np.ndarray]) -> None:
    for number, array in enumerate(frames):
        (folder / FRAME_NAME.format(number)).write_bytes(encode(array, "png", 100, None, None))


def _expect(path: str | os.PathLike[str], given: int, count: int | None, written: int) -> None:
    if count is not None and given != count:
        raise ValueError(f"{path}: {count} frames were promised, {given} came")
    if written != given:
        raise RuntimeError(f"{path}: {given} frames were given, {written} are in the file")
