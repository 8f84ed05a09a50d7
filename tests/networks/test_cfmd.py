import itertools
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unblur.layers.deformable import deformable_conv2d
from unblur.networks.cfmd import CFMD, CFMDRefiner, TimedBlock

VARIANTS = {
    "released": {},
    "deformable alone": {"attention": False},
    "attention alone": {"deformable": False},
    "neither": {"deformable": False, "attention": False},
    "paper": {"mask_range": 1.0, "shared_fusion": True},
}


def _network(seed: int = 0, kind: type = CFMD, **arguments: object) -> CFMD | CFMDRefiner:
    """A small network whose deformable convolutions do move, unlike a new one's."""
    torch.manual_seed(seed)
    network = kind(**{"channels": 4, "blocks": 1} | arguments)
    for name, parameter in network.named_parameters():
        if ".offset." in name or ".mask." in name or (".head_" in name and network.pictures > 1):
            nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({}, 9_246_323),
        ({"attention": False}, 8_558_195),
        ({"deformable": False}, 7_689_571),
        ({"deformable": False, "attention": False}, 7_001_443),
        # The paper's single fusion saves as much as no control of the attention.
        ({"shared_fusion": True}, 8_558_195),
    ],
)
def test_parameter_counts(arguments: dict[str, bool], count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in CFMD(**arguments).parameters()) == count


def test_a_new_network_is_told_the_time() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        for control in CFMD().control(torch.tensor([0.0, 1.0])):
            assert 0.1 < (control[1] - control[0]).norm() / control.shape[1] ** 0.5 < 10


def _naive_block(block: TimedBlock, features: Tensor, control: Tensor) -> Tensor:
    """The block as the spec writes it: control vectors as maps, laid beside the features."""
    maps = control[:, :, None, None].expand(-1, -1, *features.shape[-2:])
    seen = fused = F.leaky_relu(block.first(features), 0.2)
    if block.deformable:
        fused = block.fuse(torch.cat((seen, maps), 1))
        mask = block.mask_range * torch.sigmoid(block.mask(fused))
        seen = deformable_conv2d(fused, block.offset(fused), mask, block.second.weight)
    else:
        seen = block.second(seen)
    if block.attention and not block.shared_fusion:
        seen = block.refuse(torch.cat((seen, maps), 1))
    means = (fused if block.shared_fusion else seen).mean((2, 3))
    weights = torch.sigmoid(block.gate.widen(F.leaky_relu(block.gate.narrow(means), 0.2)))
    return features + seen * weights[:, :, None, None]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("frames", [1, 3])
def test_folding_the_time_is_laying_maps_beside_the_features(variant: str, frames: int) -> None:
    block = _network(**VARIANTS[variant]).stages[1][0]
    features, control = torch.randn(frames, 8, 9, 7), torch.randn(frames, 8)
    expected = _naive_block(block, features, control)
    folded = block.fold(control)
    torch.testing.assert_close(block(features, folded), expected)
    torch.testing.assert_close(block(features, folded, block.begin(features, folded)), expected)
    alone = block(features[:1], folded, block.begin(features[:1], folded)).expand(frames, -1, -1, -1)
    torch.testing.assert_close(alone, _naive_block(block, features[:1].expand(frames, -1, -1, -1), control))


def test_a_new_block_reads_where_a_plain_convolution_would() -> None:
    block = CFMD(channels=4, blocks=1).stages[0][0]
    features, folded = torch.randn(1, 4, 6, 6), block.fold(torch.randn(1, 4))
    fused = block._begin(features, folded)
    plain = F.conv2d(fused, folded.second / 2, folded.second_shift[0], padding=1)
    torch.testing.assert_close(block._deform(fused, folded), plain)


