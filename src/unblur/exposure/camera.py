"""Smooth random paths of a camera, or of a thing in front of it, during one exposure.

A path is a homography for every time: content at x in the middle frame stands at H(t) x at time t, with H(0.5) the
identity. It is made of shift, rotation, zoom and tilt; each follows a random smooth curve of time, a polynomial
drift plus a tremor of few low frequencies, as hands and heads move. Every curve is known in closed form, so a sharp
frame exists at any t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CURVES = 6  # shift x, shift y, rotation, log zoom, tilt x, tilt y
TREMORS = 3


@dataclass(frozen=True)
class MotionSpec:
    """What motion to draw.

    Parameters
    ----------
    length : (float, float)
        The path's length over the exposure in pixels of the picture, averaged over the picture.
    power : float
        The length is low + (high - low) u ** power with uniform u: above 1, short motion is more frequent than long.
    rotation, zoom, tilt : float
        Typical motion at the picture's rim caused by each, relative to the shift's.
    tremor : float
        Strength of the tremor relative to the drift: 0 gives nearly straight, steady paths.
    layer : float
        Probability that a separately moving thing stands in front.
    """

    length: tuple[float, float] = (2.0, 28.0)
    power: float = 1.0
    rotation: float = 0.3
    zoom: float = 0.2
    tilt: float = 0.1
    tremor: float = 0.35
    layer: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.length
        if not 0 <= low <= high:
            raise ValueError(f"length must be (low, high) with 0 <= low <= high, got {self.length}")
        if self.power <= 0:
            raise ValueError(f"power must be above 0, got {self.power}")
        if not 0 <= self.layer <= 1:
            raise ValueError(f"layer is a probability, got {self.layer}")


@dataclass(frozen=True)
class Path:
    """`B` random paths for pictures of `height` x `width` pixels.

    The six curves are c(t) = s * (a tau + b tau^2 + sum_k w_k (sin(f_k tau + p_k) - sin(p_k))), tau = 2 t - 1,
    mirrored in time where `reverse` says so.
    """

    drift: Tensor  # (B, 6, 2): a, b
    tremor: Tensor  # (B, 6, 3, 3): w, f, p
    scale: Tensor  # (B,)
    reverse: Tensor  # (B,) bool
    height: int
    width: int

    def homographies(self, times: Tensor) -> Tensor:
        """H(t), (B, T, 3, 3), for `times` (T,) or (B, T), acting on pixels measured from the picture's centre."""
        b = self.scale.shape[0]
        t = times.expand(b, -1) if times.ndim == 1 else times
        tau = 2 * t - 1
        tau = torch.where(self.reverse[:, None], -tau, tau)[:, None]  # (B, 1, T)
        a, c = self.drift[..., 0, None], self.drift[..., 1, None]
        w, f, p = (self.tremor[..., i, None] for i in range(3))
        tremor = (w * (torch.sin(f * tau[:, :, None] + p) - torch.sin(p))).sum(2)
        curves = self.scale[:, None, None] * (a * tau + c * tau**2 + tremor)  # (B, 6, T)
        return _compose(curves, max(self.height, self.width) / 2)

    def displacements(self, times: Tensor, points: Tensor) -> Tensor:
        """Where content at `points` of the middle frame stands at `times`, minus `points`: (B, T, P, 2) in pixels
        (x, y).

        `points` is (P, 2), pixels from the picture's centre.
        """
        return project(self.homographies(times), points) - points

    def lengths(self, samples: int = 33) -> Tensor:
        """The length of each path in pixels, averaged over the picture, (B,)."""
        way = self.displacements(torch.linspace(0, 1, samples, device=self.scale.device), self.grid())
        return way.diff(dim=1).norm(dim=-1).sum(1).mean(-1)

    def net(self) -> Tensor:
        """The mean way from t = 0 to t = 1 over the picture, (B, 2) pixels (x, y)."""
        way = self.displacements(torch.tensor([0.0, 1.0], device=self.scale.device), self.grid())
        return (way[:, 1] - way[:, 0]).mean(1)

    def grid(self, side: int = 5) -> Tensor:
        """(side * side, 2) points spread over the picture, pixels from its centre."""
        device = self.scale.device
        y = torch.linspace(-0.45, 0.45, side, device=device) * self.height
        x = torch.linspace(-0.45, 0.45, side, device=device) * self.width
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        return torch.stack((xx, yy), -1).reshape(-1, 2)

    def with_(self, **changes: Tensor) -> Path:
        """A copy with some fields changed."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Path(**(fields | changes))

    def to(self, device: torch.device | str) -> Path:
        """A copy on `device`."""
        return self._each(lambda field: field.to(device))

    def split(self) -> list[Path]:
        """Each path by itself."""
        return [self.of(torch.tensor([i])) for i in range(len(self.scale))]

    def of(self, chosen: Tensor) -> Path:
        """The chosen (B',) paths alone."""
        return self._each(lambda field: field[chosen])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Path:
        return self.with_(**{name: change(getattr(self, name)) for name in ("drift", "tremor", "scale", "reverse")})


def random_path(
    count: int, height: int, width: int, spec: MotionSpec, generator: torch.Generator | None = None
) -> Path:
    """Draw `count` paths for pictures of `height` x `width` pixels.

    The generator is a CPU one whatever the device that renders, so that a seed means the same motion everywhere.
    """
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    strength = torch.tensor([1.0, 1.0, spec.rotation, spec.zoom, spec.tilt, spec.tilt])
    drift = torch.stack((normal(count, CURVES), 0.25 * normal(count, CURVES)), -1) * strength[:, None]
    frequency = torch.pi * (0.5 + 2.0 * uniform(count, CURVES, TREMORS))
    weight = spec.tremor * normal(count, CURVES, TREMORS) * strength[:, None] / frequency
    phase = 2 * torch.pi * uniform(count, CURVES, TREMORS)
    low, high = spec.length
    wanted = low + (high - low) * uniform(count) ** spec.power
    path = Path(
        drift,
        torch.stack((weight, frequency, phase), -1),
        torch.full((count,), 1e-2),
        torch.zeros(count, dtype=torch.bool),
        height,
        width,
    )
    # Length grows all but linearly with the scale: two corrections reach it to a fraction of a percent.
    for _ in range(3):
        path = path.with_(scale=path.scale * wanted / path.lengths().clamp_min(1e-6))
    return path


def is_canonical(dx: Tensor | float, dy: Tensor | float) -> Tensor:
    """Whether a net motion of content by (dx, dy) pixels runs in the canonical direction of time.

    The blurry picture does not tell which end of the exposure came first, so training needs a convention: the
    dominant motion runs left to right, or top to bottom where the vertical part dominates. That is the sign of dx +
    dy. No motion counts as canonical.
    """
    return (torch.as_tensor(dx) + torch.as_tensor(dy)) >= 0


def project(homographies: Tensor, points: Tensor) -> Tensor:
    """Apply (B, T, 3, 3) to points (P, 2): (B, T, P, 2)."""
    ones = torch.ones_like(points[:, :1])
    moved = torch.cat((points, ones), 1) @ homographies.transpose(-1, -2)
    return moved[..., :2] / moved[..., 2:]


def _compose(curves: Tensor, radius: float) -> Tensor:
    """Curves (B, 6, T) in pixels at the rim to homographies (B, T, 3, 3)."""
    dx, dy, rotation, zoom, tilt_x, tilt_y = curves.unbind(1)
    angle, growth = rotation / radius, torch.exp(zoom / radius)
    cos, sin = growth * torch.cos(angle), growth * torch.sin(angle)
    one = torch.ones_like(dx)
    rows = (cos, -sin, dx, sin, cos, dy, tilt_x / radius**2, tilt_y / radius**2, one)
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
