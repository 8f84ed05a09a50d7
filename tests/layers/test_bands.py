import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unblur.layers.bands import in_bands


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 200))
def test_bands_are_the_whole(rows: int, width: int, pixels: int) -> None:
    shrink = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, stride=2, padding=1))
    grow = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(1, 2, 3, padding=1))
    image = torch.rand(1, 1, 2 * rows, width)
    with torch.no_grad():
        torch.testing.assert_close(in_bands(shrink, image, pixels, margin=4, step=2), shrink(image))
        torch.testing.assert_close(in_bands(grow, image, pixels, margin=2), grow(image))


def test_memory_is_bounded_where_it_may_be() -> None:
    seen = []

    def same(features: torch.Tensor) -> torch.Tensor:
        seen.append(features.shape[-2])
        return features

    image = torch.rand(1, 1, 100, 10, requires_grad=True)
    in_bands(same, image, 100, margin=2)
    with torch.no_grad():
        in_bands(same, image, 100, margin=2)
    assert seen == [100, 12, *[14] * 8, 12]
