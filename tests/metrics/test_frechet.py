from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unblur.metrics.frechet import BATCH_SIZE, FilmMoments, Moments, file_features, frechet_distance


def known(mean: Tensor, covariance: Tensor, count: int = 100) -> Moments:
    moments = Moments(len(mean))
    moments.count, moments.mean, moments.scatter = count, mean.double(), covariance.double() * (count - 1)
    return moments


def drawn(count: int, length: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(length, length, generator=generator)
    return torch.randn(count, length, generator=generator) @ mix + shift


def moments_of(vectors: Tensor) -> Moments:
    moments = Moments(vectors.shape[1])
    moments.add(vectors)
    return moments


def test_gaussians_along_the_same_axes() -> None:
    # Covariances that commute: |m1 - m2|^2 + sum of (s1 - s2)^2 along their common axes, turned by any rotation.
    turn = torch.linalg.qr(drawn(5, 5, 0).double()).Q
    one, two = torch.tensor([1.0, 4, 9, 0.25, 0]).double(), torch.tensor([4.0, 4, 1, 0, 0]).double()
    apart = torch.tensor([1.0, 0, 0, 2, 0]).double()
    first = known(torch.zeros(5), turn @ one.diag() @ turn.T)
    second = known(apart, turn @ two.diag() @ turn.T)
    expected = 5 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2 + 0.5**2
    assert frechet_distance(first, second) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(second, first) == pytest.approx(expected, abs=1e-6)


def test_gaussians_of_two_dimensions_in_closed_form() -> None:
    # For 2 x 2: tr (AB)^1/2 = (tr AB + 2 (det A det B)^1/2)^1/2.
    a = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
    b = torch.tensor([[1.0, -0.8], [-0.8, 3.0]]).double()
    shared = ((a @ b).trace() + 2 * (a.det() * b.det()).sqrt()).sqrt()
    expected = float(9 + a.trace() + b.trace() - 2 * shared)
    first, second = known(torch.zeros(2), a), known(torch.tensor([0.0, 3.0]), b)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-12)


def test_as_torchmetrics_computes_it() -> None:
    from torchmetrics.image.fid import _compute_fid

    first, second = moments_of(drawn(200, 12, 1)), moments_of(drawn(150, 12, 2, shift=0.3))
    theirs = _compute_fid(first.mean, first.covariance, second.mean, second.covariance)
    assert frechet_distance(first, second) == pytest.approx(theirs.item(), rel=1e-9)


def test_fewer_vectors_than_dimensions() -> None:
    vectors = drawn(9, 40, 3)
    first, second = moments_of(vectors), moments_of(vectors + 2)
    assert first.few
    assert moments_of(drawn(40, 40, 3)).few
    assert not moments_of(drawn(41, 40, 3)).few
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(first, second) == pytest.approx(40 * 4, rel=1e-6)
    # Which is why such sets are warned of: two draws of the same Gaussian are far apart, and less so when large.
    of = lambda count: frechet_distance(*(moments_of(torch.randn(count, 40)) for _ in range(2)))  # noqa: E731
    assert of(20) > 4 * of(200) > 16 * of(20_000)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.floats(-1e4, 1e4))
def test_parts_make_the_whole(sizes: list[int], shift: float) -> None:
    parts = [drawn(size, 3, seed).double() + shift for seed, size in enumerate([2, *sizes])]
    whole = torch.cat(parts)
    along, joined = Moments(3), Moments.over(moments_of(part) for part in parts)
    for part in parts:
        along.add(part)
    for moments in (along, joined):
        assert moments.count == len(whole)
        assert torch.allclose(moments.mean, whole.mean(0), rtol=1e-12, atol=1e-9)
        assert torch.allclose(moments.covariance, torch.cov(whole.T), rtol=1e-9, atol=1e-7)


def test_what_is_kept_is_of_all_vectors() -> None:
    first, second = moments_of(drawn(20, 3, 0)), moments_of(drawn(20, 3, 1))
    before = frechet_distance(first, second)
    assert torch.allclose(first.root @ first.root, first.covariance)
    first.add(drawn(20, 3, 2))
    whole = moments_of(torch.cat((drawn(20, 3, 0), drawn(20, 3, 2))))
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(whole, second), rel=1e-9)
    assert frechet_distance(first, second) != pytest.approx(before, rel=1e-3)


def test_too_little_to_tell() -> None:
    assert frechet_distance(moments_of(torch.zeros(1, 2)), moments_of(torch.zeros(3, 2))) is None
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        Moments(2).add(torch.zeros(3, 3))


def test_films_have_a_middle_if_their_number_of_frames_is_odd() -> None:
    odd, even = drawn(12, 2, 0).view(4, 3, 2), drawn(16, 2, 1).view(4, 4, 2)
    films = FilmMoments(2)
    films.add(odd[:2])
    films.add(odd[2:])
    assert (films.films, films.every.count, films.middle.count) == (4, 12, 4)
    assert torch.allclose(films.middle.mean, odd[:, 1].double().mean(0))
    both = FilmMoments(2)
    both.add(even)
    assert both.middle.count == 0
    whole = FilmMoments.over([films, both])
    assert (whole.films, whole.every.count, whole.middle.count) == (8, 28, 4)


class Mean(nn.Module):
    length = 3

    def forward(self, pictures: Tensor) -> Tensor:
        assert len(pictures) <= BATCH_SIZE
        return pictures.mean((-2, -1))


def test_pictures_are_described_as_files_would_hold_them() -> None:
    frames = torch.rand(5, 7, 3, 4, 4) * 1.2
    seen = file_features(Mean(), frames)
    assert seen.shape == (5, 7, 3)
    rounded = (frames.clamp(0, 1) * 255).round() / 255
    assert torch.allclose(seen, rounded.mean((-2, -1)), atol=1e-6)
