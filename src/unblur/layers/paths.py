"""Paths over the exposure: polynomials of time for every pixel, and pictures drawn along them.

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
