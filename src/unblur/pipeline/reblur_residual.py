"""The check that every result carries: does the film, averaged again, give the blurry picture back?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from unblur.exposure.average import frame_times
from unblur.exposure.response import Response, to_linear

RESPONSES: tuple[Response, Response] = ("srgb", "linear")
FRAMES = 9
# Float32 sums are no better than this.
BEST_DB = 120.0


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
    return {"response": response, "rms": rms, "db": decibels(rms)}


def decibels(rms: float) -> float:
    """-20 log10 of a root mean square error on the range [0, 1], at most 120."""
    return min(-20 * math.log10(rms), BEST_DB) if rms > 0 else BEST_DB


@dataclass(frozen=True)
class Refinement:
    """What refining the paths of a film came to.

    Attributes
    ----------
    before, after : Residual
        Of the film as it was, and as it is by refining alone.
    kept : bool
        Whether the refined paths are used: not where the photo is explained better only because they collapsed.
    shrinkage : float
        Length of the refined paths, as a share of what they were.
    """

    before: Residual
    after: Residual
    kept: bool
    shrinkage: float

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        residuals = {"residual_before": self.before.as_dict(), "residual_after": self.after.as_dict()}
        return {"kept": self.kept, "shrinkage": self.shrinkage, **residuals}

    def __str__(self) -> str:
        if self.kept:
            return f"refined from {self.before.linear_light_db:.1f} to {self.after.linear_light_db:.1f} dB"
        return "not refined: the middle frame is still blurred"


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
