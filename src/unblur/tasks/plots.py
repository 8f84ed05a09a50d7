"""Drawings: the paths over a photo, and what a blur does to points of light."""

from __future__ import annotations

import math
from math import ceil

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.analysis.blur_length import Length
from unblur.analysis.motion_field import CELL, Field, Motion
from unblur.pipeline.blur_transfer import BlurCode, BlurSpace

LEAST, MOST = 800, 1600
"""Pixels of the drawing's longer side: small photos are enlarged, large ones made smaller."""
PATH_SPACING, ACROSS = 32, 36
"""Pixels of the drawing between places, at least, and how many places its longer side holds, at most."""
DIM = 0.55
FOOT = 40
FRACTION = 4  # bits of a position below the pixel, for OpenCV


def draw_field(blurry: Tensor, field: Field, length: Length | None = None) -> Tensor:
    """Draw the paths of a field, each from the opening of the shutter to its closing, coloured by direction.

    Short motions are drawn several times as long; a line at the foot says so, and how the colours lie. Places without
    texture are left out.

    Parameters
    ----------
    blurry : Tensor
        (3, H, W) in [0, 1].
    field : Field
        Of that photo.
    length : Length, optional
        How long the blur is by the photo's spectra: the foot tells it beside the median of the paths, which are drawn
        as they were found, shorter where the middle frame is still blurred.

    Returns
    -------
    Tensor
        (3, h + 40, w) float32 in [0, 1], the longer of h and w from 800 to 1600 pixels, a legend below.
    """
    side = max(blurry.shape[-2:])
    scale = min(max(side, LEAST), MOST) / side
    size = [max(round(scale * n), 1) for n in blurry.shape[-2:]]
    if scale < 1:
        canvas = F.interpolate(blurry[None], size, mode="bilinear", antialias=True)[0]
    else:
        canvas = F.interpolate(blurry[None], size, mode="bicubic")[0]
    grey = torch.lerp(canvas.mean(0, keepdim=True).expand(3, -1, -1), canvas, 0.5)
    drawn = np.ascontiguousarray((255 * DIM * grey.clamp(0, 1)).byte().permute(1, 2, 0).numpy())
    motion = field.motion(length)
    step = math.ceil(max(PATH_SPACING, max(size) / ACROSS) / (scale * CELL))
    longer = _magnification(motion.path_length_95 / (step * CELL))
    for place, path in _chosen(field, step):
        _curve(drawn, scale * (CELL * (place + 0.5)) - 0.5, scale * longer * path)
    foot = _legend(drawn.shape[1], _caption(motion, longer))
    return torch.from_numpy(np.concatenate((drawn, foot))).permute(2, 0, 1).float() / 255


def _caption(motion: Motion, longer: int) -> str:
    blur = "" if motion.length is None else f"blur {motion.length:.1f} px, "
    return blur + f"paths {motion.path_length:.1f} px" + (f", drawn {longer} x" if longer > 1 else "")


def _magnification(length: float) -> int:
    """How many times as long to draw, so that long paths, a share of the grid's spacing, about fill it."""
    return next((times for times in (1, 2, 3, 5) if times * length >= 0.5), 10)


def _chosen(field: Field, step: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Places (x, y) in cells, and their paths (T, 2) in pixels: of each block the middle, if it has texture."""
    rows, columns = (range(min(step, n) // 2, n, step) for n in field.textured.shape)
    return [
        (np.array([column, row]), field.paths[:, :, row, column].numpy())
        for row in rows
        for column in columns
        if field.textured[row, column]
    ]


def _curve(drawn: np.ndarray, place: np.ndarray, path: np.ndarray) -> None:
    points = np.rint((place + path) * 2**FRACTION).astype(np.int32)[:, None]
    colour = _colour(*(path[-1] - path[0]))
    for width, shade in ((4, (0, 0, 0)), (2, colour)):
        cv2.polylines(drawn, [points], False, shade, width, cv2.LINE_AA, FRACTION)
    middle = tuple(np.rint(place * 2**FRACTION).astype(int).tolist())
    cv2.circle(drawn, middle, int(1.5 * 2**FRACTION), (255, 255, 255), -1, cv2.LINE_AA, FRACTION)


def _colour(x: float, y: float) -> tuple[int, int, int]:
    """Half a turn goes once round the colours: a direction and its opposite are the same."""
    turn = math.atan2(-y, x) / math.pi % 1
    wheel = [0.5 + 0.5 * math.cos(2 * math.pi * (turn - third / 3)) for third in range(3)]
    red, green, blue = (round(90 + 165 * part) for part in wheel)
    return red, green, blue


def _legend(width: int, text: str) -> np.ndarray:
    """A foot with a rose of the colours and a line of text, as far as it is wide enough."""
    foot = np.zeros((FOOT, width, 3), np.uint8)
    for step in range(12):
        x, y = math.cos(math.pi * step / 12), -math.sin(math.pi * step / 12)
        one, other = ((round(FOOT / 2 + sign * 15 * x), round(FOOT / 2 + sign * 15 * y)) for sign in (1, -1))
        cv2.line(foot, one, other, _colour(x, y), 2, cv2.LINE_AA)
    cv2.putText(foot, text, (FOOT + 8, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    return foot


POINT_SPACING = 64
"""Pixels between points."""
MOST_POINTS = 25
"""Points along the longer side, at most."""
FAINTEST = 0.02
"""Stored value that is made white, at least: no point, however long its streak, is as dim; a square without one is."""
GREY, RULE = 0.06, 0.16


def draw_psf_grid(space: BlurSpace, code: BlurCode) -> Tensor:
    """Points of light on black, blurred as `code` says, each brightened by itself to be seen.

    Returns
    -------
    Tensor
        (3, h, w) in [0, 1], the code's picture with a point in the middle of every 64 x 64 pixels, large ones with
        fewer; the brightest pixel of each point's surroundings is white, and lines show them.
    """
    spacing = POINT_SPACING * max(ceil(max(code.height, code.width) / (POINT_SPACING * MOST_POINTS)), 1)
    height, width = (ceil(side / spacing) * spacing for side in (code.height, code.width))
    points = torch.zeros(3, code.height, code.width)
    rows, columns = _middles(code.height, spacing), _middles(code.width, spacing)
    for row in (0, 1):
        for column in (0, 1):
            points[:, (rows - row).clamp_min(0)[:, None], (columns - column).clamp_min(0)] = 1.0
    light = space.apply(points, code).mean(0, keepdim=True)
    light = F.pad(light, (0, width - code.width, 0, height - code.height))
    scale = max(ceil(LEAST / max(height, width)), 1)
    return _framed(light, spacing, scale).expand(3, -1, -1)


def _middles(side: int, spacing: int) -> Tensor:
    """Of every square that is not cut off before its middle; of a smaller picture its own."""
    return torch.arange(min(spacing, side) // 2, max(side - 1, 1), spacing)


def _framed(light: Tensor, spacing: int, scale: int) -> Tensor:
    """Each square of (1, h, w) as bright as it gets, `scale` times as large, with lines between."""
    squares = light.unflatten(2, (-1, spacing)).unflatten(1, (-1, spacing))
    squares = squares / squares.amax((2, 4), keepdim=True).clamp_min(FAINTEST)
    drawn = squares.flatten(3).flatten(1, 2).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    drawn = GREY + (1 - GREY) * drawn.clamp(0, 1)
    for start in range(0, drawn.shape[1], spacing * scale):
        drawn[:, start] = RULE
    for start in range(0, drawn.shape[2], spacing * scale):
        drawn[:, :, start] = RULE
    return drawn
