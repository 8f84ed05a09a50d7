"""MAXIM against its description: naive loops for what is cut and mixed, small golden numbers for the whole."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unblur.layers import dense
from unblur.layers.dense import MultiAxis
from unblur.models.weights import load_weights
from unblur.networks.maxim import ChannelWeights, Maxim
from unblur.runtime.runner import Runner

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parent / "golden" / "maxim.npz"
TINY = {"features": 4, "stages": 2, "sizes": [4, 2], "groups": 1, "bottlenecks": 1, "reduction": 2}


def _drawn(network: nn.Module) -> nn.Module:
    """Weights that are the same with every version of everything."""
    state = {}
    for name, tensor in network.state_dict().items():
        draw = np.random.default_rng(zlib.crc32(name.encode()))
        scale = 0.1 if tensor.ndim == 1 else 0.5 * tensor[0].numel() ** -0.5
        values = draw.standard_normal(tensor.shape) * scale + (name.endswith("norm.weight"))
        state[name] = torch.from_numpy(values.astype(np.float32))
    network.load_state_dict(state)
    return network.eval()


@pytest.fixture
def tiny() -> nn.Module:
    return _drawn(Maxim(**TINY))


def test_parameter_count() -> None:
    # As released, but for the first convolution of a U-Net, which there sees the same features twice.
    with torch.device("meta"):
        assert sum(p.numel() for p in Maxim().parameters()) == 22_207_605 - 3 * 32**2
        assert Maxim().multiple == 64


def test_golden(tiny: nn.Module) -> None:
    blurry = np.random.default_rng(1).random((1, 3, 24, 20), np.float32)
    with np.load(GOLDEN) as golden, torch.inference_mode():
        np.testing.assert_allclose(tiny(torch.from_numpy(blurry))[0].numpy(), golden["tiny"], atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 21), st.integers(1, 21), st.integers(1, 2))
def test_any_size(height: int, width: int, batch: int) -> None:
    network = Maxim(**TINY)
    blurry = torch.rand(batch, 3, height, width)
    with torch.inference_mode():
        sharp = network(blurry)
    assert sharp.shape == blurry.shape
    assert sharp.isfinite().all()


def test_pictures_of_a_batch_do_not_mix(tiny: nn.Module) -> None:
    blurry = torch.rand(3, 3, 17, 30)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(blurry), torch.cat([tiny(one) for one in blurry.split(1)]))


def test_arguments_rebuild_it(tiny: nn.Module) -> None:
    again = Maxim(**tiny.arguments)
    again.load_state_dict(tiny.state_dict())
    blurry = torch.rand(1, 3, 12, 20)
    assert torch.equal(tiny(blurry), again(blurry))


def test_every_weight_learns() -> None:
    # Wide enough in the attentions' middle that not all of it is cut off at zero.
    network = _drawn(Maxim(**TINY | {"features": 8, "reduction": 1})).train()
    blurry = torch.rand(1, 3, 32, 32)
    network(blurry).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent


def test_inference_is_as_training(tiny: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    blurry = torch.rand(1, 3, 32, 32)
    expected = tiny(blurry)
    # A strip at a time, and all at once.
    for band in (1, 2**40):
        monkeypatch.setattr(dense, "BAND", band)
        with torch.inference_mode():
            torch.testing.assert_close(tiny(blurry), expected)


def test_the_grid_sees_the_whole_picture(tiny: nn.Module) -> None:
    blurry = torch.rand(1, 3, 64, 64)
    other = blurry.clone()
    other[..., :2, :2] = 0
    with torch.inference_mode():
        assert (tiny(blurry) != tiny(other))[..., -2:, -2:].any()


def test_bfloat16_loses_less_than_a_twentieth_of_a_decibel(tiny: nn.Module) -> None:
    """Beside a truth that is as far from the exact result as truths are from good ones: 30 dB."""
    blurry = _moved_pattern()
    exact, rough = (Runner(tiny, CPU, dtype).restore(blurry) for dtype in (torch.float32, torch.bfloat16))
    truth = exact + 10**-1.5 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0))
    lost, noise = ((rough - truth).square().mean(), (exact - truth).square().mean())
    assert (rough - exact).abs().max() > 0
    assert 10 * torch.log10(lost / noise) < 0.05


def _scene(height: int, width: int) -> Tensor:
    """The moved pattern again and again, under patches of other brightness."""
    pattern = _moved_pattern().repeat(1, 1, 5, 5)[..., :height, :width]
    patches = torch.rand(1, 3, -(-height // 16), -(-width // 16), generator=torch.Generator().manual_seed(0))
    return (pattern + patches.repeat_interleave(16, 2).repeat_interleave(16, 3)[..., :height, :width]) / 2


def test_tiles_change_little(tiny: nn.Module) -> None:
    blurry, runner = _scene(200, 224), Runner(tiny, CPU, torch.float32)
    whole = runner.restore(blurry)
    made, side = runner.sharpen(blurry, tile=160, subject="a.png")
    assert side == 160
    assert 0 < (made - whole).abs().mean() < 0.15 * (whole - blurry).abs().mean()


def test_tiles_change_nothing_but_what_sees_the_whole_picture(tiny: nn.Module) -> None:
    with torch.no_grad():
        for module in tiny.modules():
            if isinstance(module, MultiAxis):
                # What the grid found.
                module.narrow.weight[:, : len(module.narrow.weight)] = 0
            if isinstance(module, ChannelWeights):
                module.excite.weight[:] = 0
    blurry, runner = _scene(200, 320), Runner(tiny, CPU, torch.float32)
    whole = runner.restore(blurry)
    runner.overlap, runner.ramp = 128, 8
    made, _ = runner.sharpen(blurry, tile=256, subject="a.png")
    torch.testing.assert_close(made, whole, atol=1e-4, rtol=1e-4)


def _moved_pattern() -> Tensor:
    """A picture with edges, averaged over nine shifts: (1, 3, 64, 64)."""
    y, x = np.mgrid[:64, :72].astype(np.float32)
    rings, bars = np.hypot(x - 36, y - 30) % 12 < 6, (x + 2 * y) % 17 < 8
    sharp = np.stack((0.15 + 0.7 * rings, 0.2 + 0.5 * bars, 0.3 + 0.4 * (rings ^ bars)))
    blurry = np.mean([sharp[..., i : i + 64] for i in range(9)], axis=0)
    return torch.from_numpy(blurry[None].astype(np.float32))


def test_shipped_weights() -> None:
    network = load_weights("maxim").network
    with np.load(GOLDEN) as golden, torch.inference_mode():
        sharp = network(_moved_pattern())[0, :, ::8, ::8].numpy()
        np.testing.assert_allclose(sharp, golden["shipped"], atol=1e-3)
