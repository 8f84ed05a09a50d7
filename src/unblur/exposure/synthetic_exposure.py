"""Exposures made from stills: every sharp frame of the exposure is known exactly, at any time.

Light is averaged, not stored values: stills are turned into linear light, highlights that the still had clipped are
raised again (a lamp is far brighter than white paper and leaves a streak), moved along a smooth path, averaged over the
exposure, and only then clipped and stored through the camera's response, with noise and JPEG where asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.exposure.average import quantise
from unblur.exposure.camera import MotionSpec, Path, is_canonical, project, random_path
from unblur.exposure.jpeg import jpeg
from unblur.exposure.response import Response, from_linear, to_linear


@dataclass(frozen=True)
class SensorSpec:
    """What the camera adds: ranges are drawn uniformly per picture.

    Parameters
    ----------
    highlights : (float, float)
        How many times brighter than white clipped highlights of the still really were.
    shot, read : (float, float)
        Noise: variance shot * light + read^2, in linear light.
    jpeg : (int, int) or None
        Range of the JPEG quality; None leaves the picture uncompressed.
    jpeg_share : float
        Probability of compression.
    levels : int or None
        Steps of the stored picture.
    """

    highlights: tuple[float, float] = (1.0, 4.0)
    shot: tuple[float, float] = (0.0, 0.0)
    read: tuple[float, float] = (0.0, 0.0)
    jpeg: tuple[int, int] | None = None
    jpeg_share: float = 0.5
    levels: int | None = 255


CLEAN = SensorSpec(highlights=(1.0, 1.0))


@dataclass(frozen=True)
class Exposure:
    """A batch of exposures and the truth about them."""

    blurry: Tensor
    """(B, 3, H, W) in [0, 1]."""
    frames: Tensor
    """(B, T, 3, H, W) in [0, 1]: the scene at `times`, free of noise."""
    times: Tensor
    """(B, T)."""
    displacements: Tensor
    """(B, T, 2, H, W) pixels (x, y): content seen at x in frame t stands at x + displacement in the middle frame."""


@dataclass(frozen=True)
class _Layer:
    """A picture that moves: `light` (B, 3 or 4, Hs, Ws), the fourth channel its opacity."""

    light: Tensor
    path: Path
    scale: float

    def at(self, times: Tensor) -> Tensor:
        """The layer as it looks at times (B, T): (B, T, C, H, W)."""
        b, t = times.shape
        height, width = self.path.height, self.path.width
        back = torch.linalg.inv(self.path.homographies(times))
        # Straight to grid_sample's coordinates: the still spans [-1, 1].
        ratio = self.light.new_tensor([2 * self.scale / self.light.shape[-1], 2 * self.scale / self.light.shape[-2], 1])
        grid = project(ratio[:, None] * back, _pixels(height, width, self.light.device))
        # One call with the times stacked in the grid samples each still where it lies, uncopied.
        light = F.grid_sample(
            self.light,
            grid.view(b, t * height, width, 2),
            mode="bilinear",
            padding_mode="reflection",
            align_corners=False,
        )
        return light.unflatten(2, (t, height)).transpose(1, 2)

    def back(self, times: Tensor) -> Tensor:
        """Displacements from the frames at `times` (B, T) to the middle frame, (B, T, 2, H, W) pixels."""
        height, width = self.path.height, self.path.width
        points = _pixels(height, width, self.light.device)
        middle = project(torch.linalg.inv(self.path.homographies(times)), points)
        return (middle - points).transpose(2, 3).unflatten(-1, (height, width))

    def of(self, chosen: Tensor) -> _Layer:
        """The layer of the chosen (B',) pictures of the batch alone."""
        return _Layer(self.light[chosen], self.path.of(chosen), self.scale)


@dataclass(frozen=True)
class _Scene:
    """A background, and something in front of it in the pictures `covered` (B',) of the batch."""

    ground: _Layer
    front: _Layer
    covered: Tensor

    def light(self, times: Tensor) -> Tensor:
        """(B, T, 3, H, W) at `times` (B, T)."""
        light = self.ground.at(times)
        if len(self.covered):
            colour, opacity = self.front.at(times[self.covered]).split((3, 1), dim=2)
            light[self.covered] += opacity * (colour - light[self.covered])
        return light

    def displacements(self, times: Tensor) -> Tensor:
        """(B, T, 2, H, W) of what is seen at `times` (B, T)."""
        back = self.ground.back(times)
        if len(self.covered):
            times = times[self.covered]
            seen = self.front.at(times)[:, :, 3:] > 0.5
            back[self.covered] = torch.where(seen, self.front.back(times), back[self.covered])
        return back

    def longest(self) -> float:
        """A bound on the path's length anywhere in the pictures, pixels."""
        paths = [self.ground.path, self.front.path] if len(self.covered) else [self.ground.path]
        return 1.5 * max(float(path.lengths(17).max()) for path in paths)


def render(
    stills: Tensor,
    size: tuple[int, int],
    times: Tensor,
    motion: MotionSpec,
    sensor: SensorSpec = CLEAN,
    *,
    foreground: Tensor | None = None,
    response: Response = "srgb",
    step: float = 1.0,
    scale: float = 1.0,
    canonical: bool = True,
    shared_motion: int = 1,
    generator: torch.Generator | None = None,
) -> Exposure:
    """Expose stills along random smooth paths.

    Parameters
    ----------
    stills : Tensor
        (B, 3, Hs, Ws) in [0, 1], stored values. Leave a margin of the path's length around `size`, else the rim is
        mirrored in.
    size : (int, int)
        Height and width of the exposures.
    times : Tensor
        (T,) or (B, T) in [0, 1]: when the sharp frames are wanted.
    motion, sensor : MotionSpec, SensorSpec
        What to draw.
    foreground : Tensor, optional
        (B, 3, Hs, Ws) stills for the moving things in front; by default the stills of the batch, shifted by one.
    response : {"srgb", "gamma", "linear"}
        The camera's response.
    step : float
        Largest motion in pixels between the instants that are averaged.
    scale : float
        Pixels of the still per pixel of the exposure; a little over 1 hides the softness of interpolation.
    canonical : bool
        Let the dominant motion run left to right, then top to bottom (see `camera.is_canonical`).
    shared_motion : int
        So many stills that follow each other are moved along the very same paths; a divisor of B.
    generator : torch.Generator, optional
        A CPU generator; the same seed gives the same exposures.
    """
    b, device = stills.shape[0], stills.device
    if shared_motion < 1 or b % shared_motion:
        raise ValueError(f"{b} stills cannot be moved in groups of {shared_motion}")
    times = (times.expand(b, -1) if times.ndim == 1 else times).to(device, torch.float32)
    highlights = _uniform(sensor.highlights, b, generator).to(device)
    scene = _scene(stills, foreground, size, motion, highlights, response, scale, canonical, shared_motion, generator)
    light = _expose(scene, instants=max(2, ceil(scene.longest() / step) + 1))
    return Exposure(
        blurry=_store(light, sensor, response, generator),
        frames=from_linear(scene.light(times).clamp(0, 1), response),
        times=times,
        displacements=scene.displacements(times),
    )


def _scene(
    stills: Tensor,
    foreground: Tensor | None,
    size: tuple[int, int],
    motion: MotionSpec,
    highlights: Tensor,
    response: Response,
    scale: float,
    canonical: bool,
    shared_motion: int,
    generator: torch.Generator | None,
) -> _Scene:
    b, device = len(stills) // shared_motion, stills.device
    rows = torch.arange(b).repeat_interleave(shared_motion)
    paths = [random_path(b, *size, motion, generator).of(rows) for _ in range(2)]
    has_layer = (torch.rand(b, generator=generator) < motion.layer)[rows]
    masks = random_masks(b, (stills.shape[-2], stills.shape[-1]), generator)[rows] * has_layer[:, None, None, None]
    cover = masks.mean((1, 2, 3))
    if canonical:
        net = paths[0].net() * (1 - cover)[:, None] + paths[1].net() * cover[:, None]
        reverse = ~is_canonical(net[:, 0], net[:, 1])
        paths = [path.with_(reverse=reverse) for path in paths]
    ground = _Layer(_raise(to_linear(stills, response), highlights), paths[0].to(device), scale)
    front = stills.roll(1, 0) if foreground is None else foreground
    light = torch.cat((_raise(to_linear(front, response), highlights), masks.to(device)), 1)
    covered = has_layer.nonzero()[:, 0].to(device)
    return _Scene(ground, _Layer(light, paths[1].to(device), scale).of(covered), covered)


def _expose(scene: _Scene, instants: int, chunk: int = 8) -> Tensor:
    """The mean light over `instants` instants with the ends at half weight (trapezoidal rule)."""
    ground = scene.ground.light
    times = torch.linspace(0, 1, instants, device=ground.device)
    weights = torch.full((instants,), 1 / (instants - 1), device=ground.device)
    weights[0] = weights[-1] = 0.5 / (instants - 1)
    total = ground.new_zeros(())
    for some, weight in zip(times.split(chunk), weights.split(chunk), strict=True):
        light = scene.light(some.expand(ground.shape[0], -1))
        total = total + torch.einsum("btchw,t->bchw", light, weight)
    return total


def _store(light: Tensor, sensor: SensorSpec, response: Response, generator: torch.Generator | None) -> Tensor:
    b, device = light.shape[0], light.device
    shot = _uniform(sensor.shot, b, generator).to(device)[:, None, None, None]
    read = _uniform(sensor.read, b, generator).to(device)[:, None, None, None]
    if sensor.shot[1] > 0 or sensor.read[1] > 0:
        noise = torch.randn(light.shape, generator=generator).to(device)
        light = light + noise * (shot * light.clamp(0, 1) + read**2).sqrt()
    stored = from_linear(light.clamp(0, 1), response)
    if sensor.jpeg is not None:
        low, high = sensor.jpeg
        quality = torch.randint(low, high + 1, (b,), generator=generator)
        chosen = (torch.rand(b, generator=generator) < sensor.jpeg_share).to(device)
        stored = torch.where(chosen[:, None, None, None], jpeg(stored, quality.to(device)), stored)
    return quantise(stored, sensor.levels) if sensor.levels else stored


def random_masks(count: int, size: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Opacities of things with soft edges, (B, 1, H, W) in [0, 1]: blobs that cover from a tenth to half of the
    picture.
    """
    height, width = size
    coarse = torch.randn(count, 1, 5, 5, generator=generator)
    field = F.interpolate(coarse, size, mode="bicubic", align_corners=False)
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)
    centre = torch.rand(count, 2, 1, 1, generator=generator) - 0.5
    bump = -((x - centre[:, :1]) ** 2 + (y - centre[:, 1:]) ** 2)
    field = field * 0.5 + 1.5 * bump
    cover = 0.1 + 0.4 * torch.rand(count, generator=generator)
    level = torch.stack([f[:, ::4, ::4].flatten().quantile(1 - c) for f, c in zip(field, cover, strict=True)])
    # The slope sets the edge's width to between one and three pixels.
    slope = field.diff(dim=-1).abs().mean((1, 2, 3)).clamp_min(1e-4)
    width_px = 1 + 2 * torch.rand(count, generator=generator)
    return torch.sigmoid(4 * (field - level[:, None, None, None]) / (slope * width_px)[:, None, None, None])


def _raise(light: Tensor, highlights: Tensor) -> Tensor:
    """Give clipped highlights (the last tenth below white) their brightness back, smoothly."""
    excess = ((light.amax(1, keepdim=True) - 0.9) / 0.1).clamp(0, 1) ** 2
    return light * (1 + (highlights[:, None, None, None] - 1) * excess)


def _pixels(height: int, width: int, device: torch.device) -> Tensor:
    """(H * W, 2) pixel centres (x, y) from the picture's centre."""
    y = torch.arange(height, device=device) - (height - 1) / 2
    x = torch.arange(width, device=device) - (width - 1) / 2
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((xx, yy), -1).reshape(-1, 2)


def _uniform(bounds: tuple[float, float], count: int, generator: torch.Generator | None) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=generator)
