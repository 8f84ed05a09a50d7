import math

import pytest
import torch

from unblur.losses.gan_loss import (
    critic_terms,
    network_terms,
    released_pixel,
    taken_for_made,
    taken_for_true,
    time_error,
)
from unblur.losses.pixel import multi_scale
from unblur.networks.cfmd_critic import Judged


def _judged(whole: float, local: list[float], time: list[float]) -> Judged:
    """Of a frame of 1 x 2 pixels."""
    return Judged(torch.tensor([[[whole]]]), torch.tensor([[local]]), torch.tensor([[time]]))


TRUE = _judged(2.0, [1.0, -1.0], [0.3, 0.5])
MADE = _judged(-1.0, [0.0, 3.0], [0.0, 1.0])
TIMES = torch.tensor([0.25])


def _nll(probability: float) -> float:
    return -math.log(probability)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_critic_by_hand() -> None:
    terms = critic_terms(TRUE, MADE, TIMES)
    whole = _nll(_sigmoid(2)) + _nll(1 - _sigmoid(-1))
    local = (_nll(_sigmoid(1)) + _nll(_sigmoid(-1))) / 2 + (_nll(0.5) + _nll(1 - _sigmoid(3))) / 2
    time = (0.05**2 + 0.25**2) / 2 + (0.25**2 + 0.75**2) / 2
    assert terms["critic_whole"].item() == pytest.approx(whole)
    assert terms["critic_local"].item() == pytest.approx(local)
    assert terms["critic_time"].item() == pytest.approx(0.05 * time)
    assert whole == pytest.approx(0.126928 + 0.313262, abs=1e-6)
    assert time == pytest.approx(0.345)


def test_the_network_by_hand() -> None:
    terms = network_terms(MADE, TIMES)
    fooled = _nll(_sigmoid(-1)) + (_nll(0.5) + _nll(_sigmoid(3))) / 2
    assert terms["adversarial"].item() == pytest.approx(0.1 * fooled)
    assert terms["regression"].item() == pytest.approx(0.05 * (0.25**2 + 0.75**2) / 2)


def test_the_released_form_has_floors() -> None:
    sure = torch.tensor([60.0])
    assert taken_for_true(sure).item() == pytest.approx(0, abs=1e-6)
    assert taken_for_made(-sure).item() == pytest.approx(0, abs=1e-6)
    assert taken_for_true(sure, "released").item() == pytest.approx(0.313, abs=5e-4)
    assert taken_for_made(-sure, "released").item() == pytest.approx(0.693, abs=5e-4)


def test_the_released_form_by_hand() -> None:
    critic, network = (
        critic_terms(TRUE, MADE, TIMES, 1.0, "released"),
        network_terms(MADE, TIMES, 0.01, 0.05, "released"),
    )
    whole = (_nll(_sigmoid(_sigmoid(2))) + _nll(1 - _sigmoid(_sigmoid(-1)))) / 2
    assert critic["critic_whole"].item() == pytest.approx(whole)
    assert critic["critic_time"].item() == pytest.approx(0.345 / 2)
    fooled = _nll(_sigmoid(_sigmoid(-1))) + (_nll(_sigmoid(0.5)) + _nll(_sigmoid(_sigmoid(3)))) / 2
    assert network["adversarial"].item() == pytest.approx(0.01 * fooled)
    assert network["regression"].item() == pytest.approx(0.05 * (0.25**2 + 0.75**2) / 2)


def test_extreme_verdicts_are_finite_and_teach() -> None:
    logits = torch.tensor([-200.0, 200.0], requires_grad=True)
    (taken_for_true(logits) + taken_for_made(logits)).backward()
    assert logits.grad.tolist() == pytest.approx([-0.5, 0.5])


def test_every_frame_has_its_own_time() -> None:
    told = torch.tensor([0.0, 1.0])[:, None, None].expand(2, 3, 4)
    assert time_error(told, torch.tensor([0.0, 1.0])) == 0
    assert time_error(told, torch.tensor([1.0, 0.0])) == 1


def test_released_pixels_are_absolute_differences() -> None:
    torch.manual_seed(0)
    frames = torch.rand(1, 2, 3, 8, 8)
    outputs = [torch.rand(1, 2, 3, side, side) for side in (4, 8)]
    # Halving bilinearly is halving by means.
    torch.testing.assert_close(released_pixel(outputs, frames), multi_scale(outputs, frames, 0.0))
    quarter = released_pixel([torch.zeros(1, 2, 3, 2, 2)], frames)
    assert quarter != multi_scale([torch.zeros(1, 2, 3, 2, 2)], frames, 0.0)
