"""The motion of a whole patch at once, from spectra: a coarse estimate for `path_film.MotionEstimator` to begin with.

The estimate is then corrected by what it leaves unexplained: steps of Gauss and Newton, judged by a small network.
Lucas and Kanade (1981) found the shift between two pictures from the gradients of one and their difference. Here the
two are the photo and the mean of the film that the paths make of the sharp frame, and a shift of every power of time is
found, in each neighbourhood for itself. Such a step is right where the sharp frame is right and the paths nearly so;
a network that sees the step, and how much it would explain, has learned when to believe it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.exposure.average import frame_times, trapezoid_weights
from unblur.exposure.response import to_linear
from unblur.layers.bands import bands_of
from unblur.layers.paths import aligned, follow_back, local_planes, net_motion, odd_part, reverse_time, warp
from unblur.layers.spectral import blur_kernels, cepstra, faded, patches_of
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
        Channels of the layer that reads the kernels; residual blocks, in which neighbouring cells exchange features.
    window : int
        Side of a patch in pixels.
    reaches : sequence of int
        Farthest motion seen, in pixels of the picture halved `finest` times, once more, ...: a patch for each.
    finest : int
        0 or 1. Cepstra are taken at half of the resolution.
    sigma : float
        Width in cells of the neighbourhood that a guess is made consistent with; 0 leaves every cell to itself.
    updates : int
        Gauss-Newton updates of a guess; see `GaussNewtonUpdate`.
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

        Without gradients in bands, so that a picture of any size is read as a whole: a drawing takes much more room
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
        """Paths of the cells, (B, 2 * degree, h, w), that run the same way as their neighbours'; then updated ones."""
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


FRAMES = 9
DAMPING = 1.0
"""Of the normal equations, as a share of their mean diagonal."""
NOISE = 1e-6
"""What the squared gradients of noise add to it."""
BAND_PIXELS = 2**19
"""Pixels of the light in a band."""
FARTHEST = 3.0
"""A step is no longer than this, in pixels of the light."""


