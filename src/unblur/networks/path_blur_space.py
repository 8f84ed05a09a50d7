"""A space of blurs whose codes are motion: the small blur space, which any CPU can run and train.

Tran et al. (CVPR 2021) learn a code for whatever turns a sharp picture into a blurry one, and a network that applies
it. What turns one into the other while the shutter is open is known, though: every point moves along a path, and the
light adds up. Here a code describes the paths, so that the operator needs to learn nothing of pictures: it moves the
sharp picture along the decoded paths and averages in linear light. What is learned is the space: which fields of paths
cameras and things make, one code for every 128 x 128 pixels.

The encoder reads paths from a pair of pictures (`spectral_motion.SpectralMotion`, then steps of Gauss and Newton on
what they leave unexplained), and folds them into a variational code (Kingma and Welling, 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.exposure.average import frame_times, trapezoid_weights
from unblur.exposure.camera import is_canonical
from unblur.exposure.response import Response, from_linear, to_linear
from unblur.layers.bands import in_bands
from unblur.layers.padding import crop, pad_to_multiple
from unblur.layers.paths import follow_back, net_motion, path_at, reverse_time, warp
from unblur.layers.resample import stretched
from unblur.networks.kinds import BlurSpaceNetwork, Code
from unblur.networks.spectral_motion import PIXELS, SpectralMotion, gauss_newton
from unblur.networks.unet import residual_stack

CELL, PATCH = 128, 16
"""Pixels per code, and per path of a field."""
INSTANTS = (9, 65)
"""Least and most that an exposure is averaged from; between them about one for every pixel of the longest path."""
COARSE = 4
"""Pixels between places where paths are followed back, when a code's blur is put on."""
BAND = 2**19
"""Pixels."""
DARKEST = 1e-5
"""Of linear light: below, the slope of the camera's response has no bound."""


