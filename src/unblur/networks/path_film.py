"""Films from a sharp middle frame and the path of every pixel: the small network that any CPU can run and train.

The heavy work does not depend on the time: a restorer makes the sharp middle frame, a second network reads from
(blurry, sharp) how every pixel of that frame moved while the shutter was open. A frame at any time is then one warp
of the middle frame, so 51 frames cost little more than one.

See `layers.paths` for what a path is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.exposure.camera import is_canonical
from unblur.layers.padding import crop, pad_to_multiple
from unblur.layers.paths import follow_back, net_motion, reverse_time, warp
from unblur.networks.kinds import FilmNetwork, RestorerNetwork
from unblur.networks.spectral_motion import PIXELS, SpectralMotion
from unblur.networks.unet import UNet


class UNetRestorer(nn.Module, RestorerNetwork):
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

    @property
    def graph_multiple(self) -> int:
        """That of the U-Net; tiles are laid out by larger steps."""
        return self.unet.multiple

    def forward(self, blurry: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to the same, sharp, unclamped; any size."""
        padded, size = pad_to_multiple(blurry, self.unet.multiple)
        correction = F.pixel_shuffle(self.unet(padded - 0.5), 2)
        return blurry + crop(correction, size)


class MotionEstimator(nn.Module):
    """The path of every pixel over the exposure, from the blurry picture and its sharp middle frame.

    Parameters
    ----------
    degree : int
        Degree of the polynomial in tau = 2 t - 1.
    widths, blocks : sequence of int
        See `unet.UNet`.
    spectral : dict, optional
        Constructor arguments of `spectral_motion.SpectralMotion`, whose guess the U-Net then corrects; without, it is
        on its own.
    with_unet : bool
        Whether there is a U-Net: the spectral estimate can do without.
    """

    is_local = True

    def __init__(
        self,
        degree: int = 3,
        widths: Sequence[int] = (32, 64, 96, 128),
        blocks: Sequence[int] = (1, 2, 2, 4),
        spectral: dict | None = None,
        with_unet: bool = True,
    ) -> None:
        super().__init__()
        if spectral is None and not with_unet:
            raise ValueError("without a spectral estimate and a U-Net nothing is left")
        self.arguments: dict[str, object] = {
            "degree": degree,
            "widths": list(widths),
            "blocks": list(blocks),
            "spectral": spectral,
            "with_unet": with_unet,
        }
        self.degree, self.multiple = degree, 2 ** len(widths)
        self.unet = UNet(6, 2 * degree, widths, blocks) if with_unet else None
        self.spectral = None
        if spectral is not None:
            self.spectral = SpectralMotion(self.multiple, widths[-1], degree, **spectral)
        # Without a U-Net a tile only enlarges its part of the global_context.
        self.tile_overlap = (16 if with_unet else 2) * self.multiple

    def global_context(self, blurry: Tensor, sharp: Tensor) -> Tensor | None:
        """What the spectral estimate says of a whole picture, which no tile of it could: where motion agrees.

        Two (B, 3, H, W) to (B, K, ceil(H / cell), ceil(W / cell)), for `forward`: the guess, and the features that a
        U-Net reads if there is one. None without a spectral estimate. In bands: the memory that it takes beside the
        pictures hardly grows with them.
        """
        if self.spectral is None:
            return None
        padded = (pad_to_multiple(image, self.multiple)[0] for image in (blurry, sharp))
        features, guess = self.spectral(*padded)
        return guess.float() if self.unet is None else torch.cat((features.float(), guess.float()), 1)

    def forward(
        self, blurry: Tensor, sharp: Tensor, context: Tensor | None = None, *, keep_guess: bool = False
    ) -> Tensor:
        """Two (B, 3, H, W) to path coefficients (B, 2 * degree, H, W) in pixels: x, y of tau, then of tau^2, ...

        `context` is what `global_context` says of these pixels; by default of them alone. `keep_guess` lets no
        gradient pass to the spectral estimate.
        """
        pair, size = pad_to_multiple(torch.cat((blurry, sharp), 1), self.multiple)
        blurry, sharp = pair[:, :3], pair[:, 3:]
        features = guess = None
        if context is not None:
            features, guess = context.tensor_split((-2 * self.degree,), 1)
        elif self.spectral is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not keep_guess):
                features, guess = self.spectral(blurry, sharp)
        # In float32, as positions must be.
        if self.unet is None:
            assert guess is not None
            return crop(_enlarged(PIXELS * guess.float(), self.multiple), size)
        # Motion is smooth: half resolution is enough.
        coefficients = self.unet(torch.cat((blurry - sharp, sharp - 0.5), 1), features).float()
        if guess is not None:
            coefficients = coefficients + _enlarged(guess.float(), self.multiple // 2)
        return crop(_enlarged(PIXELS * coefficients, 2), size)

    def guesses(self, blurry: Tensor, sharp: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """The coarse estimates alone, each better than the one before, and the first by either rule of direction.

        Two (B, 3, H, W), H and W multiples of the network's coarsest cell, to coefficients (B, 2 * degree, H / 8,
        W / 8) in pixels: the estimates, then what runs rightwards, then what runs downwards; see
        `spectral_motion.SpectralMotion`.
        """
        if self.spectral is None:
            raise ValueError("a motion estimator without spectral features makes no guess")
        enlarge = lambda guess: _enlarged(PIXELS * guess, self.multiple / 8)  # noqa: E731
        features, light = self.spectral.extract(blurry, sharp)
        rightwards, downwards, _ = self.spectral.two_directions(features)
        guesses = [enlarge(guess) for guess in self.spectral.guesses(features, light)]
        return guesses, enlarge(rightwards), enlarge(downwards)


def _enlarged(image: Tensor, factor: float) -> Tensor:
    return F.interpolate(image, scale_factor=factor, mode="bilinear", align_corners=False)


class PathFilm(nn.Module, FilmNetwork):
    """One blurry picture to its sharp frames at any times: `UNetRestorer` and `MotionEstimator` together.

    Parameters
    ----------
    restorer, motion : dict, optional
        Constructor arguments of the two.
    iterations : int
        Fixed-point iterations when the paths are followed back.
    """

    exports = ("restorer",)
    starts_from = "sharp"
    has_map = has_paths = True

    def __init__(self, restorer: dict | None = None, motion: dict | None = None, iterations: int = 2) -> None:
        super().__init__()
        self.restorer = UNetRestorer(**(restorer or {}))
        self.motion = MotionEstimator(**(motion or {}))
        self.iterations = iterations
        self.arguments: dict[str, object] = {
            "restorer": self.restorer.arguments,
            "motion": self.motion.arguments,
            "iterations": iterations,
        }
        self.multiple = max(self.restorer.unet.multiple, self.motion.multiple)
        # Of `estimate_motion`; the restorer has tiles of its own, or is another one altogether.
        self.tile_overlap = self.motion.tile_overlap
        # Without a U-Net larger ones gain nothing, and what is done around a tile takes memory as well.
        self.tile_size = None if self.motion.unet is not None else 1024
        self.cell = self.motion.multiple

    @property
    def own_restorer(self) -> nn.Module:
        """What makes the sharp middle frame."""
        return self.restorer

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        """Blurry (B, 3, H, W) in [0, 1], times (T,) or (B, T) in [0, 1], to frames (B, T, 3, H, W), unclamped."""
        return self.decode(self.encode(blurry), times)

    def encode(self, blurry: Tensor) -> Tensor:
        """All that does not depend on the time: (B, 3 + 2 * degree, H, W), the sharp middle frame and the paths."""
        return self.orient(self.estimate_motion(blurry, self.restorer(blurry).float()))

    def global_context(self, blurry: Tensor, sharp: Tensor) -> Tensor | None:
        """See `MotionEstimator.global_context`: features of the whole picture, before `estimate_motion` is run on its
        tiles.
        """
        return self.motion.global_context(blurry, sharp)

    def estimate_motion(self, blurry: Tensor, sharp: Tensor, context: Tensor | None = None) -> Tensor:
        """What `encode` returns, from a sharp middle frame of any origin; time may still run either way."""
        return torch.cat((sharp, self.motion(blurry, sharp, context)), 1)

    @staticmethod
    def orient(state: Tensor) -> Tensor:
        """Let time run in the canonical direction (`exposure.camera.is_canonical`), each picture for itself.

        The paths are trained up to their direction, which the photo does not show; the convention is applied here.
        """
        return state * PathFilm.orientation(state)

    @staticmethod
    def orientation(state: Tensor) -> Tensor:
        """What `orient` multiplies a state by: (B, 3 + 2 * degree, 1, 1), -1 for what time turns round, where it is."""
        # A path is linear in its coefficients, so the mean path has their means.
        net = net_motion(state[:, 3:].mean((-1, -2), keepdim=True))
        sharp, paths = state.new_ones(len(state), 3, 1, 1), state.new_ones(len(state), state.shape[1] - 3, 1, 1)
        forward = is_canonical(net[:, :1], net[:, 1:])
        return torch.cat((sharp, torch.where(forward, paths, reverse_time(paths))), 1)

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
