import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import structural_similarity_index_measure

from unblur.losses.pixel import charbonnier, dissimilarity, multi_scale, pyramid, shrink


def test_charbonnier_is_the_equation() -> None:
    a, b = torch.tensor([0.0, 0.5]), torch.tensor([0.3, 0.5])
    expected = torch.tensor([(0.09 + 1e-6) ** 0.5, 1e-3])
    torch.testing.assert_close(charbonnier(a, b), expected.mean())
    torch.testing.assert_close(charbonnier(a, a, eps=0.1), torch.tensor(0.1))


def test_charbonnier_refuses_to_broadcast() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        charbonnier(torch.zeros(2, 3), torch.zeros(3))


def test_charbonnier_gradient_is_finite_at_zero_and_that_of_l1_far_away() -> None:
    a = torch.tensor([0.0, 1.0, -1.0], requires_grad=True)
    charbonnier(a, torch.zeros(3)).backward()
    torch.testing.assert_close(3 * a.grad, torch.tensor([0.0, 1.0, -1.0]))


def test_multi_scale_sums_over_scales() -> None:
    torch.manual_seed(0)
    frames = torch.rand(2, 3, 3, 8, 8)
    outputs = [torch.rand(2, 3, 3, n, n) for n in (2, 4, 8)]
    means = [frames.unflatten(-1, (n, 8 // n)).unflatten(-3, (n, 8 // n)).mean((-1, -3)) for n in (2, 4, 8)]
    expected = sum(charbonnier(o, m) for o, m in zip(outputs, means, strict=True))
    torch.testing.assert_close(multi_scale(outputs, frames), expected)


def test_multi_scale_of_the_truth_is_the_floor() -> None:
    frames = torch.rand(1, 2, 3, 12, 20)
    torch.testing.assert_close(multi_scale(pyramid(frames, 3), frames), torch.tensor(3e-3))
    with pytest.raises(ValueError, match="no outputs"):
        multi_scale([], frames)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 17), width=st.integers(1, 17), scales=st.integers(1, 4))
def test_pyramid_takes_any_size(height: int, width: int, scales: int) -> None:
    levels = pyramid(torch.full((1, 2, 3, height, width), 0.25), scales)
    assert len(levels) == scales
    assert levels[-1].shape[-2:] == (height, width)
    assert all(torch.allclose(level, torch.tensor(0.25)) for level in levels)


def test_shrink_keeps_the_mean() -> None:
    frames = torch.rand(2, 3, 3, 8, 16)
    small = shrink(frames, (2, 4))
    torch.testing.assert_close(small.mean((-1, -2)), frames.mean((-1, -2)))


def test_it_is_ssim_with_zeros_beyond_the_rim() -> None:
    image, truth = torch.rand(2, 2, 3, 40, 30)
    framed = [torch.nn.functional.pad(each, (16,) * 4) for each in (image, truth)]
    _, everywhere = structural_similarity_index_measure(*framed, data_range=1.0, return_full_image=True)
    expected = 1 - everywhere[..., 16:-16, 16:-16].mean()
    assert float(dissimilarity(image, truth)) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (40, 40)])
def test_any_size(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size, requires_grad=True)
    assert float(dissimilarity(image, image.detach()).detach()) == pytest.approx(0, abs=1e-6)
    other = dissimilarity(image, torch.rand(1, 3, *size))
    other.backward()
    assert float(other.detach()) > 0.01
    assert image.grad.abs().max() > 0
    with pytest.raises(ValueError, match="shapes differ"):
        dissimilarity(image, torch.rand(2, 3, *size))
