import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unblur.layers.bands import Band, bands_of, in_bands


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


@given(st.integers(1, 60), st.integers(1, 30), st.integers(0, 70))
def test_what_is_kept_of_what_is_seen_is_the_band(height: int, rows: int, margin: int) -> None:
    numbers = list(range(height))
    bands = list(bands_of(height, rows, margin))
    assert [number for band in bands for number in numbers[band.seen][band.kept]] == numbers
    for band in bands:
        assert numbers[band.seen][band.kept] == numbers[band.rows]
        near = range(band.rows.start - margin, band.rows.stop + margin)
        assert numbers[band.seen] == [number for number in numbers if number in near]
        assert band == Band.of(band.rows, margin, height)
