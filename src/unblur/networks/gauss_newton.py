"""Paths corrected by what they leave unexplained: steps of Gauss and Newton, judged by a small network.

Lucas and Kanade (1981) found the shift between two pictures from the gradients of one and their difference. Here the
two are the photo and the mean of the film that the paths make of the sharp frame, and a shift of every power of time is
found, in each neighbourhood for itself. Such a step is right where the sharp frame is right and the paths nearly so;
a network that sees the step, and how much it would explain, has learned when to believe it.
"""

from __future__ import annotations

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.exposure.average import frame_times, trapezoid_weights
from unblur.layers.bands import bands_of
from unblur.layers.paths import follow_back, warp
from unblur.networks.unet import residual_stack

FRAMES = 9
DAMPING = 1.0
"""Of the normal equations, as a share of their mean diagonal."""
NOISE = 1e-6
"""What the squared gradients of noise add to it."""
BAND = 2**19
"""Pixels of the light to look at, at once."""
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
        Residual blocks in which cells confer.
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
        """Revise guesses.

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

    Large pictures are looked at in bands, with margins as far as a frame looks for its content.

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
    rows = max(BAND // (light.shape[-1] * cell), 1)
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
    # Symmetric, so that each pair is looked at once.
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
