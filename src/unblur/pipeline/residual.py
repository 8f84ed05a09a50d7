"""The residual: what a film, averaged over the exposure, leaves unexplained of its photo.

It is measured, as a check without ground truth (`measure_residual`), and added to the frames (`with_residual`).

All frames are one picture, moved. What comes out from behind something, turns or lights up is in none of them, but the
photo has its light. With r the photo less the mean of the frames, in linear light, the frame at t gets |2 t - 1| r.
That is the smallest change, where a frame is trusted the less the farther it is from the middle one: it minimises

    (r - mean of d(t))^2 + mean of d(t)^2 / |2 t - 1| / 2,

and leaves the middle frame as it is. No pixel loses more than half of its light: where the photo is darker than the
frames can explain, the estimate is of something else's light, and would leave a hole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unblur.exposure.average import frame_times
from unblur.exposure.response import Response, from_linear, to_linear

INSTANTS = tuple((i + 0.5) / 16 for i in range(16))
"""Times of the mean that is added: the midpoint rule."""

MAX_LOSS = 0.5
"""Share of a pixel's light that it may lose."""


def film_residual(blurry: Tensor, mean: Tensor, response: Response = "srgb") -> Tensor:
    """The photo (..., 3, H, W) in [0, 1] less the mean of a film, in linear light, the same shape."""
    return to_linear(blurry, response) - mean


def with_residual(frames: Tensor, left: Tensor, times: Tensor, response: Response = "srgb") -> Tensor:
    """Frames with their share of the residual.

    Parameters
    ----------
    frames : Tensor
        (..., T, 3, H, W).
    left : Tensor
        (..., 3, H, W), of `film_residual`.
    times : Tensor
        (T,) in [0, 1].

    Returns
    -------
    Tensor
        The shape of `frames`, in [0, 1].
    """
    share = (2 * times - 1).abs().to(frames)[:, None, None, None]
    light = to_linear(frames.clamp(0, 1), response)
    given = torch.maximum(share * left[..., None, :, :, :].to(frames), light * -MAX_LOSS)
    return from_linear((light + given).clamp_max(1), response)


RESPONSES: tuple[Response, Response] = ("srgb", "linear")
FRAMES = 9
"""Of the mean that is measured."""
MAX_DB = 120.0
"""Float32 sums are no better than this."""


@dataclass(frozen=True)
class Residual:
    """How far the film's average is from the blurry picture: root mean squares over all pixels and channels.

    Attributes
    ----------
    linear_light : float
        Averaged in linear light, through the sRGB curve, and compared there: what a camera does.
    stored_values : float
        Averaged in the stored values themselves and compared there: what most data sets do.
    frames : int
        Frames in the average, equally spaced over the exposure.
    """

    linear_light: float
    stored_values: float
    frames: int = FRAMES

    @property
    def linear_light_db(self) -> float:
        """PSNR of the average against the picture in linear light, at most 120 dB."""
        return decibels(self.linear_light)

    @property
    def stored_values_db(self) -> float:
        """PSNR of the average against the picture in stored values, at most 120 dB."""
        return decibels(self.stored_values)

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report; each number says in which values it was taken."""
        return {
            "frames": self.frames,
            "linear_light": _entry("srgb", self.linear_light),
            "stored_values": _entry("linear", self.stored_values),
        }

    def __str__(self) -> str:
        return (
            f"reblur residual {self.linear_light_db:.1f} dB in linear light, "
            f"{self.stored_values_db:.1f} dB in stored values"
        )


def _entry(response: Response, rms: float) -> dict[str, object]:
    return {"response": response, **rms_and_db(rms)}


def decibels(rms: float) -> float:
    """-20 log10 of a root mean square error on the range [0, 1], at most 120."""
    return min(-20 * math.log10(rms), MAX_DB) if rms > 0 else MAX_DB


def rms_and_db(rms: float) -> dict[str, float]:
    """A root mean square error, for a machine-readable report."""
    return {"rms": rms, "db": decibels(rms)}


class Averaging(Protocol):
    """A film that can average itself; see `unblur.pipeline.film`."""

    def averages(self, times: Sequence[float], responses: Sequence[Response]) -> Iterator[tuple[slice, Tensor]]:
        """Bands of rows, each (R, 3, rows, W) in the light of R responses."""
        ...


def measure_residual(film: Averaging, blurry: Tensor, frames: int = FRAMES) -> Residual:
    """Average `frames` frames of a film and compare with the picture it was made from, (3, H, W) in [0, 1]."""
    squares = [0.0, 0.0]
    for rows, averages in film.averages(frame_times(frames).tolist(), RESPONSES):
        for i, (response, average) in enumerate(zip(RESPONSES, averages, strict=True)):
            error = to_linear(blurry[:, rows], response) - average
            squares[i] += float(error.double().square().sum())
    linear, stored = (math.sqrt(square / blurry.numel()) for square in squares)
    return Residual(linear, stored, frames)
