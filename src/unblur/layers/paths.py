"""Paths over the exposure: polynomials of time for every pixel, pictures drawn along them, what neighbours agree on.

A path belongs to the *content* of the middle frame, which is at x + p(x, t) at time t, with p(x, t) = sum over k of
c_k(x) (2 t - 1)^k. To draw the frame at t one needs, at every pixel, where its content comes from: the displacement u
with u(x) = -p(x + u(x), t), found by fixed-point iteration.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def path_at(coefficients: Tensor, times: Tensor) -> Tensor:
    """Evaluate paths: coefficients (B, 2 * degree, H, W), times (T,) or (B, T), to (B, T, 2, H, W) pixels (x, y)."""
    tau = 2 * times.to(coefficients) - 1
    tau = tau.expand(coefficients.shape[0], -1) if tau.ndim == 1 else tau
    degree = coefficients.shape[1] // 2
    powers = torch.stack([tau**k for k in range(1, degree + 1)], -1)
    # Autocast would round positions to steps of pixels.
    with torch.autocast(coefficients.device.type, enabled=False):
        return torch.einsum("btk,bkchw->btchw", powers, coefficients.unflatten(1, (degree, 2)))


def reverse_time(coefficients: Tensor) -> Tensor:
    """Paths run backwards, t -> 1 - t: the odd powers of tau change sign."""
    degree = coefficients.shape[1] // 2
    sign = torch.tensor([(-1.0) ** k for k in range(1, degree + 1) for _ in "xy"]).to(coefficients)
    return coefficients * sign[:, None, None]


def odd_part(coefficients: Tensor) -> Tensor:
    """The coefficients that change sign when time is reversed: (B, 2 * degree, H, W) to those of tau, tau^3, ..."""
    return coefficients.unflatten(1, (-1, 2))[:, ::2].flatten(1, 2)


def net_motion(coefficients: Tensor) -> Tensor:
    """Half of the way from the opening of the shutter to its closing: (B, 2, H, W), x and y."""
    return coefficients.unflatten(1, (-1, 2))[:, ::2].sum(1)


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
