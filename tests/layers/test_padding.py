import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.layers.padding import MirroredConv2d, crop, pad_around, pad_to_multiple, pad_to_size, reflect_pad


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 19), st.integers(1, 19), st.sampled_from([1, 2, 4, 8, 32]))
def test_padding_reaches_the_multiple_and_crops_back(height: int, width: int, multiple: int) -> None:
    image = torch.rand(2, 3, height, width)
    padded, size = pad_to_multiple(image, multiple)
    assert size == (height, width)
    assert padded.shape[-2] % multiple == 0
    assert padded.shape[-1] % multiple == 0
    assert padded.shape[-2] - height < multiple
    assert padded.shape[-1] - width < multiple
    assert torch.equal(crop(padded, size), image)


def test_the_rim_is_a_mirror_without_the_edge_itself() -> None:
    image = torch.arange(15.0).view(1, 1, 3, 5)
    padded, _ = pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 4, 8)
    assert padded[0, 0, 3, :5].tolist() == image[0, 0, 1].tolist()
    assert padded[0, 0, 0, 5:].tolist() == [3.0, 2.0, 1.0]


def test_one_pixel_is_repeated() -> None:
    padded, _ = pad_to_multiple(torch.full((1, 3, 1, 1), 0.25), 4)
    assert padded.shape == (1, 3, 4, 4)
    assert (padded == 0.25).all()


def test_a_fitting_picture_is_not_copied() -> None:
    image = torch.rand(1, 3, 8, 12)
    assert pad_to_multiple(image, 4)[0] is image


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 19), st.integers(1, 19), st.sampled_from([1, 2, 4, 8, 32]))
def test_padding_around_is_a_mirror_on_every_side(height: int, width: int, multiple: int) -> None:
    image = torch.rand(2, 3, height, width)
    padded, (top, left) = pad_around(image, multiple)
    down, right = -height % multiple, -width % multiple
    assert (top, left) == (down // 2, right // 2)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (top, down - top), (left, right - left)), mode="reflect")
    assert np.array_equal(padded.numpy(), expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 30), st.integers(0, 4))
def test_reflection_as_often_as_it_takes(height: int, width: int, more: int, rim: int) -> None:
    image = torch.rand(2, 3, height, width)
    below = np.pad(image.numpy(), ((0, 0), (0, 0), (0, more), (0, 2 * more)), mode="reflect")
    assert np.array_equal(pad_to_size(image, height + more, width + 2 * more).numpy(), below)
    around = np.pad(image.numpy(), ((0, 0), (0, 0), (rim, rim), (rim, rim)), mode="reflect")
    assert np.array_equal(reflect_pad(image, rim).numpy(), around)


def test_a_mirrored_convolution_sees_no_rim() -> None:
    flat = MirroredConv2d(1, 1, 3, bias=False)(torch.ones(1, 1, 1, 7))
    assert flat.shape == (1, 1, 1, 7)
    assert torch.allclose(flat, flat[..., :1].expand_as(flat))
