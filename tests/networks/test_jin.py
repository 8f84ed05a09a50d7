import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unblur.networks.jin import Jin


def _network(seed: int = 0) -> Jin:
    """A small one that does change what it is given, unlike a new one."""
    torch.manual_seed(seed)
    network = Jin(8, 4, 8, 4).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("refinement.exit.weight"):
            nn.init.normal_(parameter, std=0.1)
    return network


def test_a_new_network_all_but_repeats_the_picture() -> None:
    blurry = torch.rand(1, 3, 40, 40)
    with torch.inference_mode():
        assert (Jin(8, 4, 8, 4)(blurry) - blurry[:, None]).abs().max() < 0.1
        assert (_network()(blurry) - blurry[:, None]).abs().max() > 0.1


def test_parameter_counts() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Jin().parameters()) == 18_213_376
        assert sum(p.numel() for p in Jin.small().parameters()) == 1_562_848


def test_arguments_are_the_whole_configuration() -> None:
    small = Jin.small()
    again = Jin(**small.arguments)
    again.load_state_dict(small.state_dict())
    with pytest.raises(ValueError, match="multiple of 4"):
        Jin(side_width=6)


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 45), st.integers(1, 45))
def test_any_size(height: int, width: int) -> None:
    with torch.inference_mode():
        frames = _network()(torch.rand(1, 3, height, width))
    assert frames.shape == (1, 7, 3, height, width)
    assert frames.isfinite().all()


def test_frames_depend_on_their_own_picture_alone() -> None:
    network, blurry = _network(), torch.rand(2, 3, 40, 20)
    with torch.inference_mode():
        frames = network(blurry)
        torch.testing.assert_close(network(blurry[1:]), frames[1:], atol=1e-5, rtol=1e-5)


def test_every_weight_learns() -> None:
    network = _network().train()
    network(torch.rand(2, 3, 40, 40)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_frames_of_a_state_are_the_networks_own() -> None:
    network, blurry = _network(), torch.rand(1, 3, 20, 20)
    with torch.inference_mode():
        frames, state = network(blurry), network.encode(blurry)
        assert state.shape == (1, 21, 20, 20)
        torch.testing.assert_close(network.decode(state, torch.arange(7) / 6), frames)
        between = network.decode(state, torch.tensor([0.25]))
        torch.testing.assert_close(between[:, 0], (frames[:, 1] + frames[:, 2]) / 2, atol=1e-6, rtol=1e-5)
        # The mean over the exposure weighs the ends by half.
        mean = network.decode(state, (torch.arange(600) + 0.5) / 600).mean(1)
        weights = torch.tensor([0.5, 1, 1, 1, 1, 1, 0.5]) / 6
        torch.testing.assert_close(mean, (frames * weights[:, None, None, None]).sum(1), atol=1e-4, rtol=1e-4)


def test_tiles_are_turned_to_run_alike() -> None:
    state = torch.rand(1, 21, 8, 8)
    turned = state.unflatten(1, (7, 3)).flip(1).flatten(1, 2)
    known = state.clone()
    known[..., 4:] = 0
    assert torch.equal(Jin.align(state, known), state)
    assert torch.equal(Jin.align(turned, known), state)
    assert torch.equal(Jin.align(turned, torch.zeros_like(state)), turned)
