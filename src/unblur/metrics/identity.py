"""Whether two pictures show the same face, to a network that learned to tell faces apart.

Papers report an "ArcFace distance" without saying which network and which distance it is; some of their numbers are
beyond 2, which neither 1 - cos nor the distance of unit vectors reaches. Here it is 1 - cos, and names say which
network; see `unblur.models.feature_networks`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_SIZE = 32
"""Pictures that a network is given at a time."""


def identity_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - cos of the angle between embeddings (..., D): (...) from 0, the same face, to 2."""
    return (1 - F.cosine_similarity(first, second, dim=-1)).clamp_min(0)


class IdentityDistance(nn.Module):
    """The identity distance of pictures of faces, as a metric.

    Parameters
    ----------
    network : nn.Module
        (N, 3, H, W) in [0, 1] to embeddings (N, D), of any length.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, truth: Tensor) -> Tensor:
        """Two (..., 3, H, W) in [0, 1] to distances (...), 0 for equal pictures."""
        if image.shape != truth.shape:
            raise ValueError(f"pictures must be of one shape: {image.shape}, {truth.shape}")
        pictures = torch.stack((image, truth)).flatten(0, -4).clamp(0, 1)
        embeddings = torch.cat([self.network(part) for part in pictures.split(BATCH_SIZE)])
        return identity_distance(*embeddings.chunk(2)).view(image.shape[:-3])
