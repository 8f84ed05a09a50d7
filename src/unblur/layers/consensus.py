"""What a neighbourhood agrees on: which way time ran, and planes through estimates that are trusted differently."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.layers.paths import net_motion, odd_part, reverse_time

ROUNDS = 6


def local_planes(values: Tensor, weights: Tensor, sigma: float) -> Tensor:
    """Fit a plane through the neighbourhood of every place, and return its value there.

    Normalised convolution (Knutsson and Westin, CVPR 1993) with the basis 1, x, y: weighted least squares, the weights
    falling off as a Gaussian of `sigma` places, cut at two of them. Beyond the picture weights are zero, so the rim
    is as good as the inside.

    Parameters
    ----------
    values : Tensor
        (B, K, H, W).
    weights : Tensor
        (B, 1, H, W), above 0.
    """
    radius = max(int(2 * sigma), 1)
    at = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    # Places are measured in sigmas, so that the normal equations are well scaled.
    fall, place = torch.exp(-0.5 * (at / sigma).square()), at / sigma
    powers = torch.stack([fall * place**n for n in range(3)])
    spread = lambda image: _spread(image, powers)  # noqa: E731
    weight = spread(weights)
    normal = torch.stack([weight[n] for n in (0, 1, 2, 1, 3, 4, 2, 4, 5)], -1).squeeze(1).unflatten(-1, (3, 3))
    moments = torch.stack(spread(weights * values)[:3], -1).permute(0, 2, 3, 4, 1)
    ridge = 1e-3 * normal[..., 0, 0, None, None] * torch.eye(3, device=values.device, dtype=values.dtype)
    fitted = torch.linalg.solve(normal + ridge, moments)
    return fitted[..., 0, :].permute(0, 3, 1, 2)


def aligned(paths: Tensor, weights: Tensor) -> Tensor:
    """Turn the time of each path to run as in its neighbourhood, where each is known up to its direction.

    All begin with the same sense along the axis of most motion; then each follows the majority around it, in rounds.

    Parameters
    ----------
    paths : Tensor
        (B, 2 * degree, H, W); see `layers.paths`.
    weights : Tensor
        (B, 1, H, W), above 0.
    """
    with torch.no_grad():
        ways, weights = odd_part(paths), weights.detach()
        net = net_motion(paths)
        moment = lambda image: (weights * image).sum((1, 2, 3))  # noqa: E731
        x, y = net[:, :1], net[:, 1:]
        axis = torch.atan2(2 * moment(x * y), moment(x * x - y * y)) / 2
        along = torch.stack((axis.cos(), axis.sin()), 1)[..., None, None]
        sense = torch.where((net * along).sum(1, keepdim=True) < 0, -1.0, 1.0)
        for _ in range(ROUNDS):
            around = F.avg_pool2d(F.avg_pool2d(weights * sense * ways, 5, 1, 2), 5, 1, 2)
            sense = torch.where((sense * ways * around).sum(1, keepdim=True) < 0, -sense, sense)
    return torch.where(sense < 0, reverse_time(paths), paths)


def _spread(image: Tensor, powers: Tensor) -> list[Tensor]:
    """The sums of (B, C, H, W) over a neighbourhood, weighted by 1, x, y, x^2, xy, y^2."""
    channels, radius = image.shape[1], powers.shape[1] // 2
    column = image.transpose(0, 1).flatten(0, 1)[:, None]
    down = F.conv2d(F.pad(column, (0, 0, radius, radius)), powers[:, None, :, None])
    across = F.conv2d(F.pad(down, (radius, radius, 0, 0)).flatten(0, 1)[:, None], powers[:, None, None, :])
    sums = across.unflatten(0, (channels, -1, 3))  # (C, B, power of y, power of x, H, W)
    return [sums[:, :, y, x].transpose(0, 1) for y, x in ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0))]
