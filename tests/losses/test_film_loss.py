import numpy as np
import pytest
import torch

from unblur.data.stills import Still
from unblur.data.synthetic_batches import SyntheticExposures
from unblur.layers.paths import follow_back, reverse_time, warp
from unblur.losses.film_loss import CELL, guess_error, nearer_direction, part_terms, rule_error
from unblur.losses.pixel import charbonnier
from unblur.networks.path_film import PathFilm

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
    network = PathFilm(restorer=SMALL, motion=SMALL)
    frames, times = torch.rand(2, 3, 3, 16, 16), torch.tensor([[0.5, 0.0, 1.0]] * 2)
    terms = part_terms(network, torch.rand(2, 3, 16, 16), frames, times, torch.zeros(2, 3, 2, 16, 16))
    assert set(terms) == {"sharp", "moved", "paths"}
    terms["moved"].backward(retain_graph=True)
    assert all(weight.grad is None for weight in network.restorer.parameters())
    terms["sharp"].backward()
    assert network.restorer.unet.outro.weight.grad.abs().sum() > 0


def test_the_terms_are_those_of_all_frames():
    torch.manual_seed(0)
    network = PathFilm(restorer=SMALL, motion=SMALL)
    torch.nn.init.normal_(network.motion.unet.outro.weight, std=0.1)
    exposure = SyntheticExposures([Still(np.full((64, 64, 3), 99, np.uint8), "grey")], size=24, batch_size=4, times=3)
    batch = exposure.batch(0)
    blurry, frames, times, paths = (batch[name] for name in ("blurry", "frames", "times", "paths"))
    torch.manual_seed(1)
    terms = part_terms(network, blurry, frames, times, paths, path_weight=1.0)
    torch.manual_seed(1)
    share = (3 * torch.rand(4, 1, 1, 1) - 1).clamp(0, 1)
    given = torch.lerp(network.restorer(blurry), frames[:, 0], share)
    coefficients = nearer_direction(network.motion(blurry, given), paths, times)
    back = follow_back(coefficients, times)
    assert (back - paths).abs().mean() > 0.1
    torch.testing.assert_close(terms["paths"], (back - paths).abs().mean())
    torch.testing.assert_close(terms["moved"], charbonnier(warp(frames[:, 0], back[:, 1:]), frames[:, 1:], 1e-3))


def test_a_guess_is_right_in_either_direction_and_wrong_elsewhere():
    torch.manual_seed(0)
    guess = torch.randn(2, 4, 1, 1).expand(2, 4, 5, 5)
    truth, times = torch.rand(2, 3, 5 * CELL, 5 * CELL), torch.rand(2, 3)
    paths = follow_back(guess.repeat_interleave(CELL, -1).repeat_interleave(CELL, -2), times)
    right = [guess_error(given, truth, paths, times) for given in (guess, reverse_time(guess))]
    assert max(right) < 0.2 < guess_error(0 * guess, truth, paths, times)


def test_a_path_by_a_rule_is_wrong_if_it_runs_the_other_way():
    torch.manual_seed(0)
    coefficients = torch.tensor([3.0, -2.0, 0.5, 0.5])[None, :, None, None].expand(1, 4, 5, 5)
    truth, times = torch.rand(1, 3, 5 * CELL, 5 * CELL), torch.tensor([[0.5, 0.0, 0.8]])
    paths = follow_back(coefficients.repeat_interleave(CELL, -1).repeat_interleave(CELL, -2), times)
    # Displacements point to where the content comes from: what they do is what the paths do, backwards.
    told = coefficients, reverse_time(coefficients)
    errors = {(x, y): float(rule_error(told[x], told[y], truth, paths, times)) for x in (0, 1) for y in (0, 1)}
    right = min(errors, key=errors.__getitem__)
    assert errors[right] < 0.2
    assert right[0] != right[1], "what runs to the right here runs upwards"
    assert all(error > 0.5 for choice, error in errors.items() if choice != right)


@pytest.mark.parametrize(("train", "learns"), [("guess", True), ("detail", False)])
def test_the_evidence_learns_to_guess_alone_and_then_stays(train, learns):
    torch.manual_seed(0)
    evidence = {"hidden": 8, "blocks": 1, "window": 8, "reaches": [2, 2]}
    network = PathFilm(restorer=SMALL, motion={"widths": (4, 8, 8), "blocks": (1, 1, 1), "spectral": evidence})
    frames, times = torch.rand(2, 3, 3, 32, 32), torch.tensor([[0.5, 0.0, 1.0]] * 2)
    terms = part_terms(network, torch.rand(2, 3, 32, 32), frames, times, torch.ones(2, 3, 2, 32, 32), train=train)
    sum(terms.values()).backward()
    learnt = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert learnt
    assert all(name.startswith("motion.spectral.") == learns for name in learnt)
    assert not any(name.startswith("restorer.") for name in learnt)


def test_paths_without_correction_learn_by_their_guesses():
    torch.manual_seed(0)
    evidence = {"hidden": 8, "blocks": 1, "window": 8, "reaches": [2, 2], "updates": 1}
    paths = {"widths": (4, 8, 8), "blocks": (1, 1, 1), "spectral": evidence, "with_unet": False}
    network = PathFilm(restorer=SMALL, motion=paths)
    frames, times = torch.rand(2, 3, 3, 32, 32), torch.tensor([[0.5, 0.0, 1.0]] * 2)
    terms = part_terms(network, torch.rand(2, 3, 32, 32), frames, times, torch.ones(2, 3, 2, 32, 32))
    assert set(terms) == {"sharp", "guess", "rules"}
    sum(terms.values()).backward()
    assert all(weight.grad is not None for weight in network.motion.spectral.update.parameters())
    assert network.restorer.unet.outro.weight.grad.abs().sum() > 0
