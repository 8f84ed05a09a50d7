"""Paths that explain the photo better: a few steps at test time on what a film network saw.

The mean of a film over the exposure, in linear light, must be the photo (`unblur.exposure.average`). Where it is not,
the paths are bent until it is nearer: the sharp frame stays, and a smooth correction of the path coefficients is sought
that makes

    mean over pixels of rho(grad(mean over t of warp(sharp, paths, t) - photo)) + RIDGE * |correction|^2

small, with rho the pseudo-Huber loss and the correction in units of the motion that is there. It is smooth because it
is drawn from a coarse grid of numbers, so that a large picture is refined on a small copy of itself.

Gradients of the light are compared, not the light: what the sharp frame has wrong in large areas is not the paths'
fault. A residual that falls is no proof of better paths, either: a frame that is still blurred asks for paths that are
too short. That is how it shows, and then the paths are left as they were; `docs/refine.md` has what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.exposure.average import frame_times, integrate
from unblur.exposure.response import Response, to_linear
from unblur.layers.paths import follow_back, path_at, warp
from unblur.pipeline.film import MapFilm
from unblur.pipeline.residual import Residual, measure_residual
from unblur.runtime.tiling import Progress

STEPS = 30
GRID = 6
RIDGE = 0.2
FLOOR = 0.1
"""Residuals below this share of the photo's gradients are as small as they need to be."""
LEARNING_RATE = 0.02
FRAMES = 13
MOST_PIXELS = 512 * 512
"""A larger picture is refined on a copy of this many pixels."""
LONG = 6.0
"""Motion from this many pixels on is as well refined at half of the resolution."""
SHORTEST = 0.6
"""Paths that shrink to less than this share of their length have a blurred frame to explain, not another motion."""


@dataclass(frozen=True)
class Correction:
    """What brings the mean of a film nearer to the photo.

    Attributes
    ----------
    grid : Tensor
        (1, 2 * degree, GRID, GRID), pixels to add to the path coefficients, over the whole picture.
    shrinkage : float
        Length of the corrected paths, as a share of what they were.
    misfit : tuple of float
        What is minimised, less the ridge, before and after.
    """

    grid: Tensor
    shrinkage: float
    misfit: tuple[float, float]

    @property
    def helps(self) -> bool:
        """Whether the mean is nearer to the photo, and not because the paths collapsed."""
        return self.misfit[1] < self.misfit[0] and self.shrinkage >= SHORTEST

    def plane(self, channel: int, size: tuple[int, int] | torch.Size) -> Tensor:
        """What to add to one coefficient of every pixel of a picture, (1, H, W)."""
        return _enlarged(self.grid[:, channel : channel + 1], size)[:, 0]


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


def refine_paths(film: MapFilm, blurry: Tensor, progress: Progress | None = None) -> Refinement:
    """Refine the paths of a film, in place, where that helps.

    Parameters
    ----------
    film : MapFilm
        Of a network with paths.
    blurry : Tensor
        (1, 3, H, W) in [0, 1], what it was made of.
    progress : callable, optional
        Called with (steps done, steps in all).
    """
    before = measure_residual(film, blurry[0])
    correction = find_correction(blurry, film.state, progress=progress)
    if not correction.helps:
        return Refinement(before, before, False, correction.shrinkage)
    with torch.inference_mode():
        # One plane at a time: the whole correction is nearly as large as the state.
        for channel in range(correction.grid.shape[1]):
            film.state[:, 3 + channel] += correction.plane(channel, film.state.shape[-2:]).to(film.state)
    film.paths_changed()
    return Refinement(before, measure_residual(film, blurry[0]), True, correction.shrinkage)


