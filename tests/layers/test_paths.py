import pytest
import torch

from unblur.layers.paths import aligned, follow_back, local_planes, net_motion, odd_part, path_at, reverse_time


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


def plane(height: int = 9, width: int = 12) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((1 + 0.5 * x - 0.2 * y, 3 - 0.1 * x + 0.4 * y))[None].float()


def test_a_plane_stays_a_plane_up_to_the_rim() -> None:
    weights = 0.1 + torch.rand(1, 1, 9, 12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(local_planes(plane(), weights, 3.0), plane(), atol=0.05)


def test_what_is_not_trusted_does_not_count() -> None:
    values, weights = plane(), torch.ones(1, 1, 9, 12)
    values[..., 4, 5], weights[..., 4, 5] = 100.0, 1e-6
    assert torch.allclose(local_planes(values, weights, 3.0), plane(), atol=0.05)


def test_it_is_the_weighted_least_squares_fit() -> None:
    torch.manual_seed(0)
    values, weights, sigma = torch.randn(2, 3, 6, 7), torch.rand(2, 1, 6, 7) + 0.1, 1.5
    y, x = torch.meshgrid(torch.arange(6) - 2, torch.arange(7) - 4, indexing="ij")
    near = ((x.abs() <= 3) & (y.abs() <= 3)) * torch.exp(-0.5 * (x**2 + y**2) / sigma**2)
    share = (weights[1, 0] * near).flatten()
    basis = torch.stack((torch.ones(42), x.flatten() / sigma, y.flatten() / sigma), 1)
    normal = basis.T @ (share[:, None] * basis) + 1e-3 * share.sum() * torch.eye(3)
    wanted = torch.linalg.solve(normal, basis.T @ (share[:, None] * values[1].flatten(1).T))[0]
    assert torch.allclose(local_planes(values, weights, sigma)[1, :, 2, 4], wanted, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1)])
def test_the_smallest_pictures(size: tuple[int, int]) -> None:
    values = torch.ones(1, 2, *size)
    assert torch.allclose(local_planes(values, torch.ones(1, 1, *size), 8.0), values, atol=0.01)


def smooth(angle: float) -> torch.Tensor:
    """Paths that run about one way, and bend."""
    y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, 10), torch.linspace(-0.5, 0.5, 14), indexing="ij")
    turn = torch.as_tensor(angle) + x + y
    return torch.stack((3 * turn.cos(), 3 * turn.sin(), 1 + x, y))[None]


@pytest.mark.parametrize("angle", [0.0, 1.5, 2.5, 3.1])
def test_paths_known_up_to_their_direction_are_turned_alike(angle: float) -> None:
    paths = smooth(angle)
    senses = torch.rand(1, 1, 10, 14, generator=torch.Generator().manual_seed(1)) < 0.5
    turned = aligned(torch.where(senses, reverse_time(paths), paths), torch.ones(1, 1, 10, 14))
    assert torch.equal(turned, paths) or torch.equal(turned, reverse_time(paths))


def test_each_picture_is_turned_for_itself() -> None:
    pair = torch.cat((smooth(0.0), smooth(1.5)))
    together = aligned(pair, torch.ones(2, 1, 10, 14))
    assert torch.equal(together, torch.cat([aligned(one[None], torch.ones(1, 1, 10, 14)) for one in pair]))
