"""Where the codes of a blur space lie: what blurs are drawn from, and what a strange one is told by."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unblur.data.synthetic_batches import SyntheticFields
from unblur.networks.path_blur_space import CELL, PATCH, PathBlurSpace

RIDGE = 1e-4
NEAREST = 0.995


def fit_prior(network: PathBlurSpace, source: SyntheticFields, batches: int = 32) -> None:
    """Set what `PathBlurSpace.draw` and `PathBlurSpace.distance` know, from the codes of training fields.

    `draw` is of moving cameras alone: a normal distribution cannot tell their fields from those with things in front,
    and its draws would be neither. Its directions are minimum/maximum autocorrelation factors (Switzer and Green,
    1984): uncorrelated with each other both in one cell and between neighbouring ones, so that each has one number for
    how near neighbours are.
    """
    size = max(source.size, 2 * CELL // PATCH)  # neighbours are wanted
    _, mean, own = _codes(network, source.with_(size, source.motion), batches)
    network.known_mean.copy_(mean)
    network.known_factor.copy_(torch.linalg.cholesky(own))
    away, mean, own = _codes(network, source.with_(size, replace(source.motion, layer=0.0)), batches)
    beside = (_covariance(away[..., 1:], away[..., :-1]) + _covariance(away[..., 1:, :], away[..., :-1, :])) / 2
    root = torch.linalg.cholesky(own)
    half = torch.linalg.solve_triangular(root, (beside + beside.T) / 2, upper=False)
    white = torch.linalg.solve_triangular(root, half.T, upper=False)
    nearness, turn = torch.linalg.eigh((white + white.T) / 2)
    network.prior_mean.copy_(mean)
    network.prior_factor.copy_(root @ turn)
    network.prior_nearness.copy_(nearness.clamp(0, NEAREST))


def _codes(network: PathBlurSpace, source: SyntheticFields, batches: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of training fields without their mean, the mean, and the covariance."""
    device = network.known_mean.device
    with torch.inference_mode():
        fields = (source.batch(number, device)["field"] for number in range(batches))
        codes = torch.cat([network.encode_paths(field).mean for field in fields])
    codes = codes.double()
    mean = codes.mean((0, 2, 3))
    away = codes - mean[:, None, None]
    return away, mean, _covariance(away, away) + RIDGE * torch.eye(len(mean)).to(mean)


def _covariance(one: Tensor, other: Tensor) -> Tensor:
    """Of the channels of two (B, C, h, w)."""
    return torch.einsum("bchw,bdhw->cd", one, other) / (one.numel() / one.shape[1])
