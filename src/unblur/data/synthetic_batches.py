"""Endless training exposures from a handful of stills."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.data.stills import Still
from unblur.exposure.average import frame_times
from unblur.exposure.camera import MotionSpec, Path, random_path
from unblur.exposure.response import Response
from unblur.exposure.synthetic_exposure import SensorSpec, random_masks, render

SCALE = 1.2
"""Pixels of a still's patch per pixel of the exposure: hides the softness of bilinear sampling."""


class SyntheticExposures:
    """Training batches that are a function of (seed, step) alone.

    Every exposure takes a random part of a random still, shrunk, mirrored, turned by quarters and re-exposed at
    random, and moves it along a random smooth path, half of them with something else moving in front.

    Parameters
    ----------
    stills : sequence of Still
        Sharp pictures.
    size : int
        Side of the exposures in pixels.
    batch_size : int
        Exposures per batch.
    times : int
        Frames per exposure: the middle one (t = 0.5) first, then random ones, every fourth of them an end of the
        exposure.
    grid : bool
        Let the frames stand at i / (times - 1) instead.
    motion, sensor : MotionSpec, SensorSpec
        See `exposure.synthetic_exposure.render`.
    response : {"srgb", "gamma", "linear"}
        The camera's response.
    shrink : float
        Largest random shrinking of a still.
    step : float
        Pixels between averaged instants.
    shared_motion : int
        So many exposures that follow each other have different pictures and the very same motion; a divisor of
        `batch_size`.
    seed : int
        Two sources of one seed are the same.
    """

    def __init__(
        self,
        stills: Sequence[Still],
        *,
        size: int = 128,
        batch_size: int = 8,
        times: int = 3,
        grid: bool = False,
        motion: MotionSpec | None = None,
        sensor: SensorSpec | None = None,
        response: Response = "srgb",
        shrink: float = 2.0,
        step: float = 1.0,
        shared_motion: int = 1,
        seed: int = 0,
    ) -> None:
        if not stills:
            raise ValueError("at least one still is needed")
        if shared_motion < 1 or batch_size % shared_motion:
            raise ValueError(f"shared_motion must divide batch_size, got {shared_motion} and {batch_size}")
        self.pixels = [still.pixels for still in stills]
        self._shares = _shares(stills)
        self.size, self.batch_size, self.times, self.grid = size, batch_size, times, grid
        self.motion, self.sensor, self.response = motion or MotionSpec(), sensor or SensorSpec(), response
        self.shrink, self.step, self.shared_motion, self.seed = shrink, step, shared_motion, seed
        margin = ceil(0.7 * self.motion.length[1])
        self.patch = ceil((size + margin) * SCALE)

    def batch(self, step: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Batch number `step`: blurry (B, 3, S, S), frames (B, T, 3, S, S), times (B, T), paths (B, T, 2, S, S).

        And, where it is above 1, ``shared_motion``.
        """
        rng = np.random.default_rng((self.seed, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        patches = np.stack([self._patch(rng) for _ in range(2 * self.batch_size)])
        stills = torch.from_numpy(patches).to(device).permute(0, 3, 1, 2).float() / 255
        exposure = render(
            stills[: self.batch_size],
            (self.size, self.size),
            self._times(generator),
            self.motion,
            self.sensor,
            foreground=stills[self.batch_size :],
            response=self.response,
            step=self.step,
            scale=SCALE,
            shared_motion=self.shared_motion,
            generator=generator,
        )
        return {
            "blurry": exposure.blurry,
            "frames": exposure.frames,
            "times": exposure.times,
            "paths": exposure.displacements,
            **({"shared_motion": torch.tensor(self.shared_motion)} if self.shared_motion > 1 else {}),
        }

    def _times(self, generator: torch.Generator) -> Tensor:
        if self.grid:
            return frame_times(self.times).expand(self.batch_size, -1)
        times = torch.rand(self.batch_size, self.times, generator=generator)
        ends = torch.rand(self.batch_size, self.times, generator=generator) < 0.25
        times = torch.where(ends, times.round(), times)
        times[:, 0] = 0.5
        return times

    def _patch(self, rng: np.random.Generator) -> np.ndarray:
        """(P, P, 3) uint8 out of a random still."""
        still = self.pixels[rng.choice(len(self.pixels), p=self._shares)]
        shortest = min(still.shape[:2])
        shrink = float(np.clip(rng.uniform(1.0, self.shrink), None, max(1.0, shortest / self.patch)))
        side = min(shortest, round(self.patch * shrink))
        top, left = (int(rng.integers(n - side + 1)) for n in still.shape[:2])
        patch = still[top : top + side, left : left + side]
        way = cv2.INTER_AREA if side > self.patch else cv2.INTER_CUBIC
        patch = cv2.resize(patch, (self.patch, self.patch), interpolation=way)
        patch = np.rot90(patch, int(rng.integers(4)))
        patch = patch[:, ::-1] if rng.random() < 0.5 else patch
        gain = rng.uniform(0.7, 1.15)
        return np.clip(np.rint(patch * gain), 0, 255).astype(np.uint8)


def _shares(stills: Sequence[Still]) -> np.ndarray:
    """How often each still is drawn: larger ones more often, and each of a clip's less often than a photo.

    The frames of a clip show one place; together they count as the square root of their number.
    """
    sources = [still.source.split("#")[0] for still in stills]
    alike = Counter(sources)
    weights = [
        min(still.pixels.shape[:2]) / alike[source] ** 0.5 for still, source in zip(stills, sources, strict=True)
    ]
    return np.array(weights) / sum(weights)


SAMPLES = 17
FINE = 4
"""Places along each side of a patch at which paths are looked at, where a thing stands in front."""


class SyntheticFields:
    """Batches of path fields that are a function of (seed, step) alone.

    Each is a random part of a picture of random size, moved as `exposure.camera` moves pictures, some with a thing in
    front that moves by itself.

    Parameters
    ----------
    size : int
        Side in patches.
    batch_size : int
        Fields per batch.
    degree : int
        Of the paths; see `layers.paths`.
    patch : int
        Pixels of a patch.
    pictures : (int, int)
        Range of the sides of the pictures that the fields are parts of, pixels; larger pictures turn and zoom more
        evenly.
    motion : MotionSpec
        What motion to draw.
    noise : float
        Largest standard deviation, in pixels, of what an encoder's eye gets wrong.
    seed : int
        Two sources of one seed are the same.
    """

    def __init__(
        self,
        size: int = 24,
        batch_size: int = 32,
        degree: int = 3,
        patch: int = 16,
        pictures: tuple[int, int] = (256, 1024),
        motion: MotionSpec | None = None,
        noise: float = 0.3,
        seed: int = 0,
    ) -> None:
        self.size, self.batch_size, self.degree, self.patch = size, batch_size, degree, patch
        self.pictures, self.noise, self.seed = pictures, noise, seed
        self.motion = motion or MotionSpec(length=(0.0, 40.0), power=1.6)
        tau = 2 * frame_times(SAMPLES) - 1
        self._fit = torch.linalg.pinv(torch.stack([tau**k for k in range(1, degree + 1)], 1))

    def with_(self, size: int, motion: MotionSpec) -> SyntheticFields:
        """The same of another size, with other motion."""
        return SyntheticFields(
            size, self.batch_size, self.degree, self.patch, self.pictures, motion, self.noise, self.seed
        )

    def batch(self, step: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Batch number `step`: ``field`` (B, 2 * degree, size, size) in pixels, and ``seen``, the same with noise."""
        generator = torch.Generator().manual_seed(hash((self.seed, step)) % 2**63)
        parts = [self._field(generator) for _ in range(self.batch_size)]
        field = torch.stack(parts)
        spread = self.noise * torch.rand(self.batch_size, 1, 1, 1, generator=generator)
        coarse = torch.randn(self.batch_size, field.shape[1], self.size // 2, self.size // 2, generator=generator)
        rough = torch.randn(field.shape, generator=generator)
        smooth = F.interpolate(coarse, (self.size, self.size), mode="bilinear", align_corners=False)
        seen = field + spread * (rough + smooth) / 2**0.5
        return {"field": field.to(device), "seen": seen.to(device)}

    def _field(self, generator: torch.Generator) -> Tensor:
        extent = self.size * self.patch
        low, high = self.pictures
        side = max(int(torch.randint(low, high + 1, (), generator=generator)), 1)
        ground, front = random_path(2, side, side, self.motion, generator).split()
        # Where in the picture; a small one is looked at from farther away.
        room = max(side - extent, 0)
        corner = torch.rand(2, generator=generator) * room - max(side, extent) / 2
        if torch.rand((), generator=generator) >= self.motion.layer:
            return self._coefficients(ground, corner, 1)
        count = self.size * FINE
        mask = random_masks(1, (count, count), generator)[0] > 0.5
        moving, still = (self._coefficients(path, corner, FINE) for path in (front, ground))
        return F.avg_pool2d(torch.where(mask, moving, still)[None], FINE)[0]

    def _coefficients(self, path: Path, corner: Tensor, fine: int) -> Tensor:
        """Of the paths at the centres of patches, cut `fine` times: (2 * degree, size * fine, size * fine)."""
        count = self.size * fine
        at = (torch.arange(count) + 0.5) * (self.patch / fine)
        y, x = torch.meshgrid(at + corner[1], at + corner[0], indexing="ij")
        way = path.displacements(frame_times(SAMPLES), torch.stack((x, y), -1).reshape(-1, 2))[0]
        return torch.einsum("kt,tpc->kcp", self._fit, way).flatten(0, 1).unflatten(1, (count, count))
