"""Convert video frames to RGB and back, with the colour matrix and range that the file states."""

from __future__ import annotations

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from torch import Tensor

# Plain swscale rounds down and drops half of the chroma: two more levels of error on flat colours.
_EXACT = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
# ITU-T H.273, table 4.
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_HD_HEIGHT = 720


def rgb_of(frame: av.VideoFrame, reformatter: VideoReformatter) -> Tensor:
    """A decoded frame as (3, H, W) float32 RGB in [0, 1], turned upright.

    Where the file names no matrix it is BT.709 from 720 rows on and BT.601 below, as players do. More than 8 bits
    are kept. Transparent pixels (GIF) are white.
    """
    pieces = frame.format.components
    deep = max(piece.bits for piece in pieces) > 8
    alpha = any(piece.is_alpha for piece in pieces) or frame.format.has_palette
    wanted = "rgba64le" if alpha and deep else "rgba" if alpha else "rgb48le" if deep else "rgb24"
    guess = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
    matrix = _MATRICES.get(int(frame.colorspace), guess)
    converted = reformatter.reformat(
        frame, format=wanted, src_colorspace=matrix, dst_color_range=ColorRange.JPEG, interpolation=_EXACT
    )
    array = converted.to_ndarray()
    # FFmpeg counts the turn anticlockwise, as NumPy does.
    array = np.rot90(array, round(frame.rotation / 90))
    return planes_of(array)


def planes_of(array: np.ndarray) -> Tensor:
    """(H, W, 3 or 4) uint8 or uint16 to (3, H, W) float32 in [0, 1]; alpha is laid over white."""
    planes = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32))
    planes /= np.iinfo(array.dtype).max
    return planes if planes.shape[0] == 3 else planes[:3] * planes[3:] + (1 - planes[3:])


def yuv_of(array: np.ndarray, reformatter: VideoReformatter) -> av.VideoFrame:
    """(H, W, 3) uint8 RGB, even sides, as a yuv420p frame: BT.709 matrix, limited range."""
    return reformatter.reformat(
        av.VideoFrame.from_ndarray(array, format="rgb24"),
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_EXACT,
    )