@pytest.mark.parametrize("variant", VARIANTS)
def test_frames_depend_on_nothing_but_their_picture_and_time(variant: str) -> None:
    network = _network(**VARIANTS[variant])
    blurry, times = torch.rand(3, 3, 12, 8), torch.rand(3, 4)
    with torch.inference_mode():
        whole = network(blurry, times)
        assert whole.shape == (3, 4, 3, 12, 8)
        for pixels in (1, 200, 500, 10**6):
            network.pixels_at_once = pixels
            torch.testing.assert_close(network(blurry, times), whole, atol=1e-5, rtol=1e-5)
        for b, t in itertools.product(range(3), range(4)):
            alone = network(blurry[b : b + 1], times[b, t : t + 1])
            torch.testing.assert_close(alone[0, 0], whole[b, t], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(blurry, times).detach(), whole, atol=1e-5, rtol=1e-5)


def test_times_of_all_pictures_or_of_each() -> None:
    network, blurry, times = _network(), torch.rand(2, 3, 8, 8), torch.linspace(0, 1, 3)
    with torch.inference_mode():
        shared = network(blurry, times)
        torch.testing.assert_close(network(blurry, times.expand(2, 3)), shared)
        torch.testing.assert_close(network.decode(network.encode(blurry), times), shared)
        assert (shared[:, 0] - shared[:, 2]).abs().max() > 1e-4
        torch.testing.assert_close(network.scales(blurry, times)[-1], shared)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 19), st.integers(1, 19), st.integers(1, 3))
