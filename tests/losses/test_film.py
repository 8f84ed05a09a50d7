import pytest
import torch

from unblur.losses.film import CELL, guess_error, nearer_direction, part_terms
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


def test_a_guess_is_right_in_either_direction_and_wrong_elsewhere():
    torch.manual_seed(0)
    guess = torch.randn(2, 4, 1, 1).expand(2, 4, 5, 5)
    truth, times = torch.rand(2, 3, 5 * CELL, 5 * CELL), torch.rand(2, 3)
    paths = follow_back(guess.repeat_interleave(CELL, -1).repeat_interleave(CELL, -2), times)
    right = [guess_error(given, truth, paths, times) for given in (guess, reverse_time(guess))]
    assert max(right) < 0.2 < guess_error(0 * guess, truth, paths, times)


@pytest.mark.parametrize(("train", "learns"), [("guess", True), ("detail", False)])
def test_the_evidence_learns_to_guess_alone_and_then_stays(train, learns):
    torch.manual_seed(0)
    evidence = {"hidden": 8, "blocks": 1, "window": 8, "reaches": [2]}
    network = FilmNet(restorer=SMALL, paths={"widths": (4, 8, 8), "blocks": (1, 1, 1), "evidence": evidence})
    frames, times = torch.rand(2, 3, 3, 32, 32), torch.tensor([[0.5, 0.0, 1.0]] * 2)
    terms = part_terms(network, torch.rand(2, 3, 32, 32), frames, times, torch.ones(2, 3, 2, 32, 32), train=train)
    sum(terms.values()).backward()
    learnt = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert learnt
    assert all(name.startswith("paths.evidence.") == learns for name in learnt)
    assert not any(name.startswith("restorer.") for name in learnt)
