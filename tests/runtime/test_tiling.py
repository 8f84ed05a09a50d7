"""Tiles: shares that sum to one, the same picture as without tiles, and failures that are never hidden."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unblur.errors import UnblurError
from unblur.runtime.tiling import (
    is_out_of_memory,
    lay_out,
    smallest_tile,
    tile_that_fits,
    tiled,
    until_it_fits,
)

STRIDE = 4


class Local(nn.Module):
    """Three 3x3 convolutions at stride 4: sees 14 pixels to each side, and only at its own phase."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(48, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 48, 3, padding=1))

    def forward(self, image):
        fine = torch.nn.functional.pixel_unshuffle(image, STRIDE)
        return torch.nn.functional.pixel_shuffle(self.body(fine), STRIDE)


@pytest.fixture(scope="module")
def local():
    return Local().eval().requires_grad_(False)


@settings(max_examples=200, deadline=None)
@given(
    length=st.integers(1, 700),
    units=st.integers(2, 12),
    shared=st.integers(0, 10),
    multiple=st.sampled_from([1, 4, 16]),
    ramp=st.one_of(st.none(), st.integers(1, 200)),
)
def test_shares_sum_to_one_at_every_pixel(length, units, shared, multiple, ramp):
    overlap = min(shared, units - 1) * multiple
    axis = lay_out(length, units * multiple, overlap, multiple=multiple, ramp=ramp)
    total = torch.zeros(length + multiple + axis.size)
    for start, shares in zip(axis.starts, axis.weights, strict=True):
        assert start % multiple == 0
        assert shares.min() >= 0
        assert shares.max() <= 1
        total[start : start + axis.size] += shares
    assert torch.allclose(total[:length], torch.ones(length), atol=1e-5)
    assert axis.starts[-1] + axis.size - length < multiple
    for first, second in zip(axis.starts, axis.starts[1:], strict=False):
        assert first + axis.size - second >= overlap


@settings(max_examples=200, deadline=None)
@given(length=st.integers(65, 3000), units=st.integers(4, 40), shared=st.integers(0, 3))
def test_tiles_share_hardly_more_than_they_must(length, units, shared):
    axis = lay_out(length, units * 16, shared * 16, multiple=16)
    count = len(axis.starts)
    assert axis.size <= max(units * 16, length)
    if count > 1:
        assert count * axis.size - (count - 1) * shared * 16 - length < 16 * (count + 1)
        fewer = (count - 1) * units * 16 - (count - 2) * shared * 16
        assert fewer < -(-length // 16) * 16, "as few as can be"


def test_a_tiles_own_rim_counts_nothing():
    axis = lay_out(176, 80, 32, multiple=8)
    inner = axis.weights[1]
    assert inner[:12].eq(0).all()
    assert inner[-12:].eq(0).all()
    assert inner[20:-20].eq(1).all()


def test_a_tile_smaller_than_its_overlaps_is_refused():
    with pytest.raises(ValueError, match="cannot overlap"):
        lay_out(500, 64, 64, multiple=8)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 150), width=st.integers(1, 150), tile=st.sampled_from([32, 48, 64]), seed=st.integers(0, 99)
)
def test_blending_equal_pictures_changes_nothing(height, width, tile, seed):
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    result = tiled(lambda piece: 2 * piece, image, tile=tile, overlap=16, multiple=8)
    assert result.shape == image.shape
    assert torch.allclose(result, 2 * image, atol=1e-5)


@pytest.mark.parametrize("size", [(160, 224), (300, 101), (64, 333), (131, 131)])
def test_tiled_equals_whole_inside(local, size):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(image, (0, -size[1] % STRIDE, 0, -size[0] % STRIDE), mode="reflect")
    whole = local(padded)[..., : size[0], : size[1]]
    calls = []

    def apply(piece):
        calls.append(piece.shape[-2:])
        piece, (height, width) = (
            torch.nn.functional.pad(
                piece, (0, -piece.shape[-1] % STRIDE, 0, -piece.shape[-2] % STRIDE), mode="reflect"
            ),
            piece.shape[-2:],
        )
        return local(piece)[..., :height, :width]

    result = tiled(apply, image, tile=96, overlap=40, multiple=STRIDE)
    assert len(calls) > 1
    assert len(set(calls)) == 1, "tiles are of one size"
    inside = (..., slice(16, -16), slice(16, -16))
    assert torch.allclose(result[inside], whole[inside], atol=1e-5)


