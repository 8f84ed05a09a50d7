from typing import Any

import pytest
import torch
from loaded_networks import SimpleFilm
from torch import Tensor, nn

from unblur.errors import UnblurError
from unblur.losses.pixel import charbonnier, multi_scale, pyramid
from unblur.losses.priors import reblur_consistency
from unblur.networks.kinds import RestorerNetwork
from unblur.networks.path_film import PathFilm
from unblur.training.film_training import FilmTraining, Loss


class Scaled(SimpleFilm):
    """A network with three outputs, and known displacements."""

    has_scales = has_displacements = True

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def scales(self, blurry: Tensor, times: Tensor) -> list[Tensor]:
        return [level * (n + 1) for n, level in enumerate(pyramid(self(blurry, times), 3))]

    def forward(self, blurry: Tensor, times: Tensor) -> Tensor:
        return (self.gain * blurry)[:, None].expand(-1, times.shape[-1], -1, -1, -1)

    def encode(self, blurry: Tensor) -> Tensor:
        return self.gain * blurry

    def displacements(self, state: Tensor, times: Tensor) -> Tensor:
        return state[:, None, :2].expand(-1, times.shape[-1], -1, -1, -1)


@pytest.fixture
def batch(source: Any) -> dict[str, Tensor]:
    made = source.batch(0, torch.device("cpu"))
    return made | {"paths": torch.zeros(2, 3, 2, 8, 8)}


def test_one_scale_is_the_charbonnier_of_the_frames(batch: dict[str, Tensor]) -> None:
    network = Scaled()
    terms = FilmTraining(network, Loss(scales=1)).losses(batch)
    torch.testing.assert_close(terms["pixel"], charbonnier(network(batch["blurry"], batch["times"]), batch["frames"]))
    assert terms.keys() == {"pixel"}


def test_the_scales_of_a_network_are_supervised(batch: dict[str, Tensor]) -> None:
    network = Scaled()
    expected = multi_scale(network.scales(batch["blurry"], batch["times"]), batch["frames"])
    torch.testing.assert_close(FilmTraining(network, Loss(scales=3)).losses(batch)["pixel"], expected)


def test_a_network_of_one_scale_is_shrunk(batch: dict[str, Tensor], tiny: type[nn.Module]) -> None:
    network = tiny().eval()
    expected = multi_scale(pyramid(network(batch["blurry"], batch["times"]), 3), batch["frames"])
    torch.testing.assert_close(FilmTraining(network, Loss(scales=3)).losses(batch)["pixel"], expected)


def test_a_network_of_single_pictures_is_a_film_that_stands_still(batch: dict[str, Tensor]) -> None:
    class Single(nn.Conv2d, RestorerNetwork):
        has_scales = True

        def __init__(self) -> None:
            super().__init__(3, 3, 1)

        def scales(self, blurry: Tensor) -> list[Tensor]:
            return [level[:, 0] for level in pyramid(self(blurry)[:, None], 3)]

    network = Single()
    film = FilmTraining(network, Loss(scales=3))
    frames = film(batch["blurry"], batch["times"])
    assert all(torch.equal(frames[:, i], network(batch["blurry"])) for i in range(3))
    torch.testing.assert_close(film.losses(batch)["pixel"], multi_scale(pyramid(frames, 3), batch["frames"]))


def test_terms_that_the_network_has_nothing_for_are_refused(tiny: type[nn.Module]) -> None:
    with pytest.raises(UnblurError, match=r"loss\.parts: TinyFilm has no restorer"):
        FilmTraining(tiny(), Loss(parts="both"))
    with pytest.raises(UnblurError, match=r"loss\.paths: TinyFilm predicts no displacements"):
        FilmTraining(tiny(), Loss(paths=0.1))
    small = {"widths": [8, 8], "blocks": [1, 1]}
    with pytest.raises(UnblurError, match=r"loss\.parts guess: is a part that this network has not"):
        FilmTraining(PathFilm(small, small), Loss(parts="guess"))
    without = {**small, "with_unet": False, "spectral": {"window": 8, "reaches": [2, 2]}}
    with pytest.raises(UnblurError, match=r"loss\.parts detail"):
        FilmTraining(PathFilm(small, without), Loss(parts="detail"))


def test_reblur_joins_the_parts(source: Any) -> None:
    small = {"widths": [8, 8], "blocks": [1, 1]}
    film = FilmTraining(PathFilm(small, small), Loss(parts="both", paths=0.1, reblur=0.5))
    batch = source.batch(0, torch.device("cpu")) | {"paths": torch.zeros(2, 3, 2, 8, 8)}
    terms = film.losses(batch)
    assert terms.keys() == {"sharp", "moved", "paths", "reblur"}
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in film.parameters())


def test_reblur_and_paths_are_options_with_weights(batch: dict[str, Tensor]) -> None:
    network = Scaled()
    terms = FilmTraining(network, Loss(reblur=2.0, reblur_frames=4, response="linear", paths=0.1)).losses(batch)
    frames = network(batch["blurry"], torch.linspace(0, 1, 4))
    torch.testing.assert_close(terms["reblur"], 2 * reblur_consistency(batch["blurry"], frames, "linear"))
    torch.testing.assert_close(terms["paths"], 0.1 * 0.5 * batch["blurry"][:, :2].mean())


def test_training_learns(fit: Any, tmp_path: Any, source: Any) -> None:
    _, few = fit(tmp_path / "few", steps=1)
    _, many = fit(tmp_path / "many", steps=60, validate_every=1000)
    batch = source.batch(999, torch.device("cpu"))
    few_loss, many_loss = (film.eval().losses(batch)["pixel"].item() for film in (few, many))
    assert many_loss < 0.97 * few_loss


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_bf16_and_clipping_are_the_trainers(fit: Any, tmp_path: Any, precision: str) -> None:
    trainer, film = fit(tmp_path, steps=3, precision=precision, gradient_clip_val=0.1)
    assert trainer.global_step == 3
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in film.parameters())


def test_weight_decay_spares_biases(tiny: type[nn.Module]) -> None:
    class Stub:
        max_steps = 10

    film = FilmTraining(tiny())
    film._trainer = Stub()  # type: ignore[assignment]
    groups = film.configure_optimizers()["optimizer"].param_groups
    assert [len(group["params"]) for group in groups] == [2, 4]
    assert groups[1]["weight_decay"] == 0


def test_channels_last_changes_the_layout_and_nothing_else(batch: dict[str, Tensor], tiny: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = tiny().eval()
    plain = FilmTraining(network).losses(batch)["pixel"]
    torch.testing.assert_close(FilmTraining(network, channels_last=True).losses(batch)["pixel"], plain)
    assert network.first.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr]
