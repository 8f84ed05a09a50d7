"""Encode frames as clips: H.264 in MP4, GIF with one palette for all frames, animated WebP."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import VideoReformatter

from unblur.media.colours import yuv_of

# ITU-T H.273: limited range; BT.709 matrix and primaries (which sRGB shares); sRGB transfer.
_LIMITED, _BT709, _SRGB = 1, 1, 13


def write_mp4(path: str | os.PathLike[str], frames: Iterator[np.ndarray], rate: Fraction, loop: bool) -> None:
    """Write (H, W, 3) uint8 RGB frames as H.264 yuv420p, tagged BT.709 limited range, index first.

    An odd width or height grows by one pixel, a copy of the last column or row: yuv420p has no odd sizes. `loop` has no
    meaning in MP4.

    Raises
    ------
    av.FFmpegError
        If the size cannot be encoded, or the disk is full.
    """
    first = next(frames)
    height, width = first.shape[:2]
    with av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}) as file:
        track = file.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "medium"})
        track.width, track.height, track.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context = track.codec_context
        context.time_base = 1 / rate
        context.color_range, context.colorspace = _LIMITED, _BT709
        context.color_primaries, context.color_trc = _BT709, _SRGB
        reformatter = VideoReformatter()
        for number, array in enumerate(chain([first], frames)):
            frame = yuv_of(np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"), reformatter)
            frame.pts, frame.time_base, frame.duration = number, 1 / rate, 1
            file.mux(track.encode(frame))
        file.mux(track.encode(None))


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


def write_gif(path: str | os.PathLike[str], frames: Iterator[np.ndarray], rate: Fraction, loop: bool) -> None:
    """Write (H, W, 3) uint8 RGB frames as a GIF.

    The 256 colours are the best for all frames together, and the dither is an ordered one: neither a changing palette
    nor error diffusion, both of which make still parts flicker. So the frames are needed twice; they wait
    in an unnamed file beside `path`, not in memory. Times are multiples of 1/100 s, rounded without drift.

    Parameters
    ----------
    rate : Fraction
        At most 50 frames per second; viewers slow down anything faster.
    loop : bool
        For ever, or once.
    """
    first = next(frames)
    height, width, _ = first.shape
    with tempfile.TemporaryFile(dir=Path(path).parent) as spool:
        mapper = _Mapper(width, height, _palette(chain([first], frames), width, height, spool))
        spool.seek(0)
        with av.open(f"file:{path}", "w", format="gif", options={"loop": "0" if loop else "-1"}) as file:
            track = file.add_stream("gif", rate=rate)
            track.width, track.height, track.pix_fmt = width, height, "pal8"
            track.codec_context.time_base = 1 / rate
            for mapped in mapper(_spooled(spool, first.shape), rate):
                file.mux(track.encode(mapped))
            file.mux(track.encode(None))


def _palette(frames: Iterator[np.ndarray], width: int, height: int, spool: BinaryIO) -> av.VideoFrame:
    """The 256 best colours for all frames, which go to `spool`."""
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("bgra"), time_base=Fraction(1))
    maker, sink = graph.add("palettegen", "stats_mode=full:reserve_transparent=0"), graph.add("buffersink")
    source.link_to(maker)
    maker.link_to(sink)
    graph.configure()
    for number, array in enumerate(frames):
        spool.write(np.ascontiguousarray(array).data)
        source.push(_frame(array, number, Fraction(1)))
    source.push(None)
    palette = sink.pull()
    assert isinstance(palette, av.VideoFrame)
    return palette


def _spooled(spool: BinaryIO, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    while data := spool.read(int(np.prod(shape))):
        yield np.frombuffer(data, np.uint8).reshape(shape)


class _Mapper:
    """Maps frames to the colours of a palette."""

    def __init__(self, width: int, height: int, palette: av.VideoFrame) -> None:
        self.graph, bgra, ticks = Graph(), av.VideoFormat("bgra"), Fraction(1)
        self.source = self.graph.add_buffer(width=width, height=height, format=bgra, time_base=ticks)
        colours = self.graph.add_buffer(width=palette.width, height=palette.height, format=bgra, time_base=ticks)
        mapper = self.graph.add("paletteuse", "dither=bayer:bayer_scale=4")
        self.sink = self.graph.add("buffersink")
        self.source.link_to(mapper, 0, 0)
        colours.link_to(mapper, 0, 1)
        mapper.link_to(self.sink)
        self.graph.configure()
        colours.push(palette)
        colours.push(None)

    def __call__(self, frames: Iterator[np.ndarray], rate: Fraction) -> Iterator[av.VideoFrame]:
        """Each frame, mapped, with its time."""
        for number, array in enumerate(frames):
            self.source.push(_frame(array, number, Fraction(1)))
            yield from self._ready(rate)
        self.source.push(None)
        yield from self._ready(rate)

    def _ready(self, rate: Fraction) -> Iterator[av.VideoFrame]:
        while True:
            try:
                frame = self.sink.pull()
            except (BlockingIOError, EOFError):
                return
            assert isinstance(frame, av.VideoFrame)
            frame.time_base = 1 / rate
            yield frame


def _frame(array: np.ndarray, number: int, ticks: Fraction) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24").reformat(format="bgra")
    frame.pts, frame.time_base = number, ticks
    return frame