class PathBlurSpace(nn.Module, BlurSpaceNetwork):
    """Blur encoder and reblur operator on fields of paths.

    Parameters
    ----------
    channels : int
        Numbers in a code.
    degree : int
        Of the paths, see `layers.paths`.
    widths, blocks : sequence of int
        Channels and residual blocks of the two networks that fold and unfold fields, at 16, 32, 64 and 128 pixels.
    spectral : dict, optional
        Constructor arguments of `spectral_motion.SpectralMotion`.
    features : int
        Channels of the spectral estimate.
    gauss_newton_steps : int
        Steps of Gauss and Newton that follow the spectral estimate.
    response : {"srgb", "gamma", "linear"}
        Of the camera.
    """

    has_paths = True
    cell = CELL
    variational = True
    is_local = True
    prior_mean: Tensor
    prior_factor: Tensor
    prior_nearness: Tensor
    known_mean: Tensor
    known_factor: Tensor

    def __init__(
        self,
        channels: int = 64,
        degree: int = 3,
        widths: Sequence[int] = (64, 96, 128, 192),
        blocks: Sequence[int] = (3, 2, 2, 2),
        spectral: dict | None = None,
        features: int = 128,
        gauss_newton_steps: int = 4,
        response: Response = "srgb",
    ) -> None:
        super().__init__()
        if len(widths) != 4 or len(blocks) != 4:
            raise ValueError(f"four widths and blocks are needed, got {widths} and {blocks}")
        self.arguments: dict[str, object] = {
            "channels": channels,
            "degree": degree,
            "widths": list(widths),
            "blocks": list(blocks),
            "spectral": spectral,
            "features": features,
            "gauss_newton_steps": gauss_newton_steps,
            "response": response,
        }
        self.channels, self.degree, self.gauss_newton_steps = channels, degree, gauss_newton_steps
        self.response: Response = response
        self.spectral = SpectralMotion(PATCH, features, degree, **(spectral or {}))
        self.fold = Fold(2 * degree, 2 * channels, widths, blocks)
        self.unfold = Unfold(channels, 2 * degree, widths, blocks)
        # Statistics of the codes of camera motion, and of all training fields; see `draw` and `distance`.
        self.register_buffer("prior_mean", torch.zeros(channels))
        self.register_buffer("prior_factor", torch.eye(channels))
        self.register_buffer("prior_nearness", torch.zeros(channels))
        self.register_buffer("known_mean", torch.zeros(channels))
        self.register_buffer("known_factor", torch.eye(channels))

    @property
    def mean_code(self) -> Tensor:
        """(channels,), the mean of the codes of cameras' fields."""
        return self.prior_mean

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the code of a picture."""
        return ceil(height / CELL), ceil(width / CELL)

    def encode(self, sharp: Tensor, blurry: Tensor) -> Code:
        """The blur between two pictures.

        Parameters
        ----------
        sharp, blurry : Tensor
            (B, 3, H, W) in [0, 1], any size.

        Returns
        -------
        Code
            (B, channels, ceil(H / 128), ceil(W / 128)).
        """
        return self.encode_paths(self.read(sharp, blurry))

    def read(self, sharp: Tensor, blurry: Tensor) -> Tensor:
        """The field of paths between two pictures, without the code: (B, 2 * degree, ceil(H / 16), ceil(W / 16)),
        pixels.
        """
        _check_pair(sharp, blurry)
        pair, _ = pad_to_multiple(torch.cat((blurry, sharp), 1), PATCH)
        blurry, sharp = pair[:, :3], pair[:, 3:]
        *_, guess = self.spectral.guesses(*self.spectral.extract(blurry, sharp))
        with torch.autocast(blurry.device.type, enabled=False):
            field = PIXELS * guess.float()
            light = to_linear(torch.stack((blurry, sharp), 1).float().clamp(0, 1), self.response).mean(2)
            for _ in range(self.gauss_newton_steps):
                step, _ = gauss_newton(light, field)
                field = field + step
        return field

    def encode_paths(self, field: Tensor) -> Code:
        """The code of a field of paths, (B, 2 * degree, h, w) in pixels, one for each 16 x 16.

        A field and its time reversal blur alike; both are given the code of the canonical one.
        """
        field = canonical(field)
        rows, columns = (-side % (CELL // PATCH) for side in field.shape[-2:])
        # What lies beyond a picture moves like its rim. Reflection would turn the motion round.
        field = F.pad(field, (0, columns, 0, rows), mode="replicate")
        mean, log_variance = self.fold(field / PIXELS).float().chunk(2, 1)
        return Code(mean, log_variance.clamp(-12, 4))

    def paths(self, code: Tensor) -> Tensor:
        """The field of a code, (B, channels, h, w) to (B, 2 * degree, 8 h, 8 w) in pixels, one for each 16 x 16."""
        return PIXELS * self.unfold(code)

    def coefficients(self, code: Tensor, height: int, width: int) -> Tensor:
        """The path of every pixel of a picture, (B, 2 * degree, H, W)."""
        self._check_code(code, height, width)
        with torch.autocast(code.device.type, enabled=False):
            return crop(self._enlarged(code, PATCH), (height, width))

    def _enlarged(self, code: Tensor, factor: int) -> Tensor:
        return F.interpolate(self.paths(code.float()), scale_factor=factor, mode="bilinear", align_corners=False)

    def _check_code(self, code: Tensor, height: int, width: int) -> None:
        if code.ndim != 4 or code.shape[1] != self.channels or tuple(code.shape[-2:]) != self.grid(height, width):
            wanted = (self.channels, *self.grid(height, width))
            raise ValueError(f"a picture of {height} x {width} has a code of {wanted}, got {tuple(code.shape[1:])}")

    def displacements(self, code: Tensor, times: Tensor, size: tuple[int, int]) -> Tensor:
        """Where what is seen at `times` (T,) or (B, T) stands in the sharp picture: (B, T, 2, H, W) pixels."""
        return follow_back(self.coefficients(code, *size), times)

    def reblur(self, sharp: Tensor, code: Tensor) -> Tensor:
        """Move a picture along the paths of a code, and average its light at as many instants as they are long.

        Parameters
        ----------
        sharp : Tensor
            (B, 3, H, W) in [0, 1], any size.
        code : Tensor
            (B, channels, ceil(H / 128), ceil(W / 128)); see `fitted` for a code of another size.

        Returns
        -------
        Tensor
            (B, 3, H, W) in [0, 1].

        Raises
        ------
        ValueError
            If the code is not of that size.
        """
        self._check_code(code, *sharp.shape[-2:])
        with torch.autocast(code.device.type, enabled=False):
            paths = self._enlarged(code, PATCH // COARSE)
        return self.expose(sharp, paths, coarse=COARSE)

    def expose(self, sharp: Tensor, paths: Tensor, instants: int | None = None, coarse: int = 1) -> Tensor:
        """The same along given paths, (B, 2 * degree, >= H / coarse, >= W / coarse) in pixels of the picture."""
        with torch.autocast(sharp.device.type, enabled=False):
            light, paths = to_linear(sharp.float().clamp(0, 1), self.response), paths.float()
            count = instants or self._instants(paths[..., :: PATCH // coarse, :: PATCH // coarse])
            light, size = pad_to_multiple(light, coarse)
            paths = crop(paths, (light.shape[-2] // coarse, light.shape[-1] // coarse))
            reach = ceil(float(paths.detach().unflatten(1, (-1, 2)).abs().sum(1).amax()) / coarse) + 2
            state = torch.cat((F.pixel_unshuffle(light, coarse), paths), 1)
            # Bands that processors keep near them are several times faster than a large picture.
            mean = in_bands(lambda band: _integrate(band, count, coarse), state, BAND // coarse**2, reach)
            return from_linear(crop(mean, size).clamp(DARKEST, 1), self.response)

    @staticmethod
    def _instants(paths: Tensor) -> int:
        with torch.no_grad():
            ends = path_at(paths, frame_times(9).to(paths))
            longest = float(ends.diff(dim=1).norm(dim=2).sum(1).amax())
        return min(max(ceil(longest) + 1, INSTANTS[0]), INSTANTS[1])

    def fitted(self, code: Tensor, height: int, width: int, of: tuple[int, int] | None = None) -> Tensor:
        """A code read from a picture of another size, for one of this size.

        The field of paths is stretched over the picture, and folded into a code again. Paths keep their length in
        pixels. `of` is the height and width that the code was read at; by default as many as its cells hold.
        """
        same = tuple(code.shape[-2:]) == self.grid(height, width)
        if same and of in (None, (height, width)):
            return code
        read = of or tuple(CELL * side for side in code.shape[-2:])
        # Nothing is known beyond the picture that the code was read from.
        field = crop(self.paths(code), (ceil(read[0] / PATCH), ceil(read[1] / PATCH)))
        size = ceil(height / PATCH), ceil(width / PATCH)
        return self.encode_paths(stretched(field, size, (read[0] / height, read[1] / width), PATCH)).mean

    def draw(self, count: int, height: int, width: int, generator: torch.Generator | None = None) -> Tensor:
        """Codes of blurs that never were, for pictures of this size: (count, channels, h, w).

        Normal, with the mean and the covariance of the codes of moving cameras, and between neighbouring cells the
        correlation of those; it falls off as a Gaussian. See `unblur.training.code_statistics`.
        """
        rows, columns = self.grid(height, width)
        # On the CPU, so that one seed means one blur everywhere. A Gaussian is that of rows times that of columns.
        down, across = (_root(self.prior_nearness.cpu().double(), side) for side in (rows, columns))
        noise = torch.randn(count, self.channels, rows, columns, generator=generator, dtype=torch.float64)
        spread = torch.einsum("cij,ckl,bcjl->bcik", down, across, noise).to(self.prior_factor)
        return torch.einsum("dc,bcij->bdij", self.prior_factor, spread) + self.prior_mean[:, None, None]

    def distance(self, code: Tensor) -> Tensor:
        """How far codes are from those of training fields, (B, h, w): Mahalanobis' distance by the root of the number
        of channels, so that it is about 1 for a blur that is known.
        """
        away = (code - self.known_mean[:, None, None]).flatten(2)
        white = torch.linalg.solve(self.known_factor, away)
        return white.square().mean(1).sqrt().unflatten(1, code.shape[-2:])


def _root(nearness: Tensor, side: int) -> Tensor:
    """Of the covariance of (C,) channels over a line of cells, a Gaussian's with `nearness` between neighbours:
    (C, side, side).
    """
    place = torch.arange(side, dtype=nearness.dtype)
    covariance = nearness[:, None, None] ** (place - place[:, None]).square()
    return torch.linalg.cholesky(covariance + 1e-6 * torch.eye(side, dtype=nearness.dtype))


def _integrate(state: Tensor, count: int, coarse: int) -> Tensor:
    """The mean light over `count` instants, (B, 3, H, W).

    `state` is (B, 3 * coarse^2 + 2 * degree, H / coarse, W / coarse): the light unshuffled, and its paths.
    """
    light, paths = F.pixel_shuffle(state[:, : 3 * coarse**2], coarse), state[:, 3 * coarse**2 :]
    mean = torch.zeros_like(light)
    # One instant after the other: no film is held, whatever the picture's size.
    for time, share in zip(frame_times(count).tolist(), trapezoid_weights(count).tolist(), strict=True):
        # Paths are smooth: they are followed on the coarse grid, in its pixels.
        back = coarse * follow_back(paths / coarse, torch.tensor([time], device=paths.device))[:, 0]
        if coarse > 1:
            back = F.interpolate(back, scale_factor=coarse, mode="bilinear", align_corners=False)
        mean = mean + share * warp(light, back[:, None])[:, 0]
    return mean


class Fold(nn.Module):
    """A field of paths, halved three times, to codes."""

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.intro = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.stacks = nn.ModuleList(residual_stack(w, n) for w, n in zip(widths, blocks, strict=True))
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths))
        self.outro = nn.Conv2d(widths[-1], outputs, 1)

    def forward(self, field: Tensor) -> Tensor:
        """(B, inputs, 8 h, 8 w) to (B, outputs, h, w)."""
        features = self.intro(field)
        for stack, shrink in zip(self.stacks, self.shrink, strict=False):
            features = shrink(stack(features))
        return self.outro(self.stacks[-1](features))


class Unfold(nn.Module):
    """Codes, doubled three times, to a field of paths."""

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.intro = nn.Conv2d(inputs, widths[-1], 3, padding=1)
        self.stacks = nn.ModuleList(residual_stack(w, n) for w, n in zip(widths, blocks, strict=True))
        self.grow = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairwise(widths))
        self.outro = nn.Conv2d(widths[0], outputs, 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, 8 h, 8 w)."""
        features = self.stacks[-1](self.intro(code))
        for stack, grow in zip(reversed(self.stacks[:-1]), reversed(self.grow), strict=True):
            features = stack(F.pixel_shuffle(grow(features), 2))
        # Positions are not for half of the precision.
        with torch.autocast(features.device.type, enabled=False):
            return self.outro(features.float())


def canonical(field: Tensor) -> Tensor:
    """Turn each field of (B, 2 * degree, h, w) to the canonical direction of time; see `exposure.camera`."""
    way = net_motion(field).mean((2, 3))
    kept = is_canonical(way[:, 0], way[:, 1])[:, None, None, None]
    return torch.where(kept, field, reverse_time(field))


def _check_pair(sharp: Tensor, blurry: Tensor) -> None:
    if sharp.shape != blurry.shape or sharp.ndim != 4 or sharp.shape[1] != 3:
        raise ValueError(f"two (B, 3, H, W) of one size are needed, got {tuple(sharp.shape)} and {tuple(blurry.shape)}")
