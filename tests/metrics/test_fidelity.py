from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.metrics.fidelity import MAX_PSNR, psnr, ssim


def test_psnr_of_a_known_difference() -> None:
    truth = torch.full((2, 3, 5, 4), 0.5)
    image = truth + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert torch.allclose(psnr(image, truth), torch.tensor([20.0, 40.0]), atol=1e-3)
    assert psnr(truth, truth).tolist() == [MAX_PSNR] * 2


def test_values_outside_the_range_are_clamped() -> None:
    truth = torch.ones(1, 3, 16, 16)
    assert psnr(truth + 3, truth).item() == MAX_PSNR
    assert ssim(truth + 3, truth).item() == pytest.approx(1)


def test_rounding_is_an_option() -> None:
    truth = torch.full((1, 3, 16, 16), 100 / 255)
    image = truth + 0.4 / 255
    assert psnr(image, truth, levels=255).item() == MAX_PSNR
    assert psnr(image, truth).item() == pytest.approx(-20 * math.log10(0.4 / 255), abs=1e-2)
    assert ssim(image, truth, levels=255).item() == 1


def test_ssim_against_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 11, 11, generator=generator).double()
    # One window exactly: the score is the formula with Gaussian weights, once.
    line = torch.exp(-((torch.arange(11).double() - 5) ** 2) / (2 * 1.5**2))
    w = torch.outer(line, line) / line.sum() ** 2
    ma, mb = (w * a).sum(), (w * b).sum()
    va, vb, cov = (w * a * a).sum() - ma**2, (w * b * b).sum() - mb**2, (w * a * b).sum() - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    got = ssim(a.expand(1, 3, 11, 11), b.expand(1, 3, 11, 11))
    assert got.item() == pytest.approx(expected.item(), abs=1e-6)


def test_ssim_is_that_of_torchmetrics_away_from_the_border() -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = torch.rand(2, 2, 3, 24, 31, generator=torch.Generator().manual_seed(1))
    _, full = structural_similarity_index_measure(x, y, data_range=1.0, reduction="none", return_full_image=True)
    assert torch.allclose(ssim(x, y), full[..., 5:-5, 5:-5].mean((1, 2, 3)), atol=1e-5)


@pytest.mark.parametrize("levels", [None, 255])
def test_both_variants_are_those_of_torchmetrics(levels: int | None) -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    x, noise = torch.rand(2, 2, 3, 24, 31, generator=torch.Generator().manual_seed(1))
    y = (x + 0.1 * noise).clamp(0, 1)
    stored = [each if levels is None else (each * levels).round() for each in (x, y)]
    options = {"data_range": float(levels or 1), "reduction": "none"}
    theirs = peak_signal_noise_ratio(*stored, dim=(1, 2, 3), **options)
    assert torch.allclose(psnr(x, y, levels=levels), theirs, atol=1e-4)
    theirs = structural_similarity_index_measure(*stored, **options)
    assert torch.allclose(ssim(x, y, levels=levels, mirrored=True), theirs, atol=1e-5)
    assert not torch.allclose(ssim(x, y, levels=levels), theirs, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(11, 20), st.integers(11, 20), st.integers(0, 99))
def test_one_number_per_picture_symmetric_and_independent(b: int, t: int, h: int, w: int, seed: int) -> None:
    x, y = torch.rand(2, b, t, 3, h, w, generator=torch.Generator().manual_seed(seed))
    for metric in (psnr, ssim):
        scores = metric(x, y)
        assert scores.shape == (b, t)
        assert torch.allclose(scores, metric(y, x), atol=1e-4)
        assert torch.allclose(scores[0, 0], metric(x[:1, 0], y[:1, 0])[0], atol=1e-4)
        assert (metric(x, x) >= scores).all()


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(torch.zeros(1, 3, 10, 30), torch.zeros(1, 3, 10, 30))
