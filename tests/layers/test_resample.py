import pytest
import torch
import torch.nn.functional as F

from unblur.layers.resample import shrink


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(8, 8), (16, 40)])
def test_shrinking_is_bilinear_without_aliasing(factor: int, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    expected = F.interpolate(image, scale_factor=1 / factor, mode="bilinear", antialias=True)
    torch.testing.assert_close(shrink(image, factor), expected)


def test_a_shrunk_constant_is_constant() -> None:
    torch.testing.assert_close(shrink(torch.full((1, 2, 8, 8), 0.3), 4), torch.full((1, 2, 2, 2), 0.3))
