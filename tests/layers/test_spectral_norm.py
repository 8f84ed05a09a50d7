import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm

from unblur.layers.spectral_norm import SpectralConv2d


def _gain(layer: SpectralConv2d) -> float:
    return torch.linalg.matrix_norm(layer.normed().flatten(1), 2).item()


def test_the_largest_gain_is_one() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(5, 7, 3, padding=1)
    assert _gain(layer) == pytest.approx(1, abs=1e-4)
    nn.init.normal_(layer.weight)
    assert _gain(layer) != pytest.approx(1, abs=0.1)
    for _ in range(40):
        layer(torch.rand(1, 5, 4, 4))
    assert _gain(layer) == pytest.approx(1, abs=1e-3)


def test_it_is_what_torch_does() -> None:
    torch.manual_seed(0)
    ours, theirs = SpectralConv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(3, 4, 3, 2, 1, bias=False)
    nn.init.normal_(ours.weight)
    theirs.weight.data.copy_(ours.weight.data)
    theirs = spectral_norm(theirs)
    ours.left.copy_(theirs.weight_u)
    ours.right.copy_(theirs.weight_v)
    for training in (False, True, True):
        ours.train(training)
        theirs.train(training)
        image = torch.rand(2, 3, 9, 8)
        here, there = ours(image), theirs(image)
        torch.testing.assert_close(here, there)
    (here.square().sum() + there.square().sum()).backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight_orig.grad)


def test_it_learns_through_several_passes_and_stays_still_otherwise() -> None:
    layer, image = SpectralConv2d(3, 4, 1), torch.rand(1, 3, 2, 2)
    (layer(image).sum() + layer(2 * image).sum()).backward()
    assert layer.weight.grad is not None
    before = layer.left.clone()
    layer.eval()(image)
    assert torch.equal(layer.left, before)


def test_norms_are_exact_under_autocast() -> None:
    layer = SpectralConv2d(64, 8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.rand(1, 64, 5, 5)).dtype == torch.bfloat16
    assert layer.left.norm().item() == pytest.approx(1, abs=1e-5)
    assert _gain(layer) == pytest.approx(1, abs=1e-4)