def test_any_size(height: int, width: int, count: int) -> None:
    network = _network()
    blurry, times = torch.rand(1, 3, height, width), torch.rand(count)
    with torch.inference_mode():
        frames = network(blurry, times)
        shapes = [frames.shape for frames in network.scales(blurry, times)]
    assert frames.shape == (1, count, 3, height, width)
    assert frames.isfinite().all()
    assert shapes == [(1, count, 3, -(-height // s), -(-width // s)) for s in (4, 2, 1)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_learns(variant: str) -> None:
    network = _network(**VARIANTS[variant]).train()
    answers = network.scales(torch.rand(2, 3, 16, 16), torch.rand(2, 2))
    sum(answer.square().mean() for answer in answers).backward()
    silent = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    if variant == "neither":
        assert all(name.startswith("control.") for name in silent)
    else:
        assert not silent


def test_bfloat16_autocast_stays_close_and_keeps_times_apart() -> None:
    network = _network(channels=16)
    blurry, times = torch.rand(1, 3, 32, 32), torch.tensor([0.98, 1.0])
    with torch.inference_mode():
        exact = network(blurry, times)
        controls = network.control(times)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(blurry, times)
            half_encoded = network.encode(blurry)
            assert all(torch.equal(a, b) for a, b in zip(network.control(times), controls, strict=True))
        assert (rounded - exact).abs().max() < 0.02 * exact.abs().max()
        assert (network.decode(half_encoded, times) - exact).abs().max() < 0.02 * exact.abs().max()


def test_a_network_in_bfloat16_runs() -> None:
    network = _network().to(torch.bfloat16)
    frames = network(torch.rand(1, 3, 8, 8).bfloat16(), torch.rand(2))
    assert frames.dtype == torch.bfloat16
    assert frames.isfinite().all()


def test_arguments_rebuild_it() -> None:
    network = _network(channels=8, mask_range=1.0, shared_fusion=True)
    again = CFMD(**network.arguments)
    again.load_state_dict(network.state_dict())
    blurry, times = torch.rand(1, 3, 8, 8), torch.rand(2)
    assert torch.equal(network(blurry, times), again(blurry, times))


def test_sharing_needs_both() -> None:
    with pytest.raises(ValueError, match="shared_fusion"):
        CFMD(attention=False, shared_fusion=True)


def test_exports_to_onnx(tmp_path: Path) -> None:
    network, path = _network(), tmp_path / "moments.onnx"
    case = torch.rand(1, 3, 10, 12), torch.tensor([0.0, 0.7])
    torch.onnx.export(network, case, path, dynamo=True, opset_version=18, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {spec.name: tensor.numpy() for spec, tensor in zip(session.get_inputs(), case, strict=True)}
    (frames,) = session.run(None, feed)
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(frames), network(*case), atol=1e-4, rtol=1e-4)


def test_folded_networks_answer_in_the_pictures_size() -> None:
    network = _network(channels=8, fold=2)
    assert network.multiple == 8, "tiles that begin between would be folded in other places"
    blurry = torch.rand(2, 3, 30, 37)
    with torch.no_grad():
        quarter, half, full = network.scales(blurry, torch.tensor([0.0, 0.5, 1.0]))
    assert (quarter.shape, half.shape, full.shape) == ((2, 3, 3, 8, 10), (2, 3, 3, 15, 19), (2, 3, 3, 30, 37))


def test_folding_keeps_pixels_where_they_are() -> None:
    network = _network(channels=8, fold=2)
    for head in (network.skeleton.head_full, network.skeleton.head_half, network.skeleton.head_quarter):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    blurry = torch.rand(1, 3, 32, 24)
    with torch.no_grad():
        quarter, half, full = (answer[0, 0] for answer in network.scales(blurry, torch.tensor([0.5])))
    torch.testing.assert_close(full, blurry[0])
    torch.testing.assert_close(half, blurry[0, :, ::2, ::2])
    torch.testing.assert_close(quarter, blurry[0, :, ::4, ::4])


def test_too_few_channels_for_what_is_folded_into_them() -> None:
    CFMDRefiner(channels=20, blocks=1, deformable=False, fold=2)
    with pytest.raises(ValueError, match="16 channels are too few for a pixel's 36 numbers: use more than 18"):
        CFMDRefiner(channels=16, blocks=1, deformable=False, fold=2)
    with pytest.raises(ValueError, match="fold must be 1 or more"):
        CFMD(channels=8, blocks=1, fold=0)


def test_estimates_are_seen_frame_by_frame() -> None:
    network = _network(kind=CFMDRefiner, channels=12)
    blurry, estimates, times = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 2, 3, 16, 16), torch.tensor([0.0, 0.5, 1.0])
    with torch.no_grad():
        frames = network(blurry, times, estimates)
        torch.testing.assert_close(network.scales(blurry, times, estimates)[-1], frames)
        alone = network(blurry[1:], times[2:], estimates[1:, 2:])
        torch.testing.assert_close(alone[0, 0], frames[1, 2])
        changed = estimates.clone()
        changed[0, 1, 1] += 0.1
        differs = (network(blurry, times, changed) - frames).abs().amax((2, 3, 4)) > 0
    assert differs.tolist() == [[False, True, False], [False, False, False]]
    seen: list[Tensor] = []
    network.skeleton.entry.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(blurry[:1], times[:1], estimates[:1, :1])
    # Weights that were trained know them in this order.
    torch.testing.assert_close(seen[0][0], torch.cat((estimates[0, 0, 0], blurry[0], estimates[0, 0, 1])))
    with pytest.raises(TypeError, match="estimates"):
        network(blurry, times)


def test_estimates_of_two_pictures_may_be_at_times_of_their_own() -> None:
    network = _network(kind=CFMDRefiner, channels=12)
    blurry, estimates, times = (
        torch.rand(2, 3, 8, 8),
        torch.rand(2, 2, 2, 3, 8, 8),
        torch.tensor([[0.1, 0.9], [0.4, 0.2]]),
    )
    with torch.no_grad():
        frames = network(blurry, times, estimates)
        torch.testing.assert_close(network(blurry[1:], times[1], estimates[1:])[0], frames[1])


def test_a_new_network_leaves_estimates_as_they_are() -> None:
    torch.manual_seed(0)
    network = CFMDRefiner(channels=24, blocks=1, deformable=False, fold=2)
    blurry, estimates = torch.rand(1, 3, 20, 28), torch.rand(1, 2, 2, 3, 20, 28)
    with torch.no_grad():
        torch.testing.assert_close(network(blurry, torch.tensor([0.0, 0.7]), estimates), estimates[:, :, 0])
