from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unblur.metrics.identity import IdentityDistance, identity_distance


def test_angles() -> None:
    first = torch.tensor([[1.0, 0], [1, 0], [1, 0], [3, 4]])
    second = torch.tensor([[5.0, 0], [0, 2], [-0.1, 0], [3, 4]])
    assert identity_distance(first, second).tolist() == pytest.approx([0, 1, 2, 0], abs=1e-6)
    assert (identity_distance(first, first) >= 0).all()


class Pool(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        assert pictures.ndim == 4
        assert len(pictures) <= 32
        return nn.functional.adaptive_avg_pool2d(pictures, 2).flatten(1) - 0.4


def test_one_number_per_picture_whatever_the_shape() -> None:
    network = Pool()
    image, truth = torch.rand(2, 3, 7, 3, 8, 8)
    distances = IdentityDistance(network)(image, truth)
    assert distances.shape == (3, 7)
    expected = identity_distance(network(image[1, 2:3]), network(truth[1, 2:3]))
    assert distances[1, 2].item() == pytest.approx(expected.item(), abs=1e-6)
    single = IdentityDistance(network)(image[1, 2], truth[1, 2])
    assert single.shape == ()
    assert single.item() == pytest.approx(expected.item(), abs=1e-6)
    assert torch.allclose(IdentityDistance(network)(image, image), torch.zeros(3, 7), atol=1e-6)
    assert torch.allclose(IdentityDistance(network)(truth, image), distances, atol=1e-6)
    bright = IdentityDistance(network)(2 * image, truth)
    torch.testing.assert_close(bright, IdentityDistance(network)((2 * image).clamp(0, 1), truth))
    with pytest.raises(ValueError, match="one shape"):
        IdentityDistance(network)(image, truth[:2])
