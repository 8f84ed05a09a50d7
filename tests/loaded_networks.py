"""Small networks in place of trained ones."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unblur.models.registry import ALIASES
from unblur.networks.kinds import FilmNetwork
from unblur.networks.path_film import PathFilm, UNetRestorer
from unblur.pipeline import restore as engine_module
from unblur.pipeline.restore import Pipeline

SMALL = {"widths": (8, 8), "blocks": (1, 1)}


@pytest.fixture
def film_network():
    """A film network that changes the picture and moves it."""
    torch.manual_seed(0)
    network = PathFilm(dict(SMALL), {"degree": 2, **SMALL})
    for unet in (network.restorer.unet, network.motion.unet):
        nn.init.normal_(unet.outro.weight, std=0.05)
    nn.init.constant_(network.motion.unet.outro.bias, 0.2)
    network.tile_overlap = 64
    return network


@pytest.fixture
def picture_network():
    """A network that makes one sharp picture."""
    torch.manual_seed(0)
    network = UNetRestorer(**SMALL)
    nn.init.normal_(network.unet.outro.weight, std=0.05)
    return network


@pytest.fixture
def pipeline(film_network):
    return Pipeline(film_network, device="cpu", dtype="float32")


@pytest.fixture
def shipped(monkeypatch, film_network, picture_network):
    """Names that load as if they came with the package."""

    def load_weights(name):
        network = {"film-small": film_network, "maxim": picture_network}[ALIASES.get(str(name), str(name))]
        return SimpleNamespace(network=network, card=SimpleNamespace(name=ALIASES.get(str(name), str(name))))

    monkeypatch.setattr(engine_module, "load_weights", load_weights)


class SimpleFilm(nn.Module, FilmNetwork):
    """A film network that is nothing but ``forward(blurry, times)``, which subclasses have."""

    def encode(self, blurry):
        return blurry

    def decode(self, state, times):
        return self(state, times)
