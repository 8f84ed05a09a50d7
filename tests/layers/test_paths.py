import pytest
import torch

from unblur.layers.paths import follow_back, net_motion, odd_part, path_at, reverse_time


def test_the_odd_part_is_what_turns_with_time():
    coefficients = torch.randn(2, 6, 3, 4)
    assert torch.equal(odd_part(reverse_time(coefficients)), -odd_part(coefficients))
    assert torch.equal(odd_part(coefficients), coefficients[:, [0, 1, 4, 5]])


def test_the_net_motion_is_half_the_way_from_end_to_end():
    coefficients = torch.randn(2, 6, 3, 4)
    ends = path_at(coefficients, torch.tensor([0.0, 1.0]))
    assert torch.allclose(net_motion(coefficients), (ends[:, 1] - ends[:, 0]) / 2, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_positions_are_exact_whatever_convolutions_are_cast_to(batch):
    coefficients, times = 9 * torch.randn(batch, 6, 3, 300), torch.linspace(0, 1, 5)
    with torch.autocast("cpu", torch.bfloat16):
        paths, back = path_at(coefficients, times), follow_back(coefficients, times)
    assert torch.equal(paths, path_at(coefficients, times))
    assert torch.equal(back, follow_back(coefficients, times))
