import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unblur.layers.paths import warp
from unblur.networks.purohit import Purohit, _aside, _covered


def _network(seed: int = 0, **arguments: object) -> Purohit:
    """A small one whose flows are of some pixels."""
    torch.manual_seed(seed)
    network = Purohit(**{"width": 4, "hidden": 6, "flow_widths": (2, 3, 4)} | arguments)
    for head in network.decoder.heads:
        nn.init.normal_(head.weight, std=0.2)
        nn.init.normal_(head.bias, std=0.2)
    return network.eval()


def test_parameter_counts() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Purohit().parameters()) == 4_553_708
        assert sum(p.numel() for p in Purohit.small().parameters()) == 936_420


def test_arguments_are_the_whole_configuration() -> None:
    network = _network(steps=5, released=True)
    Purohit(**network.arguments).load_state_dict(network.state_dict())
    with pytest.raises(ValueError, match="flow_widths"):
        Purohit(flow_widths=(1, 2))
    with pytest.raises(ValueError, match="shapes differ"):
        network(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(2, 8), st.booleans())
def test_any_size_and_any_number_of_frames(height: int, width: int, count: int, released: bool) -> None:
    blurry, middle = torch.rand(2, 1, 3, height, width)
    with torch.inference_mode():
        frames = _network(steps=count, released=released)(blurry, middle)
        asked = _network(released=released)(blurry, middle, torch.linspace(0, 1, count))
    assert frames.shape == asked.shape == (1, count, 3, height, width)
    assert frames.isfinite().all()
    assert asked.isfinite().all()


@pytest.mark.parametrize("size", [(24, 32), (21, 29)])
def test_frames_at_the_steps_are_those_of_the_steps(size: tuple[int, int]) -> None:
    network, times = _network(), torch.arange(7) / 6
    blurry, middle = torch.rand(2, 2, 3, *size)
    with torch.inference_mode():
        asked, moved = network(blurry, middle, times), network.moved(blurry, middle).frames[-1]
        torch.testing.assert_close(network(blurry, middle), asked)
        # Where a frame looks beyond the picture one sees what it was padded with, the other its rim.
        inside = _inside(network.displacements(network.estimate_motion(blurry, middle), times))
    assert 0.5 < inside.float().mean() < 1
    assert (moved[..., : size[0], : size[1]] - asked).abs().amax(2)[inside].max() < 1e-4


def _inside(flows: Tensor) -> Tensor:
    h, w = flows.shape[-2:]
    x, y = flows[:, :, 0] + torch.arange(w), flows[:, :, 1] + torch.arange(h)[:, None]
    return (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)


def test_the_middle_frame_does_not_move() -> None:
    blurry, middle = torch.rand(2, 1, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(_network()(blurry, middle)[:, 3], middle)
        assert (_network(released=True)(blurry, middle)[:, 3] - middle).abs().max() > 0.1
        torch.testing.assert_close(_network()(blurry, middle, torch.tensor([0.5]))[:, 0], middle)


def test_every_step_is_told_how_the_one_before_moved() -> None:
    blurry, middle = torch.rand(2, 1, 3, 16, 16)
    for released in (False, True):
        network = _network(released=released)
        seen: list[Tensor] = []
        network.flow_levels[0].register_forward_hook(lambda _, given, __, seen=seen: seen.append(given[0]))
        flows = network.moved(blurry, middle).flows[-1]
        if released:
            assert len(seen) == 1
            assert not seen[0].any()
        else:
            torch.testing.assert_close(torch.stack(seen[1:], 1) * 8, flows[:, :-1])


def test_flows_are_pixels_of_their_own_size() -> None:
    """With heads that hand on what is enlarged, a motion of the coarsest is the same motion, in pixels, of all."""
    network = _network(steps=2)
    for level, head in enumerate(network.decoder.heads):
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, 0.0 if level else 1.5)
        if level:
            head.weight.data[0, -2, 1, 1] = head.weight.data[1, -1, 1, 1] = 1.0
    flows = network.moved(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)).flows
    for scale, flow in zip((1, 2, 4, 8), flows, strict=True):
        torch.testing.assert_close(flow, torch.full_like(flow, 1.5 * scale))


def test_what_was_released_as_displacements() -> None:
    """Pixels laid out corner to corner and read edge to edge: the corners go half a pixel out, the middle stays."""
    still = torch.zeros(1, 1, 2, 5, 9)
    moved = _aside(still)
    torch.testing.assert_close(moved[0, 0, 0, 0], torch.linspace(-0.5, 0.5, 9))
    torch.testing.assert_close(moved[0, 0, 1, :, 0], torch.linspace(-0.5, 0.5, 5))
    covered = _covered(still)[0, 0]
    assert covered[1:-1, 1:-1].all()
    assert not covered[0].any()
    assert not covered[:, -1].any()


def test_every_weight_learns() -> None:
    network = _network().train()
    moved = network.moved(*torch.rand(2, 2, 3, 32, 32))
    sum(frames.square().mean() for frames in moved.frames).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_tiles_are_turned_to_run_alike() -> None:
    state = torch.randn(1, 17, 8, 8)
    turned = torch.cat((state[:, :3], state[:, 3:].unflatten(1, (7, 2)).flip(1).flatten(1, 2)), 1)
    known = state.clone()
    known[..., 4:] = 0
    assert torch.equal(Purohit.align(state, known), state)
    assert torch.equal(Purohit.align(turned, known), state)


def test_frames_look_no_further_than_they_say() -> None:
    network, state = _network(), torch.randn(1, 17, 12, 12) * 3
    times = torch.tensor([0.1, 0.8])
    assert network.reach(state) >= network.displacements(state, times).abs().max()
    assert network.reach(-state.abs()) == network.reach(state.abs()) > 0
    torch.testing.assert_close(network.decode(state, times), warp(state[:, :3], network.displacements(state, times)))
    own = torch.stack((times, times.flip(0)))
    both = network.decode(state.expand(2, -1, -1, -1), own)
    torch.testing.assert_close(both[1].flip(0), both[0])
