from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from unblur.models.convert.released import RELEASED, _renamed, convert
from unblur.models.weights import load_weights
from unblur.networks.cfmd_critic import CFMDCritic, SpectralConv2d

GOLDEN = Path(__file__).parent / "golden" / "critic.npz"
TINY = {"width": 4, "widest": 8, "levels": 3}


def _names() -> dict[str, tuple[int, ...]]:
    """Of the released network's tensors."""
    with np.load(GOLDEN) as golden:
        lines = [line.decode().split() for line in golden["moment_critic.keys"]]
    return {name: tuple(int(side) for side in sides.split("x")) for name, sides in lines}


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_parameter_counts() -> None:
    with torch.device("meta"):
        critic, small = CFMDCritic(), CFMDCritic(width=16, widest=96)
    assert _count(critic) == 40_296_448
    assert [_count(level) for level in critic.encoder] == [40_320, 221_184, 884_736, 3_538_944, 4_718_592, 4_718_592]
    decoder = [4_718_592, 7_077_888, 7_077_888, 2_359_296, 589_824, 147_456]
    assert [_count(level) for level in critic.decoder] == decoder
    assert [_count(head) for head in (critic.whole, critic.local, critic.time)] == [4_194_816, 4_160, 4_160]
    assert sum(buffer.numel() for buffer in critic.buffers()) == 101_689
    assert not [name for name in critic.state_dict() if name.endswith("bias")]
    assert 1e6 < _count(small) < 2e6


def test_every_convolution_is_normed_as_in_the_released_one() -> None:
    with torch.device("meta"):
        critic = CFMDCritic()
    released = {name: torch.empty(shape, device="meta") for name, shape in _names().items()}
    renamed = _renamed(Path("critic"), released, RELEASED["cfmd_critic"].rules)
    assert {name: tensor.shape for name, tensor in renamed.items()} == {
        name: tensor.shape for name, tensor in critic.state_dict().items()
    }
    assert RELEASED["cfmd_critic"].arguments(renamed) == critic.arguments
    convolutions = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 30
    assert all(isinstance(module, SpectralConv2d) for module in convolutions)


def test_spectral_norms_are_one_after_some_steps() -> None:
    torch.manual_seed(0)
    critic = CFMDCritic(**TINY)
    for weight in critic.parameters():
        nn.init.normal_(weight)
    for _ in range(60):
        critic(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
    gains = [
        torch.linalg.matrix_norm(layer.normed().flatten(1), 2).item()
        for layer in critic.modules()
        if isinstance(layer, SpectralConv2d)
    ]
    assert gains == pytest.approx(len(gains) * [1.0], abs=1e-2)


def _naive(critic: CFMDCritic, pair: Tensor) -> list[Tensor]:
    """As the spec writes it, for sizes that need no padding."""

    def two(layers: nn.Module, features: Tensor) -> Tensor:
        for index in (0, 2):
            features = F.leaky_relu(F.conv2d(features, layers[index].normed(), padding=1), 0.2)
        return features

    def head(layers: nn.Module, features: Tensor, **how: int) -> Tensor:
        return F.conv2d(F.leaky_relu(F.conv2d(features, layers[0].normed(), **how), 0.2), layers[2].normed())[:, 0]

    features = [two(critic.encoder[0], pair)]
    for level in critic.encoder[1:]:
        features.append(two(level, F.avg_pool2d(features[-1], 2)))
    up = two(critic.decoder[0], features[-1])
    for level, fine in zip(critic.decoder[1:], features[-2::-1], strict=True):
        larger = F.interpolate(up, scale_factor=2, mode="bilinear", align_corners=True)
        up = two(level, torch.cat((larger, fine), 1))
    whole = head(critic.whole, features[-1], stride=2, padding=1)
    return [whole, head(critic.local, up), torch.sigmoid(head(critic.time, up))]


def test_it_is_the_network_of_the_paper() -> None:
    torch.manual_seed(0)
    critic, frame, blurry = CFMDCritic(**TINY).eval(), torch.rand(2, 3, 16, 24), torch.rand(2, 3, 16, 24)
    judged = critic(frame, blurry)
    assert [part.shape for part in judged] == [(2, 2, 3), (2, 16, 24), (2, 16, 24)]
    for part, expected in zip(judged, _naive(critic, torch.cat((frame, blurry), 1)), strict=True):
        torch.testing.assert_close(part, expected)
    assert not torch.allclose(critic(blurry, frame).local, judged.local)
    first, second = judged.split(1)
    assert torch.equal(first.local, judged.local[:1])
    assert torch.equal(second.time, judged.time[1:])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 21), st.integers(1, 21))
def test_any_size(height: int, width: int) -> None:
    critic = CFMDCritic(**TINY).eval()
    judged = critic(torch.rand(1, 3, height, width), torch.rand(1, 3, height, width))
    assert judged.local.shape == judged.time.shape == (1, height, width)
    assert judged.whole.numel() >= 1
    assert all(part.isfinite().all() for part in judged)
    assert 0 <= judged.time.min() <= judged.time.max() <= 1


def test_the_released_size_of_the_whole() -> None:
    critic = CFMDCritic(width=2, widest=4).eval()
    assert critic(torch.rand(1, 3, 256, 256), torch.rand(1, 3, 256, 256)).whole.shape == (1, 4, 4)


def test_every_weight_learns() -> None:
    critic = CFMDCritic(**TINY)
    judged = critic(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16))
    sum(part.square().mean() for part in judged).backward()
    assert all(weight.grad.abs().max() > 0 for weight in critic.parameters())


def test_bfloat16_stays_close_and_answers_in_full() -> None:
    torch.manual_seed(0)
    critic, frame, blurry = CFMDCritic(**TINY).eval(), torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    exact = critic(frame, blurry)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = critic(frame, blurry)
    for one, other in zip(rounded, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).abs().max() < 0.03 * other.abs().max()


def test_released_checkpoints_are_converted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    critic = CFMDCritic(width=4, widest=32).eval()
    state, found = critic.state_dict(), {}
    for name in _names():
        (ours,) = _renamed(Path("x"), {name: torch.empty(0)}, RELEASED["cfmd_critic"].rules)
        found[name] = state[ours].clone()
    assert len(found) == len(state)
    torch.save({"model": found}, tmp_path / "critic.pth")
    loaded = load_weights(convert(tmp_path / "critic.pth", out=tmp_path / "critic.safetensors"))
    assert (loaded.card.network, loaded.network.arguments) == ("cfmd_critic", critic.arguments)
    frame, blurry = torch.rand(2, 1, 3, 33, 40)
    for ours, theirs in zip(loaded.network(frame, blurry), critic(frame, blurry), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("arguments", [{"levels": 1}, {"width": 0}, {"width": 8, "widest": 4}])
def test_wrong_arguments_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no such critic"):
        CFMDCritic(**arguments)


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