def find_correction(
    blurry: Tensor,
    state: Tensor,
    *,
    response: Response = "srgb",
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Correction:
    """Look for paths that explain a photo better.

    Parameters
    ----------
    blurry : Tensor
        (1, 3, H, W) in [0, 1].
    state : Tensor
        (1, 3 + 2 * degree, H, W): the sharp middle frame and the path coefficients in pixels, as
        `unblur.networks.path_film.PathFilm.encode` returns them.
    response : {"srgb", "gamma", "linear"}
        Of the camera.
    steps : int
        Steps of gradient descent.
    progress : callable, optional
        Called with (steps done, steps in all).

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    _check(blurry, state)
    # Also where inference goes on around it, and in full precision: these are positions.
    apart = torch.inference_mode(False), torch.enable_grad(), torch.autocast(state.device.type, enabled=False)
    with apart[0], apart[1], apart[2]:
        copy = _copied(blurry, state, response)
        grid = torch.zeros(1, state.shape[1] - 3, GRID, GRID, device=state.device, requires_grad=True)
        rms = lambda image: image.detach().square().mean().sqrt()  # noqa: E731
        scale = torch.maximum(rms(copy.residual(grid)), FLOOR * rms(_gradient(copy.photo))).clamp_min(1e-6)
        misfit = lambda: ((copy.residual(grid) / scale).square() + 1).sqrt().mean()  # noqa: E731
        before = float(misfit().detach())
        descent = torch.optim.Adam([grid], lr=LEARNING_RATE, betas=(0.9, 0.95))
        for step in range(steps):
            descent.zero_grad()
            (misfit() + RIDGE * copy.enlarged(grid).square().sum(1).mean()).backward()
            descent.step()
            if progress is not None:
                progress(step + 1, steps)
        found = grid.detach()
        length = copy.length(copy.corrected(found)) / copy.length(copy.coefficients).clamp_min(1e-6)
        pixels = found * copy.unit * copy.factor
        return Correction(pixels, float(length), (before, float(misfit().detach())))


@dataclass(frozen=True)
class _Copy:
    """A picture and its paths, small enough to work on.

    Attributes
    ----------
    photo, sharp : Tensor
        (1, 1, h, w) grey, linear light.
    coefficients : Tensor
        (1, 2 * degree, h, w) in pixels of the copy.
    factor : float
        Pixels of the picture per pixel of the copy.
    unit : float
        What a correction of 1 means, in pixels of the copy: the motion that is there.
    """

    photo: Tensor
    sharp: Tensor
    coefficients: Tensor
    factor: float
    unit: float = 1.0

    def residual(self, grid: Tensor) -> Tensor:
        """What the film, its paths corrected by `grid`, does not explain: gradients, (1, 2, h, w)."""
        frames = warp(self.sharp, follow_back(self.corrected(grid), frame_times(FRAMES).to(grid.device)))
        return _gradient(integrate(frames) - self.photo)

    def corrected(self, grid: Tensor) -> Tensor:
        """The coefficients with a correction."""
        return self.coefficients + self.unit * self.enlarged(grid)

    def enlarged(self, grid: Tensor) -> Tensor:
        """A grid over the copy."""
        return _enlarged(grid, self.photo.shape[-2:])

    def length(self, coefficients: Tensor) -> Tensor:
        """How far things move between the ends of the exposure, where there is texture: pixels of the copy."""
        ends = path_at(coefficients, torch.tensor([0.0, 1.0], device=coefficients.device))
        texture = _gradient(self.photo).norm(dim=1)
        way = (ends[:, 1] - ends[:, 0]).norm(dim=1)
        return (way * texture).sum() / texture.sum().clamp_min(1e-6)

    def shrunk(self, factor: float) -> _Copy:
        """A copy of the copy with `factor` times fewer rows and columns, at least 8."""
        height, width = self.photo.shape[-2:]
        size = tuple(max(round(side / factor), min(side, 8)) for side in (height, width))
        photo, sharp, coefficients = (
            F.interpolate(each, size, mode="area") for each in (self.photo, self.sharp, self.coefficients)
        )
        return _Copy(photo, sharp, coefficients / factor, self.factor * factor)


def _copied(blurry: Tensor, state: Tensor, response: Response) -> _Copy:
    photo, sharp = (_grey(image, response) for image in (blurry.to(state.device), state[:, :3]))
    copy = _Copy(photo, sharp, state[:, 3:].float(), 1.0)
    copy = copy.shrunk(max(sqrt(photo.numel() / MOST_PIXELS), 1.0))
    if copy.factor * float(copy.length(copy.coefficients)) >= LONG:
        copy = copy.shrunk(max(2.0 / copy.factor, 1.0))
    smallest = 0.5 / copy.factor
    return replace(copy, unit=max(float(copy.length(copy.coefficients)), smallest))


def _grey(image: Tensor, response: Response) -> Tensor:
    return to_linear(image.float().clamp(0, 1), response).mean(1, keepdim=True)


def _gradient(light: Tensor) -> Tensor:
    """(1, 1, H, W) to differences to the right and downwards, (1, 2, H, W)."""
    return torch.cat((F.pad(light.diff(dim=-1), (0, 1)), F.pad(light.diff(dim=-2), (0, 0, 0, 1))), 1)


def _enlarged(grid: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(grid, tuple(size), mode="bicubic", align_corners=True)


def _check(blurry: Tensor, state: Tensor) -> None:
    if blurry.ndim != 4 or blurry.shape[:2] != (1, 3):
        raise ValueError(f"a picture is (1, 3, H, W), got {tuple(blurry.shape)}")
    if state.ndim != 4 or state.shape[0] != 1 or state.shape[1] < 5 or state.shape[1] % 2 == 0:
        raise ValueError(f"a state with paths is (1, 3 + 2 * degree, H, W), got {tuple(state.shape)}")
    if state.shape[-2:] != blurry.shape[-2:]:
        raise ValueError(f"sizes differ: {tuple(blurry.shape)} and {tuple(state.shape)}")
