"""Films from a sharp middle frame and the path of every pixel: the small network that any CPU can run and train.

The heavy work does not depend on the time: a restorer makes the sharp middle frame, a second network reads from
(blurry, sharp) how every pixel of that frame moved while the shutter was open. A frame at any time is then one warp
of the middle frame, so 51 frames cost little more than one.

The path is a polynomial in time. It belongs to the *content* of the middle frame, which is at x + p(x, t) at time t;
to draw the frame at t one needs, at every pixel, where its content comes from: the displacement u with u(x) = -p(x +
u(x), t), found by fixed-point iteration.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.exposure.camera import is_canonical
from unblur.layers.padding import crop, pad_to_multiple
from unblur.networks.evidence import Evidence
from unblur.networks.unet import UNet

PIXELS = 8.0
"""A network output of 1 is a motion of this many pixels: outputs of order one train best."""


class Restorer(nn.Module):
    """The sharp middle frame of an exposure.

    Parameters
    ----------
    widths, blocks : sequence of int
        See `unet.UNet`.
    """

    is_local = True

    def __init__(self, widths: Sequence[int] = (48, 96, 160, 208), blocks: Sequence[int] = (2, 2, 2, 3)) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {"widths": list(widths), "blocks": list(blocks)}
        self.unet = UNet(3, 12, widths, blocks)
        self.tile_overlap = 12 * self.unet.multiple

    def forward(self, blurry: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to the same, sharp, unclamped; any size."""
        padded, size = pad_to_multiple(blurry, self.unet.multiple)
        correction = F.pixel_shuffle(self.unet(padded - 0.5), 2)
        return blurry + crop(correction, size)


