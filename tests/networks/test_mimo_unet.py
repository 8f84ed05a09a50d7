import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unblur.layers.resample import enlarge, halve, pointwise
from unblur.networks.mimo_unet import MimoUNet


@pytest.mark.parametrize(("blocks", "count"), [(8, 6_807_171), (20, 16_107_651)])
def test_parameter_counts(blocks: int, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in MimoUNet(blocks=blocks).parameters()) == count


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 21), st.integers(1, 21), st.integers(1, 2))
def test_any_size(height: int, width: int, batch: int) -> None:
    network = MimoUNet(channels=4, blocks=1)
    blurry = torch.rand(batch, 3, height, width)
    with torch.inference_mode():
        assert network(blurry).shape == blurry.shape
        shapes = [answer.shape[-2:] for answer in network.scales(blurry)]
    assert shapes == [(-(-height // s), -(-width // s)) for s in (4, 2, 1)]


def test_arguments_rebuild_it() -> None:
    network = MimoUNet(channels=8, blocks=2)
    again = MimoUNet(**network.arguments)
    again.load_state_dict(network.state_dict())
    blurry = torch.rand(1, 3, 12, 20)
    assert torch.equal(network(blurry), again(blurry))


def test_every_weight_learns() -> None:
    network = MimoUNet(channels=16, blocks=1)
    sum(answer.square().mean() for answer in network.scales(torch.rand(1, 3, 16, 16))).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent


def test_it_is_local() -> None:
    network = MimoUNet(channels=4, blocks=1)
    blurry = torch.rand(1, 3, 32, 200)
    changed = blurry.clone()
    changed[..., 190:] = 0
    with torch.inference_mode():
        difference = (network(blurry) - network(changed)).abs().amax((0, 1, 2))
    assert network.is_local
    assert (difference[:100] == 0).all()
    assert difference[190:].max() > 0


def test_pointwise_is_a_convolution_of_all_parts_side_by_side() -> None:
    parts = torch.rand(2, 3, 8, 12), torch.rand(2, 5, 4, 6), torch.rand(2, 2, 2, 3)
    convolution = nn.Conv2d(10, 4, 1)
    together = torch.cat((parts[0], enlarge(parts[1], 2), enlarge(parts[2], 4)), dim=1)
    torch.testing.assert_close(pointwise(convolution, *parts), convolution(together))


def test_halving_is_nearest() -> None:
    image = torch.rand(1, 3, 8, 12)
    assert torch.equal(halve(image), F.interpolate(image, scale_factor=0.5))
    assert torch.equal(halve(halve(image)), F.interpolate(image, scale_factor=0.25))
