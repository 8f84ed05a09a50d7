import pytest
import torch
import torch.nn.functional as F

from unblur.layers.resample import in_between, shrink


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(8, 8), (16, 40)])
def test_shrinking_is_bilinear_without_aliasing(factor: int, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    expected = F.interpolate(image, scale_factor=1 / factor, mode="bilinear", antialias=True)
    torch.testing.assert_close(shrink(image, factor), expected)


def test_a_shrunk_constant_is_constant() -> None:
    torch.testing.assert_close(shrink(torch.full((1, 2, 8, 8), 0.3), 4), torch.full((1, 2, 2, 2), 0.3))


def test_between_steps_of_time() -> None:
    steps = torch.rand(2, 4, 3, 2, 2)
    assert torch.equal(in_between(steps, torch.arange(4) / 3), steps)
    torch.testing.assert_close(in_between(steps, torch.tensor([0.5]))[:, 0], (steps[:, 1] + steps[:, 2]) / 2)
    own = torch.tensor([[0.0, 0.1], [1.0, 0.7]])
    alone = [in_between(steps[i : i + 1], own[i]) for i in range(2)]
    torch.testing.assert_close(in_between(steps, own), torch.cat(alone))
