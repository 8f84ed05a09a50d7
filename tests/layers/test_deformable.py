import math

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unblur.layers import deformable
from unblur.layers.deformable import Steering, deformable_conv2d, steered_conv2d

KERNELS = [(3, 3), (1, 1), (1, 3), (5, 3)]


def _case(
    seed: int, batch: int, channels: int, height: int, width: int, kernel: tuple[int, int] = (3, 3), reach: float = 2.0
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    taps = kernel[0] * kernel[1]
    return [
        torch.randn(batch, channels, height, width, generator=generator),
        torch.randn(batch, 2 * taps, height, width, generator=generator) * reach,
        torch.rand(batch, taps, height, width, generator=generator) * 2,
        torch.randn(4, channels, *kernel, generator=generator),
        torch.randn(4, generator=generator),
    ]


def _pixel(image: np.ndarray, y: int, x: int) -> np.ndarray:
    inside = 0 <= y < image.shape[1] and 0 <= x < image.shape[2]
    return image[:, y, x] if inside else np.zeros(image.shape[0])


def _naive(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Equation 1 of the paper, a pixel, a tap and a corner at a time."""
    pictures, moves, masks, taps = (t.double().numpy() for t in (image, offset, mask, weight))
    out = np.zeros((image.shape[0], weight.shape[0], *image.shape[2:]))
    tall, wide = weight.shape[2:]
    for b, k, p, q in np.ndindex(image.shape[0], tall * wide, *image.shape[2:]):
        y = p + k // wide - tall // 2 + moves[b, 2 * k, p, q]
        x = q + k % wide - wide // 2 + moves[b, 2 * k + 1, p, q]
        top, left = math.floor(y), math.floor(x)
        sample = sum(
            (1 - abs(y - row)) * (1 - abs(x - column)) * _pixel(pictures[b], row, column)
            for row in (top, top + 1)
            for column in (left, left + 1)
        )
        out[b, :, p, q] += masks[b, k, p, q] * (taps[:, :, k // wide, k % wide] @ sample)
    return (torch.from_numpy(out) + bias.double().view(1, -1, 1, 1)).float()


def _close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max().clamp_min(1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("reach", [0.5, 4.0, 100.0])
def test_equals_the_naive_loop(kernel: tuple[int, int], reach: float) -> None:
    case = _case(1, 2, 3, 5, 7, kernel, reach)
    expected = _naive(*case)
    _close(deformable_conv2d(*case), expected, 1e-5)
    leaves = [tensor.requires_grad_() for tensor in case]
    _close(deformable_conv2d(*leaves).detach(), expected, 1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_any_size_and_both_ways_of_computing_agree(
    batch: int, height: int, width: int, channels: int, seed: int
) -> None:
    case = _case(seed, batch, channels, height, width)
    expected = deformable._by_grid_sample(*case)
    # The two round the same position differently, which shows where a sample crosses from one pixel to the next.
    _close(deformable_conv2d(*case), expected, 1e-4)


def test_memory_layout_changes_nothing() -> None:
    case = _case(12, 2, 5, 6, 7)
    last = [tensor.contiguous(memory_format=torch.channels_last) for tensor in case[:3]]
    out = deformable_conv2d(*last, *case[3:])
    assert out.is_contiguous(memory_format=torch.channels_last)
    _close(out, deformable_conv2d(*case), 1e-6)
    # One convolution that gives offsets and masks hands over slices.
    both = torch.cat(last[1:3], dim=1)
    _close(deformable_conv2d(last[0], both[:, :18], both[:, 18:], *case[3:]), out, 1e-6)


def test_bands_and_groups_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case(2, 3, 4, 13, 6)
    expected = deformable_conv2d(*case)
    leaves = [tensor.clone().requires_grad_() for tensor in case]
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(deformable_conv2d(*leaves), leaves, upstream)
    monkeypatch.setattr(deformable, "BAND_BYTES", 4 * 9 * 6 * 4 * 2)
    monkeypatch.setattr(deformable, "PICTURES_BYTES", 1)
    _close(deformable_conv2d(*case), expected, 1e-6)
    _close(deformable._by_pictures(*case, differentiable=False), expected, 1e-6)
    for out in (deformable_conv2d(*leaves), deformable._by_pictures(*leaves, differentiable=True)):
        _close(out.detach(), expected, 1e-6)
        for ours, theirs in zip(torch.autograd.grad(out, leaves, upstream), gradients, strict=True):
            _close(ours, theirs, 1e-5)


@pytest.mark.parametrize("height", [1, 7, 40])
def test_steering_is_two_convolutions_first(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deformable, "BAND_BYTES", 4 * 9 * 6 * 4 * 11)
    image, _, _, weight, bias = _case(13, 2, 4, height, 6)
    offset, mask = nn.Conv2d(4, 18, 3, padding=1), nn.Conv2d(4, 9, 3, padding=1)
    with torch.no_grad():
        offset.weight.mul_(10)
        mask.weight.mul_(10)
    leaves = [tensor.requires_grad_() for tensor in (image, weight, bias, *offset.parameters(), *mask.parameters())]
    expected = deformable_conv2d(image, offset(image), mask(image).sigmoid(), weight, bias)
    steered = steered_conv2d(image, Steering.of(offset, mask), weight, bias)
    _close(steered.detach(), expected.detach(), 1e-5)
    upstream = torch.randn_like(expected)
    theirs = torch.autograd.grad(expected, leaves, upstream)
    for mine, other in zip(torch.autograd.grad(steered, leaves, upstream), theirs, strict=True):
        _close(mine, other, 1e-4)
    with torch.inference_mode():
        _close(steered_conv2d(image, Steering.of(offset, mask), weight, bias), expected.detach(), 1e-5)


def test_nothing_given_is_changed() -> None:
    case = _case(14, 2, 3, 6, 5)
    before = [tensor.clone() for tensor in case]
    deformable_conv2d(*case)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(case, before, strict=True))


@pytest.mark.parametrize("value", [0.3, 1.0, 2.0])
def test_without_offsets_it_is_a_plain_convolution(value: float) -> None:
    image, offset, mask, weight, bias = _case(3, 2, 5, 8, 9)
    out = deformable_conv2d(image, offset * 0, torch.full_like(mask, value), weight, bias)
    _close(out, F.conv2d(image, weight * value, bias, padding=1), 1e-5)


def test_offsets_are_row_first() -> None:
    image = torch.rand(1, 1, 6, 6)
    offset = torch.zeros(1, 2, 6, 6)
    offset[:, 0] = 2.0
    out = deformable_conv2d(image, offset, torch.ones(1, 1, 6, 6), torch.ones(1, 1, 1, 1))
    _close(out[..., :4, :], image[..., 2:, :], 1e-6)
    assert (out[..., 4:, :] == 0).all()


def test_gradients_pass_gradcheck() -> None:
    torch.manual_seed(0)
    case = [tensor.double() for tensor in _case(4, 2, 2, 4, 3, reach=1.5)]
    # Bilinear reading has a kink where a position is whole: keep the finite differences clear of it.
    offset = case[1]
    case[1] = offset.floor() + 0.1 + 0.8 * (offset - offset.floor())
    assert torch.autograd.gradcheck(deformable_conv2d, [tensor.requires_grad_() for tensor in case])


def test_gradients_equal_those_of_grid_sample() -> None:
    case = _case(5, 3, 6, 9, 8)
    upstream = torch.randn(3, 4, 9, 8)
    leaves = [tensor.requires_grad_() for tensor in case]
    ours = torch.autograd.grad(deformable_conv2d(*leaves), leaves, upstream)
    theirs = torch.autograd.grad(deformable._by_grid_sample(*leaves), leaves, upstream)
    for mine, other in zip(ours, theirs, strict=True):
        _close(mine, other, 1e-3)


def test_gradient_of_one_input_alone() -> None:
    case = _case(6, 1, 3, 5, 5)
    for position, tensor in enumerate(case):
        leaf = tensor.clone().requires_grad_()
        arguments = [*case[:position], leaf, *case[position + 1 :]]
        (gradient,) = torch.autograd.grad(deformable_conv2d(*arguments).square().sum(), leaf)
        assert gradient.abs().max() > 0


def test_bfloat16_reads_at_float32_positions() -> None:
    # In bfloat16 column 301 does not exist; a position rounded to it would read a neighbour.
    image = torch.arange(400.0).remainder(2).view(1, 1, 1, 400).bfloat16()
    zero, one = torch.zeros(1, 2, 1, 400), torch.ones(1, 1, 1, 400)
    out = deformable_conv2d(image, zero.bfloat16(), one.bfloat16(), torch.ones(1, 1, 1, 1).bfloat16())
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, image)


def test_bfloat16_and_autocast_stay_close() -> None:
    case = _case(7, 2, 8, 10, 11, reach=1.0)
    exact = deformable_conv2d(*case)
    half = [tensor.bfloat16() for tensor in case]
    rounded = deformable_conv2d(*[tensor.float() for tensor in half])
    _close(deformable_conv2d(*half).float(), rounded, 0.02)
    leaves = [tensor.requires_grad_() for tensor in case]
    with torch.autocast("cpu", torch.bfloat16):
        out = deformable_conv2d(*leaves)
    assert out.dtype == torch.bfloat16
    _close(out.float(), exact, 0.02)
    expected = torch.autograd.grad(deformable_conv2d(*leaves).sum(), leaves)
    for gradient, other in zip(torch.autograd.grad(out.float().sum(), leaves), expected, strict=True):
        _close(gradient, other, 0.05)


def test_gradients_of_many_bands_inside_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deformable, "BAND_BYTES", 1)
    leaves = [tensor.requires_grad_() for tensor in _case(7, 2, 3, 4, 5)]
    with torch.autocast("cpu", torch.bfloat16):
        deformable_conv2d(*leaves).float().sum().backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


def test_not_a_number_stays_where_it_is() -> None:
    image, offset, mask, weight, bias = _case(8, 1, 2, 6, 6, reach=0.3)
    offset[0, 0, 3, 3] = math.nan
    offset[0, 0, 1, 1] = math.inf
    out = deformable_conv2d(image, offset, mask, weight, bias)
    assert out.isnan().any(1).nonzero().tolist() == [[0, 3, 3]]


def test_shapes_that_do_not_fit_are_refused() -> None:
    image, offset, mask, weight, bias = _case(9, 1, 2, 6, 6)
    with pytest.raises(ValueError, match="offset"):
        deformable_conv2d(image, offset[:, :9], mask, weight, bias)
    with pytest.raises(ValueError, match="weight"):
        deformable_conv2d(image[:, :1], offset, mask, weight, bias)


class _Wrapped(nn.Module):
    def forward(self, image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        return deformable_conv2d(image, offset, mask, weight)


def test_exports_to_onnx(tmp_path) -> None:
    case = _case(10, 2, 3, 7, 6)[:4]
    path = tmp_path / "deformable.onnx"
    torch.onnx.export(_Wrapped().eval(), tuple(case), path, dynamo=True, opset_version=18, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {spec.name: tensor.numpy() for spec, tensor in zip(session.get_inputs(), case, strict=True)}
    (out,) = session.run(None, feed)
    _close(torch.from_numpy(out), deformable_conv2d(*case), 1e-4)
