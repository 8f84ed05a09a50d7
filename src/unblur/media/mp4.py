"""H.264 in MP4."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import av
import numpy as np
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
