"""The motion of a whole patch at once, from spectra: a coarse estimate for `path_film.MotionEstimator` to begin
with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.exposure.response import to_linear
from unblur.layers.consensus import aligned, local_planes
from unblur.layers.paths import net_motion, odd_part, reverse_time
from unblur.layers.spectral import blur_kernels, cepstra, faded, patches_of
from unblur.networks.gauss_newton import GaussNewtonUpdate
from unblur.networks.unet import residual_stack

PIXELS = 8.0
"""A network output of 1 is a motion of this many pixels: outputs of order one train best."""
# Cells whose kernels are made at once: some 100 MB.
BAND = 1024


class SpectralMotion(nn.Module):
    """Features of the motion in each cell of a picture, and a first guess of its path.

    The blur kernel of a patch is a drawing of its path; a network that is handed the drawing need not learn to
    deconvolve first. Where the middle frame is not sharp yet, its kernel says little: the cepstrum of the blurry patch
    stands beside it.

    Parameters
    ----------
    cell : int
        Side of a cell in pixels of the picture.
    channels : int
        Of the features.
    degree : int
        Of the paths.
    hidden, blocks : int
        Channels of the layer that reads the kernels; residual blocks in which cells confer with their neighbours.
    window : int
        Side of a patch in pixels.
    reaches : sequence of int
        Farthest motion seen, in pixels of the picture halved `finest` times, once more, ...: a patch for each.
    finest : int
        0 or 1. Cepstra are looked at in half of the resolution.
    sigma : float
        Width in cells of the neighbourhood that a guess is made consistent with; 0 leaves every cell to itself.
    updates : int
        How often what a guess leaves unexplained is looked at; see `gauss_newton.GaussNewtonUpdate`.
    """

    def __init__(
        self,
        cell: int,
        channels: int,
        degree: int,
        hidden: int = 192,
        blocks: int = 4,
        window: int = 32,
        reaches: Sequence[int] = (8, 12),
        finest: int = 0,
        sigma: float = 8.0,
        updates: int = 2,
    ) -> None:
        super().__init__()
        if finest not in (0, 1) or len(reaches) + finest < 2:
            raise ValueError(f"no patch in half of the resolution: reaches {reaches}, finest {finest}")
        self.cell, self.window, self.reaches, self.sigma, self.finest = cell, window, tuple(reaches), sigma, finest
        self.degree, self.updates = degree, updates
        half = reaches[1 - finest]
        drawn = sum((2 * reach + 1) ** 2 for reach in reaches) + (half + 1) * (2 * half + 1)
        numbers = 2 * degree
        self.project_in = nn.Conv2d(drawn, hidden, 1)
        self.project_out = nn.Conv2d(hidden, channels, 1)
        self.body = residual_stack(channels, blocks)
        # Two paths, how far they are to be trusted, and how far they follow their neighbourhood.
        self.head = nn.Conv2d(channels, 2 * numbers + 2, 1)
        self.update = GaussNewtonUpdate(channels, numbers, PIXELS / 2) if updates else None
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, blurry: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Two (B, 3, H, W), H and W multiples of the cell, to features (B, channels, H / cell, W / cell) and guesses
        (B, 2 * degree, H / cell, W / cell) in `PIXELS`.
        """
        features, light = self.extract(blurry, sharp)
        *_, guess = self.guesses(features, light)
        return features, guess

    def extract(self, blurry: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Features, as above, and what `light` makes of the two pictures.

        Without gradients in bands, so that a picture of any size is seen as a whole: a drawing takes much more room
        than what is kept of it.
        """
        rows, columns = (side // self.cell for side in blurry.shape[-2:])
        step = rows if torch.is_grad_enabled() else max(BAND // columns, 1)
        bands = [slice(top, top + step) for top in range(0, rows, step)]
        light = torch.cat([self.light(blurry, sharp, band) for band in bands], 2)
        patches = self.patches(light)
        embedded = [self.embed(self.kernel_images([each[:, :, band] for each in patches])) for band in bands]
        return self.body(torch.cat(embedded, 2)), light

    def light(self, blurry: Tensor, sharp: Tensor, rows: slice = slice(None)) -> Tensor:
        """The blurry and the sharp picture, grey, in linear light, halved `finest` times: (B, 2, h, w), float32.

        Of some `rows` of cells.
        """
        cells = [image.unflatten(2, (-1, self.cell))[:, :, rows].flatten(2, 3) for image in (blurry, sharp)]
        with torch.autocast(blurry.device.type, enabled=False):
            light = to_linear(torch.stack(cells, 1).float().clamp(0, 1), "srgb").mean(2)
            return F.avg_pool2d(light, 2) if self.finest else light

    def patches(self, light: Tensor) -> list[Tensor]:
        """For each reach the patches of `light`, as views (B, 2, H / cell, W / cell, window, window)."""
        found, stride = [], self.cell // 2**self.finest
        for _ in self.reaches:
            found.append(patches_of(light, self.window, stride))
            light, stride = F.avg_pool2d(light, 2), stride // 2
        return found

    def kernel_images(self, patches: Sequence[Tensor]) -> Tensor:
        """Kernels and cepstra of patches, see `patches`: (B, K, h, w), of order one."""
        with torch.autocast(patches[0].device.type, enabled=False):
            drawn = []
            for halved, (each, reach) in enumerate(zip(patches, self.reaches, strict=True), self.finest):
                blurry, sharp = faded(each).unbind(1)
                drawn.append(8 * blur_kernels(blurry, sharp, reach))
                if halved == 1:
                    drawn.append(4 * cepstra(blurry, reach))
            return torch.cat([each.flatten(3) for each in drawn], -1).permute(0, 3, 1, 2)

    def embed(self, kernels: Tensor) -> Tensor:
        """What is kept of each drawing: (B, K, h, w) to (B, channels, h, w)."""
        return self.project_out(F.relu(self.project_in(kernels)))

    def guesses(self, features: Tensor, light: Tensor) -> Iterator[Tensor]:
        """Paths of the cells, (B, 2 * degree, h, w), that run the same way as their neighbours'; then revised ones."""
        rightwards, downwards, rest = self.two_directions(features)
        guess = self.regularise(_joined(rightwards, downwards), rest)
        yield guess
        if self.update is not None:
            half = F.avg_pool2d(light, 2 ** (1 - self.finest))
            for _ in range(self.updates):
                guess = self.regularise(*self.update(features, guess.detach(), half))
                yield guess

    def two_directions(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The path that runs to the right, the one that runs downwards, and what else is known of each cell.

        A blurred patch does not tell which way time ran. Whatever rule is to settle it has a direction of motion where
        it jumps, and there a network predicts the mean of both, which is no motion. Under two rules that jump in
        different directions one of the paths is always far from its jump.
        """
        numbers = 2 * self.degree
        rightwards, downwards, rest = self.head(features).float().split((numbers, numbers, 2), 1)
        return rightwards, downwards, rest

    def regularise(self, paths: Tensor, rest: Tensor) -> Tensor:
        """Turn paths the same way, and draw each towards the smooth motion that its neighbourhood agrees on.

        A camera moves everything.
        """
        with torch.autocast(paths.device.type, enabled=False):
            trust = rest[:, :1].float().sigmoid() + 1e-3
            paths = aligned(paths.float(), trust)
            if not self.sigma:
                return paths
            common = local_planes(paths, trust, self.sigma)
            return torch.lerp(paths, common, rest[:, 1:].float().sigmoid())


def _joined(rightwards: Tensor, downwards: Tensor) -> Tensor:
    """The mean of two paths (B, 2 * degree, h, w), one turned like the other, by how far each is from its jump."""
    across = net_motion(rightwards)[:, :1].clamp_min(0).square() + 1e-4
    down = net_motion(downwards)[:, 1:].clamp_min(0).square() + 1e-4
    against = (odd_part(rightwards) * odd_part(downwards)).sum(1, keepdim=True) < 0
    downwards = torch.where(against, reverse_time(downwards), downwards)
    return (across * rightwards + down * downwards) / (across + down)
