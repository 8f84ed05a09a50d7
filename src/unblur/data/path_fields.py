"""Fields of paths without any picture: what a space of blurs learns from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.exposure.average import frame_times
from unblur.exposure.camera import MotionSpec, Path, random_path
from unblur.exposure.synthetic_exposure import random_masks

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