class PathNet(nn.Module):
    """The path of every pixel over the exposure, from the blurry picture and its sharp middle frame.

    Parameters
    ----------
    degree : int
        Degree of the polynomial in tau = 2 t - 1.
    widths, blocks : sequence of int
        See `unet.UNet`.
    evidence : dict, optional
        Constructor arguments of `evidence.Evidence`, whose guess the U-Net then corrects; without, it is on its own.
    """

    is_local = True

    def __init__(
        self,
        degree: int = 3,
        widths: Sequence[int] = (32, 64, 96, 128),
        blocks: Sequence[int] = (1, 2, 2, 4),
        evidence: dict | None = None,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {
            "degree": degree,
            "widths": list(widths),
            "blocks": list(blocks),
            "evidence": evidence,
        }
        self.degree = degree
        self.unet = UNet(6, 2 * degree, widths, blocks)
        self.evidence = None
        if evidence is not None:
            self.evidence = Evidence(self.unet.multiple, widths[-1], 2 * degree, **evidence)
        self.tile_overlap = 16 * self.unet.multiple

    def survey(self, blurry: Tensor, sharp: Tensor) -> Tensor | None:
        """What the evidence says of a whole picture, which no tile of it could: where motion agrees.

        Two (B, 3, H, W) to (B, K, ceil(H / cell), ceil(W / cell)), for `forward`; None without evidence. In bands: the
        memory that it takes beside the pictures hardly grows with them.
        """
        if self.evidence is None:
            return None
        padded = (pad_to_multiple(image, self.unet.multiple)[0] for image in (blurry, sharp))
        return torch.cat([part.float() for part in self.evidence(*padded)], 1)

    def forward(
        self, blurry: Tensor, sharp: Tensor, surveyed: Tensor | None = None, *, keep_guess: bool = False
    ) -> Tensor:
        """Two (B, 3, H, W) to path coefficients (B, 2 * degree, H, W) in pixels: x, y of tau, then of tau^2, ...

        `surveyed` is what `survey` says of these pixels; by default of them alone. `keep_guess` lets no gradient pass
        to the evidence.
        """
        pair, size = pad_to_multiple(torch.cat((blurry, sharp), 1), self.unet.multiple)
        blurry, sharp = pair[:, :3], pair[:, 3:]
        features = guess = None
        if surveyed is not None:
            features, guess = surveyed.tensor_split((-2 * self.degree,), 1)
        elif self.evidence is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not keep_guess):
                features, guess = self.evidence(blurry, sharp)
        # Motion is smooth: half resolution is enough, and in float32, as positions must be.
        coefficients = self.unet(torch.cat((blurry - sharp, sharp - 0.5), 1), features).float()
        if guess is not None:
            coefficients = coefficients + _enlarged(guess.float(), self.unet.multiple // 2)
        return crop(_enlarged(PIXELS * coefficients, 2), size)

    def guess(self, blurry: Tensor, sharp: Tensor) -> Tensor:
        """The coarse estimate alone: two (B, 3, H, W) to coefficients (B, 2 * degree, H / 8, W / 8) in pixels.

        H and W are multiples of the network's coarsest cell.
        """
        if self.evidence is None:
            raise ValueError("a path network without evidence makes no guess")
        _, guess = self.evidence(blurry, sharp)
        return _enlarged(PIXELS * guess.float(), self.unet.multiple / 8)


def _enlarged(image: Tensor, factor: float) -> Tensor:
    return F.interpolate(image, scale_factor=factor, mode="bilinear", align_corners=False)


class FilmNet(nn.Module):
    """One blurry picture to its sharp frames at any times: `Restorer` and `PathNet` together.

    Parameters
    ----------
    restorer, paths : dict, optional
        Constructor arguments of the two.
    iterations : int
        Fixed-point iterations when the paths are followed back.
    """

    is_local = True

    def __init__(self, restorer: dict | None = None, paths: dict | None = None, iterations: int = 2) -> None:
        super().__init__()
        self.restorer = Restorer(**(restorer or {}))
        self.paths = PathNet(**(paths or {}))
        self.iterations = iterations
        self.arguments: dict[str, object] = {
            "restorer": self.restorer.arguments,
            "paths": self.paths.arguments,
            "iterations": iterations,
        }
        self.multiple = max(self.restorer.unet.multiple, self.paths.unet.multiple)
        # Of `follow`; the restorer has tiles of its own, or is another one altogether.
        self.tile_overlap = self.paths.tile_overlap
        self.cell = self.paths.unet.multiple

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        """Blurry (B, 3, H, W) in [0, 1], times (T,) or (B, T) in [0, 1], to frames (B, T, 3, H, W), unclamped."""
        return self.decode(self.encode(blurry), times)

    def encode(self, blurry: Tensor) -> Tensor:
        """All that does not depend on the time: (B, 3 + 2 * degree, H, W), the sharp middle frame and the paths."""
        return self.orient(self.follow(blurry, self.restorer(blurry).float()))

    def survey(self, blurry: Tensor, sharp: Tensor) -> Tensor | None:
        """See `PathNet.survey`: a look at the whole picture, before `follow` is run on its tiles."""
        return self.paths.survey(blurry, sharp)

    def follow(self, blurry: Tensor, sharp: Tensor, surveyed: Tensor | None = None) -> Tensor:
        """What `encode` returns, from a sharp middle frame of any origin; time may still run either way."""
        return torch.cat((sharp, self.paths(blurry, sharp, surveyed)), 1)

    @staticmethod
    def orient(state: Tensor) -> Tensor:
        """Let time run in the canonical direction (`exposure.camera.is_canonical`), each picture for itself.

        The paths are trained up to their direction, which the photo does not show; the convention is applied here.
        """
        sharp, coefficients = state[:, :3], state[:, 3:]
        ends = path_at(coefficients, torch.tensor([0.0, 1.0], device=state.device))
        net = (ends[:, 1] - ends[:, 0]).mean((-1, -2))
        forward = is_canonical(net[:, 0], net[:, 1])[:, None, None, None]
        return torch.cat((sharp, torch.where(forward, coefficients, reverse_time(coefficients))), 1)

    @staticmethod
    def align(state: Tensor, reference: Tensor) -> Tensor:
        """Turn the time of a tile's state, (B, K, H, W), to run as in `reference`, the same pixels of its neighbours.

        Where nothing is known `reference` is zero, and does not count.
        """
        own, other = state[:, 3:], reference[:, 3:].to(state)
        turned = reverse_time(own)
        agreement = lambda paths: (paths * other).sum((1, 2, 3), keepdim=True)  # noqa: E731
        return torch.cat((state[:, :3], torch.where(agreement(turned) > agreement(own), turned, own)), 1)

    def decode(self, state: Tensor, times: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) at `times` from what `encode` returned."""
        sharp, coefficients = state[:, :3].float(), state[:, 3:].float()
        return warp(sharp, follow_back(coefficients, times, self.iterations))

    @staticmethod
    def reach(state: Tensor) -> Tensor:
        """A bound on how many pixels away a frame at any time looks for its content, in what `encode` returned."""
        coefficients = state[:, 3:].float().unflatten(1, (-1, 2))
        return coefficients.abs().sum(1).amax()


def path_at(coefficients: Tensor, times: Tensor) -> Tensor:
    """Evaluate paths: coefficients (B, 2 * degree, H, W), times (T,) or (B, T), to (B, T, 2, H, W) pixels (x, y)."""
    tau = 2 * times.to(coefficients) - 1
    tau = tau.expand(coefficients.shape[0], -1) if tau.ndim == 1 else tau
    degree = coefficients.shape[1] // 2
    powers = torch.stack([tau**k for k in range(1, degree + 1)], -1)
    return torch.einsum("btk,bkchw->btchw", powers, coefficients.unflatten(1, (degree, 2)))


def reverse_time(coefficients: Tensor) -> Tensor:
    """Paths run backwards, t -> 1 - t: the odd powers of tau change sign."""
    degree = coefficients.shape[1] // 2
    sign = torch.tensor([(-1.0) ** k for k in range(1, degree + 1) for _ in "xy"]).to(coefficients)
    return coefficients * sign[:, None, None]


def follow_back(coefficients: Tensor, times: Tensor, iterations: int = 2) -> Tensor:
    """Where what is seen at `times` stands in the middle frame, as displacements (B, T, 2, H, W) in pixels (x, y)."""
    path = path_at(coefficients, times)
    b, t = path.shape[:2]
    path = path.flatten(0, 1)
    back = -path
    for _ in range(iterations):
        back = -_sample(path, back)
    return back.unflatten(0, (b, t))


def warp(image: Tensor, displacements: Tensor) -> Tensor:
    """Draw `image` (B, C, H, W) at x + displacement (B, T, 2, H, W), pixels, for every time: (B, T, C, H, W)."""
    b, t, _, h, w = displacements.shape
    # The times lie side by side in the grid, so that the image is read where it is, uncopied.
    grid = _grid(displacements.flatten(0, 1)).view(b, t * h, w, 2)
    drawn = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return drawn.unflatten(2, (t, h)).transpose(1, 2)


def _sample(image: Tensor, displacement: Tensor) -> Tensor:
    return F.grid_sample(image, _grid(displacement), mode="bilinear", padding_mode="border", align_corners=False)


def _grid(displacement: Tensor) -> Tensor:
    """Displacements (N, 2, H, W) in pixels to grid_sample's coordinates (N, H, W, 2)."""
    h, w = displacement.shape[-2:]
    x = torch.arange(w, device=displacement.device, dtype=displacement.dtype)
    y = torch.arange(h, device=displacement.device, dtype=displacement.dtype)[:, None]
    u = (displacement[:, 0] + x + 0.5) * (2 / w) - 1
    v = (displacement[:, 1] + y + 0.5) * (2 / h) - 1
    return torch.stack((u, v), -1)
