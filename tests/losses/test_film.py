import torch

from unblur.losses.film import nearer_direction, part_terms
from unblur.networks.paths import FilmNet, follow_back, reverse_time

SMALL = {"widths": (4, 8), "blocks": (1, 1)}


def test_paths_are_compared_in_the_nearer_direction():
    torch.manual_seed(0)
    coefficients = 2 * torch.randn(3, 4, 1, 1).expand(3, 4, 10, 10)
    times = torch.rand(3, 3)
    paths = follow_back(coefficients, times)
    given = torch.cat((reverse_time(coefficients[:1]), coefficients[1:2], reverse_time(coefficients[2:])))
    assert torch.allclose(nearer_direction(given, paths, times), coefficients)


def test_the_parts_are_taught_apart():
    torch.manual_seed(0)
    network = FilmNet(restorer=SMALL, paths=SMALL)
    frames, times = torch.rand(2, 3, 3, 16, 16), torch.tensor([[0.5, 0.0, 1.0]] * 2)
    terms = part_terms(network, torch.rand(2, 3, 16, 16), frames, times, torch.zeros(2, 3, 2, 16, 16))
    assert set(terms) == {"sharp", "moved", "paths"}
    terms["moved"].backward(retain_graph=True)
    assert all(weight.grad is None for weight in network.restorer.parameters())
    terms["sharp"].backward()
    assert network.restorer.unet.outro.weight.grad.abs().sum() > 0