def test_too_little_overlap_shows(local):
    """The test above would not pass by chance."""
    image = torch.rand(1, 3, 184, 184)
    result = tiled(local, image, tile=96, overlap=8, multiple=STRIDE)
    assert not torch.allclose(result[..., 16:-16, 16:-16], local(image)[..., 16:-16, 16:-16], atol=1e-3)


def test_more_dimensions_and_another_type_come_back_as_float32():
    image = torch.rand(1, 3, 70, 90)
    frames = tiled(lambda piece: piece[:, None].repeat(1, 4, 1, 1, 1).bfloat16(), image, tile=48, overlap=8, multiple=8)
    assert frames.shape == (1, 4, 3, 70, 90)
    assert frames.dtype == torch.float32


def test_progress_counts_every_tile():
    told = []
    tiled(lambda p: p, torch.rand(1, 3, 70, 90), tile=48, overlap=8, multiple=8, progress=lambda *a: told.append(a))
    assert told == [(i + 1, len(told)) for i in range(len(told))]
    assert len(told) > 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_out_of_memory_is_retried_smaller(error):
    tried = []

    def run(tile):
        tried.append(tile)
        if tile > 128:
            raise error
        return "done"

    assert until_it_fits(run, 512, smallest=64, subject="a.png") == ("done", 128)
    assert tried == [512, 256, 128]


def test_out_of_memory_to_the_end_names_file_and_remedy():
    def run(tile):
        raise MemoryError

    with pytest.raises(UnblurError, match=r"a.png: out of memory even in tiles of 96 pixels; .*smaller"):
        until_it_fits(run, 512, smallest=96, subject="a.png")


def test_another_failure_in_a_tile_is_passed_on():
    pieces = []

    def apply(piece):
        pieces.append(piece)
        if len(pieces) == 3:
            raise RuntimeError("shapes do not match")
        return piece

    with pytest.raises(RuntimeError, match="shapes"):
        until_it_fits(
            lambda tile: tiled(apply, torch.rand(1, 3, 99, 99), tile=tile, overlap=8, multiple=8),
            48,
            smallest=32,
            subject="a.png",
        )
    assert len(pieces) == 3
    assert not is_out_of_memory(ValueError("out of memory"))


def test_the_tile_that_fits():
    side = tile_that_fits(100.0, 100 * 512 * 512, overlap=64)
    assert side == 512
    assert tile_that_fits(1e9, 1, overlap=64) == smallest_tile(64) == 128


def test_tiles_with_a_free_sign_are_brought_into_agreement():
    image = torch.rand(1, 1, 96, 128) + 0.1
    signs = iter([1, -1, -1, 1, -1, 1, 1, -1, 1, -1, -1, 1] * 4)
    apply = lambda piece: piece * next(signs)  # noqa: E731
    align = lambda result, known: result * (result * known).sum().sign()  # noqa: E731
    together = tiled(apply, image, tile=64, overlap=32, multiple=16, align=align)
    assert torch.allclose(together, image, atol=1e-6)


@pytest.mark.parametrize("size", [(70, 150), (64, 64), (129, 33), (200, 61)])
@pytest.mark.parametrize("multiple", [8, 16])
def test_maps_with_fewer_pixels_are_cut_as_the_picture_is(size, multiple):
    """Each tile gets the cells that lie under it, whole ones at the border too."""
    down, across = (-(-side // 8) for side in size)
    numbered = torch.arange(float(down * across)).view(1, 1, down, across)
    image = F.interpolate(numbered, scale_factor=8)[..., : size[0], : size[1]]
    seen = []

    def apply(piece, cells):
        assert cells.shape[-2:] == (-(-piece.shape[-2] // 8), -(-piece.shape[-1] // 8))
        if multiple == 8:
            assert torch.equal(piece[..., ::8, ::8], cells)
        seen.append(1)
        return piece

    made = tiled(apply, image, tile=64, overlap=16, multiple=multiple, coarse=[(numbered, 8)])
    assert torch.allclose(made, image, atol=1e-3)
    assert (len(seen) > 1) == (max(size) > 64)
