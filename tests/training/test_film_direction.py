from pathlib import Path

import pytest
import torch
from brighter import Brighter
from loaded_networks import SimpleFilm
from torch import Tensor

from unblur.errors import UnblurError
from unblur.losses.order_loss import in_order
from unblur.metrics.ordering import all_pairs
from unblur.models.card import Card
from unblur.models.weights import save_weights
from unblur.networks.hypercut import HyperCUT
from unblur.networks.mimo_unet import MimoUNet
from unblur.training.film_direction import order_error, order_network, ordered_scores, runs_forward
from unblur.training.film_training import FilmTraining, Loss


def _lights(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)[..., None, None, None].expand(-1, -1, 3, 64, 64)


TIMES = torch.tensor([[0.5, 0.0, 0.9], [0.5, 0.0, 0.9]])
RISING, FALLING = [0.5, 0.1, 0.8], [0.5, 0.9, 0.2]


def test_the_order_network_decides_whatever_the_order_of_frames() -> None:
    frames = _lights(RISING, FALLING)
    assert runs_forward("learned", frames, TIMES, network=Brighter()).tolist() == [True, False]
    shuffled = torch.tensor([2, 0, 1])
    assert runs_forward("learned", frames[:, shuffled], TIMES[:, shuffled], network=Brighter()).tolist() == [
        True,
        False,
    ]


def test_scores_have_the_earlier_frame_first() -> None:
    scores = ordered_scores(Brighter(), _lights(RISING, FALLING), TIMES)
    assert (scores[0] > 0).all()
    assert (scores[1] < 0).all()
    torch.testing.assert_close(order_error(Brighter(), _lights(RISING, FALLING), TIMES), in_order(scores))


def test_a_network_that_does_not_turn_is_asked_both_ways() -> None:
    network, frames = HyperCUT(width=4, channels=4, blocks=1, form="offset"), torch.rand(2, 3, 3, 64, 64)
    backwards = ordered_scores(network, frames, 1 - torch.linspace(0, 1, 3).expand(2, -1))
    torch.testing.assert_close(backwards, network.pairs(frames, all_pairs(3).flip(-1)))


def test_frames_farther_apart_count_more() -> None:
    frames, times = _lights([0.5, 0.1, 0.45]), torch.tensor([[0.0, 0.1, 1.0]])
    # It falls by 0.4 in a tenth of the time, and rises by 0.35 in the rest.
    assert runs_forward("learned", frames, times, network=Brighter()).tolist() == [True]
    assert runs_forward("learned", frames, 1 - times, network=Brighter()).tolist() == [False]


def test_predictions_are_judged_as_pictures_and_not_against_themselves() -> None:
    frames, times = _lights([-3.0, 1.0, 5.0]), torch.tensor([[0.0, 0.5, 1.0]])
    wanted = in_order(torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(order_error(Brighter(), frames, times), wanted)
    # Two frames at one time have no order.
    same = torch.tensor([[0.0, 0.5, 0.5]])
    torch.testing.assert_close(
        order_error(Brighter(), _lights([0.1, 0.2, 0.9]), same), in_order(torch.tensor([0.1, 0.8]))
    )


def test_motion_and_coins() -> None:
    # Found to the left of where it is in the middle frame: content moves rightwards.
    paths = torch.zeros(2, 3, 2, 64, 64)
    paths[0, 1, 0], paths[0, 2, 0] = 3.0, -3.0
    paths[1] = -paths[0]
    frames = _lights(RISING, FALLING)
    assert runs_forward("motion", frames, TIMES, paths=paths).tolist() == [True, False]
    with pytest.raises(UnblurError, match="needs paths"):
        runs_forward("motion", frames, TIMES)
    assert runs_forward("stored", frames, TIMES).all()
    torch.manual_seed(0)
    coins = torch.stack([runs_forward("random", frames, TIMES) for _ in range(50)])
    assert 0.2 < coins.float().mean() < 0.8


class Ramp(SimpleFilm):
    """Its film brightens with time."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        return blurry[:, None] * self.gain * times.expand(len(blurry), -1)[..., None, None, None]


def test_films_are_learned_at_turned_times(tmp_path: Path) -> None:
    path = tmp_path / "order.safetensors"
    save_weights(path, HyperCUT(width=4, channels=4, blocks=1), Card("o", "hypercut"))
    frames = _lights([0.0, 0.5, 1.0], [1.0, 0.5, 0.0])
    batch = {"blurry": torch.ones(2, 3, 64, 64), "frames": frames, "times": torch.tensor([0.0, 0.5, 1.0])}
    stored = FilmTraining(Ramp(), Loss(scales=1)).losses(batch)["pixel"]
    assert stored > 0.2
    nearest = FilmTraining(Ramp(), Loss(scales=1, direction="nearest")).losses(batch)["pixel"]
    torch.testing.assert_close(nearest, torch.tensor(1e-3))
    film = FilmTraining(Ramp(), Loss(scales=1, direction="learned", order=0.5, order_network=str(path)))
    film._frozen["order"] = Brighter()
    terms = film.losses(batch)
    torch.testing.assert_close(terms["pixel"], torch.tensor(1e-3))
    # Both predictions rise with the true time of the canonical direction.
    expected = in_order(torch.tensor([0.5, 1.0, 0.5]))
    torch.testing.assert_close(terms["order"], 0.5 * expected)
    assert not any("order" in name for name in film.state_dict())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"order": 0.1}, "loss.order: needs a network"),
        ({"direction": "learned"}, "loss.direction learned: needs a network"),
        ({"direction": "random", "paths": 1.0}, "loss.paths"),
    ],
)
def test_terms_that_nothing_is_there_for_are_refused(loss: dict[str, object], message: str) -> None:
    with pytest.raises(UnblurError) as error:
        FilmTraining(Ramp(), Loss(scales=1, **loss))  # type: ignore[arg-type]
    assert message.split(":")[0] in str(error.value)


def test_what_decides_does_not_learn(tmp_path: Path) -> None:
    save_weights(tmp_path / "o.safetensors", HyperCUT(width=4, channels=4, blocks=1), Card("o", "hypercut"))
    network = order_network(str(tmp_path / "o.safetensors"))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_another_network_scores_no_order(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", MimoUNet(channels=4, blocks=1), Card("a", "mimo_unet"))
    with pytest.raises(UnblurError, match="which scores no order"):
        order_network(str(tmp_path / "a.safetensors"))
