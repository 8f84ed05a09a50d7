import pytest
import torch
import torch.nn.functional as F

from unblur.layers.spectral import blur_kernels, cepstra, faded, patches_of

REACH = 6


def scene(seed: int = 0) -> torch.Tensor:
    """A patch with detail at every frequency, that repeats itself, so that its convolutions are exact."""
    return torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(seed))


def test_the_kernel_of_an_unblurred_patch_is_a_point_in_the_middle() -> None:
    kernel = blur_kernels(scene(), scene(), REACH, noise=1e-4)[0, 0]
    assert kernel[REACH, REACH] > 0.9
    assert kernel.abs().sum() - kernel[REACH, REACH] < 0.7


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, 2), (-4, 1)])
def test_content_that_moved_right_and_down_is_drawn_right_and_down(dx: int, dy: int) -> None:
    moved = scene().roll((dy, dx), (-2, -1))
    kernel = blur_kernels(0.5 * scene() + 0.5 * moved, scene(), REACH, noise=1e-4)[0, 0]
    assert kernel[REACH, REACH] == pytest.approx(0.5, abs=0.05)
    assert kernel[REACH + dy, REACH + dx] == pytest.approx(0.5, abs=0.05)


def test_where_there_is_no_detail_nothing_is_drawn() -> None:
    flat = torch.full((1, 1, 24, 24), 0.5)
    patch = faded(patches_of(flat, 24, 24))
    assert blur_kernels(patch, patch, REACH).abs().max() < 1e-6


def test_a_cepstrum_has_a_dip_at_the_length_of_the_blur() -> None:
    length = 5
    blurred = sum(scene(1).roll(k, -1) for k in range(length)) / length
    marks = cepstra(blurred, REACH, noise=1e-3) - cepstra(scene(1), REACH, noise=1e-3)
    assert marks.shape[-2:] == (REACH + 1, 2 * REACH + 1)
    along = marks[0, 0, 0, REACH + 1 :]
    assert int(along.argmin()) + 1 == length


def test_patches_surround_their_cells() -> None:
    light = F.one_hot(torch.tensor(37), 64).float().view(1, 1, 1, 64).expand(1, 1, 8, 64)
    patches = faded(patches_of(light, 24, 8))
    assert patches.shape == (1, 1, 1, 8, 24, 24)
    assert int(patches[0, 0, 0, 4].abs().sum(0).argmax()) == 37 - 4 * 8 + 8


def test_gradients_are_finite() -> None:
    patches = faded(patches_of(torch.zeros(1, 1, 16, 16, requires_grad=True), 12, 4))
    (blur_kernels(patches, patches, 4).sum() + cepstra(patches, 4).sum()).backward()