class GaussNewtonUpdate(nn.Module):
    """Better paths of cells from the ones that are there.

    Parameters
    ----------
    channels : int
        Of the features of a cell.
    numbers : int
        That describe a path.
    unit : float
        Pixels of the light that a number of 1 stands for.
    blocks : int
        Residual blocks in which cells exchange features.
    """

    def __init__(self, channels: int, numbers: int, unit: float, blocks: int = 2) -> None:
        super().__init__()
        self.numbers, self.unit = numbers, unit
        self.project_in = nn.Conv2d(channels + 2 * numbers + 3, channels, 1)
        self.body = residual_stack(channels, blocks)
        # A correction, the share of the step to take, and, as `SpectralMotion` has them, trust and following.
        self.head = nn.Conv2d(channels, numbers + 3, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, guess: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
        """Update paths.

        Parameters
        ----------
        features : Tensor
            (B, channels, h, w).
        guess : Tensor
            (B, numbers, h, w).
        light : Tensor
            (B, 2, H, W), the blurry and the sharp picture, H / h pixels to a cell.

        Returns
        -------
        guess : Tensor
            (B, numbers, h, w).
        rest : Tensor
            (B, 2, h, w), trust and following before their logistic functions.
        """
        with torch.no_grad(), torch.autocast(light.device.type, enabled=False):
            step, seen = gauss_newton(light.float(), self.unit * guess.float())
            step = step / self.unit
        known = torch.cat([part.to(features.dtype) for part in (features, guess, step, seen)], 1)
        judged = self.head(self.body(F.relu(self.project_in(known)))).float()
        change, share, rest = judged.split((self.numbers, 1, 2), 1)
        return guess + change + share.sigmoid() * step, rest


@torch.no_grad()
def gauss_newton(light: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """The change of path coefficients that explains a photo better, for each cell.

    Large pictures are worked on in bands, with margins as far as a frame looks for its content.

    Parameters
    ----------
    light : Tensor
        (B, 2, H, W), the blurry and the sharp picture in linear light.
    coefficients : Tensor
        (B, 2 * degree, h, w) in pixels of `light`; see `layers.paths`.

    Returns
    -------
    step : Tensor
        (B, 2 * degree, h, w) in pixels.
    seen : Tensor
        (B, 3, h, w), of order one: logarithms of the texture and of what is unexplained, and the share of that which
        the step explains.
    """
    height = coefficients.shape[-2]
    cell = light.shape[-2] // height
    rows = max(BAND_PIXELS // (light.shape[-1] * cell), 1)
    if rows >= height:
        return _in_one(light, coefficients)
    reach = float(coefficients.unflatten(1, (-1, 2)).abs().sum(1).amax())
    margin = ceil(reach / cell) + 2 if reach < cell * height else height
    steps, looks = [], []
    for _, seen, kept in bands_of(height, rows, margin):
        step, look = _in_one(light[:, :, seen.start * cell : seen.stop * cell], coefficients[:, :, seen])
        steps.append(step[:, :, kept])
        looks.append(look[:, :, kept])
    return torch.cat(steps, 2), torch.cat(looks, 2)


def _in_one(light: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    blurry, sharp = light[:, :1], light[:, 1:]
    mean, bends = _film_mean(sharp, coefficients)
    # Differences of the light are compared: what is wrong in large areas is no motion.
    left = _gradient(blurry - mean)
    cells = coefficients.shape[-2:]
    pooled = lambda image: _pooled(image.sum(1, keepdim=True), cells)  # noqa: E731
    slopes = [_gradient(bend) for bend in bends.split(1, 1)]
    # Symmetric: each pair is computed once.
    products = {(i, j): pooled(slopes[i] * slopes[j]) for i in range(len(slopes)) for j in range(i + 1)}
    rows = [[products[max(i, j), min(i, j)] for j in range(len(slopes))] for i in range(len(slopes))]
    matrix = torch.stack([torch.cat(row, 1) for row in rows], 1).permute(0, 3, 4, 1, 2)
    moment = torch.cat([pooled(a * left) for a in slopes], 1)
    size = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    matrix = matrix + (DAMPING * size + NOISE) * torch.eye(len(slopes), device=light.device)
    step = torch.linalg.solve(matrix, moment.permute(0, 2, 3, 1)[..., None])[..., 0].permute(0, 3, 1, 2)
    unexplained = pooled(left.square())
    explained = (step * moment).sum(1, keepdim=True) / (unexplained + NOISE)
    step = step * (FARTHEST / step.norm(dim=1, keepdim=True).clamp_min(FARTHEST))
    logarithms = [0.2 * torch.log(image + NOISE) + 1 for image in (pooled(_gradient(sharp).square()), unexplained)]
    return step, torch.cat((*logarithms, explained.clamp(0, 1)), 1)


def _film_mean(sharp: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the film (B, 1, H, W), and its derivatives by the coefficients, (B, 2 * degree, H, W).

    One frame after the other, so that no film is held.
    """
    fine = F.interpolate(coefficients, sharp.shape[-2:], mode="bilinear", align_corners=False)
    mean, bends = torch.zeros_like(sharp), torch.zeros_like(fine)
    for time, share in zip(frame_times(FRAMES).tolist(), trapezoid_weights(FRAMES).tolist(), strict=True):
        back = follow_back(fine, torch.tensor([time], device=sharp.device), 1)
        frame = warp(sharp, back)[:, 0]
        mean += share * frame
        slope = _gradient(frame)
        for power in range(fine.shape[1] // 2):
            bends[:, 2 * power : 2 * power + 2] -= share * (2 * time - 1) ** (power + 1) * slope
    return mean, bends


def _gradient(light: Tensor) -> Tensor:
    """(B, 1, H, W) to central differences to the right and downwards, (B, 2, H, W)."""
    padded = F.pad(light, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return torch.cat((across, down), 1) / 2


def _pooled(image: Tensor, cells: torch.Size) -> Tensor:
    """Means over each cell and its neighbours."""
    means = F.avg_pool2d(image, (image.shape[-2] // cells[0], image.shape[-1] // cells[1]))
    return F.avg_pool2d(means, 3, 1, 1, count_include_pad=False)
