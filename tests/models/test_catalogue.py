"""What is told of models, and conversion through the command line's task."""

import pytest
import torch

from unblur.errors import UnblurError
from unblur.models import catalogue
from unblur.models.card import Card
from unblur.models.convert.released import convert
from unblur.models.registry import DEFAULT, Shipped
from unblur.models.weights import save_weights
from unblur.networks.cfmd_critic import CFMDCritic
from unblur.networks.deep_image_prior import DeepImagePrior
from unblur.networks.hypercut import HyperCUT
from unblur.networks.path_film import PathFilm
from unblur.pipeline.restore import load

SMALL = {"widths": (8, 8), "blocks": (1, 1)}


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    card = Card("tiny", "film", summary="Tiny.", score={"psnr": 30.5}, licence="Apache-2.0", steps=7)
    return save_weights(tmp_path / "tiny.safetensors", PathFilm(dict(SMALL), dict(SMALL)), card)


def test_a_file_is_described(file):
    entry = catalogue.show_model(file)
    network = PathFilm(dict(SMALL), dict(SMALL))
    assert entry.kind == "film"
    assert entry.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert entry.size == file.stat().st_size
    assert entry.as_dict()["card"]["licence"] == "Apache-2.0"
    assert str(entry).startswith("Tiny. (film, ")
    details = entry.details()
    assert details["score"] == "psnr 30.5"
    assert details["steps"] == "7"
    assert "data" not in details, "what is not known is left out"


def test_models_that_came_with_the_package_are_listed(file, monkeypatch):
    import hashlib

    from unblur.models import weights

    table = {DEFAULT: Shipped("film", file.name, hashlib.sha256(file.read_bytes()).hexdigest())}
    for module in (catalogue, weights):
        monkeypatch.setattr(module, "SHIPPED", table)
        monkeypatch.setattr(module, "FILES", file.parent)
    (entry,) = catalogue.list_models()
    assert entry.name == DEFAULT
    assert entry.alias == "fast"
    assert "(fast; film, " in str(entry)
    assert catalogue.show_model("fast") == entry


def test_what_cannot_be_converted_is_told_in_one_line(file, tmp_path):
    for source in (tmp_path / "missing.pth", file):
        with pytest.raises(UnblurError, match=source.name):
            convert(source, out=tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_deep_prior_is_told_from_models(tmp_path):
    path = save_weights(
        tmp_path / "prior.safetensors", DeepImagePrior(width=8, skip=4), Card("one", "deep_image_prior")
    )
    assert catalogue.show_model(path).kind == "prior"
    with pytest.raises(UnblurError, match="model=one: is the deep prior of one picture or code"):
        load(path, "cpu")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (HyperCUT(4, 4, 1), "model=a: scores the order of frames, and makes none; .* `order`"),
        (CFMDCritic(4, 4), "model=a: judges frames, and makes none; use best or fast"),
    ],
)
def test_networks_that_make_no_picture_are_told_from_models(network, said, tmp_path):
    names = {"HyperCUT": "hypercut", "CFMDCritic": "cfmd_critic"}
    path = save_weights(tmp_path / "a.safetensors", network, Card("a", names[type(network).__name__]))
    with pytest.raises(UnblurError, match=said):
        load(path, "cpu")
