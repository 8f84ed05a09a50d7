"""How long a motion is, which way it goes, and whether one camera movement explains it.

Its length is read from the photo's spectra (`analysis.blur_length`), the rest from a path field.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.analysis.blur_length import Length
from unblur.exposure.average import frame_times
from unblur.layers.paths import path_at

CELL = 16
"""Side in pixels of the places at which a field is looked at."""
INSTANTS = 9
"""Equally spaced over the exposure, at which paths are measured."""
TEXTURE = 4 / 255
"""Standard deviation in a place below which nothing can be seen to move."""
UNIFORM = 52.0
"""Standard deviation in degrees of directions that are uniform over half a turn."""


@dataclass(frozen=True)
class Motion:
    """The motion over one exposure, in pixels of the photo.

    Attributes
    ----------
    length, length_95 : float or None
        By which the photo is blurred, as its spectra tell: median and 95th percentile over the places with texture.
        None where they do not tell it.
    angle : float
        Degrees in [0, 180), 0 horizontal, 90 vertical, 45 from bottom left to top right; a photo does not tell a
        direction from its opposite.
    spread : float
        Degrees by which the places differ from `angle`; 0 all the same way, 52 (the most) every way alike.
    camera : float
        In [0, 1], the share of the motion that one smooth movement of the camera explains (shift, turn, zoom); low
        where things move on their own.
    path_length, path_length_95 : float
        Of the paths that the film follows, likewise: they are shorter, where the middle frame is still blurred.
    """

    length: float | None
    length_95: float | None
    angle: float
    spread: float
    camera: float
    path_length: float
    path_length_95: float

    def as_dict(self) -> dict[str, object]:
        """For a machine-readable report."""
        return {key: None if value is None else round(value, 3) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        way = f"at {self.angle:.0f} degrees"
        if self.length is None:
            return way
        return f"{self.length:.1f} px long (95 % under {self.length_95:.1f} px), {way}"


@dataclass(frozen=True)
class Field:
    """The paths at places `CELL` pixels apart.

    Attributes
    ----------
    paths : Tensor
        (T, 2, h, w): where the content of the middle frame stands at T times, pixels (x, y) from its place there.
    textured : Tensor
        (h, w) bool: where there is something to be seen.
    """

    paths: Tensor
    textured: Tensor

    @property
    def way(self) -> Tensor:
        """(2, h, w): how far everything goes from the opening of the shutter to its closing."""
        return self.paths[-1] - self.paths[0]

    def motion(self, length: Length | None = None) -> Motion:
        """The numbers, with the length that the spectra tell; over all places if none has texture."""
        chosen = self.textured if self.textured.any() else torch.ones_like(self.textured)
        paths = self.paths[:, :, chosen]
        lengths = paths.diff(dim=0).norm(dim=1).sum(0)
        net = (paths[-1] - paths[0]).T
        angle, spread = _angles(net)
        where = chosen.nonzero().flip(-1).float()
        median, most = lengths.quantile(lengths.new_tensor([0.5, 0.95])).tolist()
        told, told_most = (None, None) if length is None else (length.median, length.most)
        return Motion(told, told_most, angle, spread, _explained(net, where), median, most)


def measure_field(coefficients: Tensor, blurry: Tensor) -> Field:
    """A path field, thinned out.

    Parameters
    ----------
    coefficients : Tensor
        (2 * degree, H, W) in pixels, as `unblur.networks.path_film.MotionEstimator` gives them.
    blurry : Tensor
        (3, H, W) in [0, 1].
    """
    paths = path_at(_thin(coefficients).cpu()[None], frame_times(INSTANTS))[0]
    return Field(paths, textured(blurry))


def textured(image: Tensor) -> Tensor:
    """Which places, `CELL` pixels apart, of (3, H, W) have something to be seen: (h, w) bool, on the CPU."""
    grey = image.mean(0, keepdim=True)
    spread = (_thin(grey.square()) - _thin(grey).square()).clamp_min(0).sqrt()[0]
    return spread.cpu() > TEXTURE


def _thin(image: Tensor) -> Tensor:
    return F.avg_pool2d(image[None].float(), CELL, ceil_mode=True)[0]


def _angles(net: Tensor) -> tuple[float, float]:
    """Mean direction of (N, 2) vectors whose sign is free, and the spread about it, in degrees.

    Directions are doubled, averaged by length, and halved; the spread is that of a wrapped normal, half of
    sqrt(-2 ln R) (Mardia and Jupp, Directional Statistics, 2000), as far as a uniform one.
    """
    x, y = net[:, 0], -net[:, 1]  # rows run down, angles are counted upwards
    size = net.norm(dim=1).clamp_min(1e-9)
    cosine, sine = ((x * x - y * y) / size).sum(), (2 * x * y / size).sum()
    agreement = min(max(float(torch.hypot(cosine, sine) / size.sum()), 1e-9), 1.0)
    angle = math.degrees(math.atan2(float(sine), float(cosine))) / 2 % 180
    return angle, min(math.degrees(math.sqrt(-2 * math.log(agreement))) / 2, UNIFORM)


def _explained(net: Tensor, where: Tensor) -> float:
    """The share of (N, 2) vectors at places (N, 2) that an affine motion explains.

    The sign of each is free: they are turned to agree with the fit, and the fit is repeated; from the signs as they
    are, and from all in one half plane.
    """
    if len(net) <= 3 or not net.any():
        return 1.0
    centred = where - where.mean(0)
    basis = torch.cat((torch.ones(len(where), 1), centred / centred.abs().amax().clamp_min(1)), 1)
    basis, _ = torch.linalg.qr(basis)
    longest = net[net.norm(dim=1).argmax()]
    return max(_fitted(start, basis) for start in (net, _turned(net, longest)))


def _fitted(net: Tensor, basis: Tensor) -> float:
    for _ in range(4):
        smooth = basis @ (basis.T @ net)
        net = _turned(net, smooth)
    smooth = basis @ (basis.T @ net)
    return float((1 - (net - smooth).square().sum() / net.square().sum()).clamp(0, 1))


def _turned(net: Tensor, towards: Tensor) -> Tensor:
    return torch.where((net * towards).sum(1, keepdim=True) < 0, -net, net)
