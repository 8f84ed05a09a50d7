import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unblur.networks.blur_kernel_space import BlurKernelSpace

TINY = {"features": 4, "front_blocks": 1, "back_blocks": 1, "channels": 8, "encoder_blocks": 1}


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _pair(height: int, width: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(batch, 3, height, width), torch.rand(batch, 3, height, width)


@pytest.mark.parametrize(
    ("variational", "encoder", "all_of_it"), [(False, 25_542_656, 49_205_187), (True, 91_602_944, 115_265_475)]
)
def test_parameter_counts(variational: bool, encoder: int, all_of_it: int) -> None:
    with torch.device("meta"):
        network = BlurKernelSpace(variational=variational)
    parts = network.features, network.encoder, network.unet, network.reconstruction
    assert [_count(part) for part in parts] == [814_208, encoder, 21_037_120, 1_811_203]
    assert _count(network) == all_of_it
    assert not [name for name, _ in network.encoder.named_parameters() if "bias" in name]
    assert [name for name, _ in network.unet.named_parameters() if "bias" in name] == ["up.4.bias"]


@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [
        *((256, 256, (2, 2)), (384, 384, (3, 3)), (512, 512, (4, 4)), (768, 1280, (6, 10)), (720, 1280, (6, 10))),
        *((128, 128, (2, 2)), (250, 250, (2, 2)), (3000, 4000, (24, 32)), (1, 1, (2, 2)), (257, 100, (3, 2))),
    ],
)
def test_the_code_follows_the_picture(height: int, width: int, grid: tuple[int, int]) -> None:
    """The released shapes, and those of sizes that the released program refuses."""
    with torch.device("meta"):
        network, (sharp, blurry) = BlurKernelSpace(variational=True), _pair(height, width)
        code = network.encode(sharp, blurry)
        assert network.grid(height, width) == grid
        assert code.mean.shape == code.log_variance.shape == (1, 512, *grid)
        assert network.reblur(sharp, code.mean).shape == sharp.shape


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 300), st.integers(1, 300), st.booleans())
@example(1, 1, True)
@example(128, 250, False)
def test_any_size(height: int, width: int, variational: bool) -> None:
    network = BlurKernelSpace(**TINY, variational=variational)
    sharp, blurry = _pair(height, width)
    with torch.inference_mode():
        code = network.encode(sharp, blurry).sample(torch.Generator().manual_seed(0))
        again = network.reblur(sharp, code)
    assert again.shape == sharp.shape
    assert again.isfinite().all()


def test_a_larger_picture_has_the_same_blur_in_its_corner() -> None:
    """Padding is below and at the right: cells stay where they are in the picture."""
    network = BlurKernelSpace(**TINY)
    sharp, _ = _pair(600, 300)
    code = torch.randn(1, 8, 5, 3)
    with torch.inference_mode():
        whole = network.reblur(sharp, code)
        padded = torch.cat((sharp, sharp.flip(-2)[..., 1:41, :]), -2)
        assert torch.allclose(network.reblur(padded, code)[..., :600, :], whole, atol=1e-5)


def test_in_bands_as_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    network = BlurKernelSpace(**TINY)
    (sharp, blurry), code = _pair(512, 300), torch.randn(1, 8, 4, 3)
    with torch.inference_mode():
        whole = network.encode(sharp, blurry).mean, network.reblur(sharp, code)
        monkeypatch.setattr("unblur.networks.blur_kernel_space.BAND", 300 * 64)
        bands = network.encode(sharp, blurry).mean, network.reblur(sharp, code)
    for one, other in zip(whole, bands, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("variational", [False, True])
def test_every_entry_of_a_code_acts_but_in_the_released_form(variational: bool) -> None:
    torch.manual_seed(1)
    sound = BlurKernelSpace(**TINY, variational=variational)
    released = BlurKernelSpace(**TINY, variational=variational, code_activation="relu", spread="sigma")
    released.load_state_dict(sound.state_dict())
    sharp, code = torch.rand(1, 3, 64, 64), torch.randn(1, 8, 2, 2)
    assert torch.equal(released.reblur(sharp, code), released.reblur(sharp, code.relu()))
    assert not torch.allclose(sound.reblur(sharp, code), sound.reblur(sharp, code.relu()))
    for network, all_act in ((sound, True), (released, False)):
        leaf = code.clone().requires_grad_()
        network.reblur(sharp, leaf).square().sum().backward()
        assert bool((leaf.grad != 0).all()) is all_act
        assert (leaf.grad[code > 0] != 0).all()


def test_released_presets() -> None:
    with torch.device("meta"):
        arguments = BlurKernelSpace.released(variational=True).arguments
    assert (arguments["code_activation"], arguments["spread"], arguments["channels"]) == ("relu", "sigma", 512)


def test_a_raw_deviation_becomes_its_square() -> None:
    network = BlurKernelSpace(**TINY, variational=True, spread="sigma")
    plain = BlurKernelSpace(**TINY, variational=True)
    plain.load_state_dict(network.state_dict())
    sharp, blurry = _pair(64, 64)
    sigma, told = plain.encode(sharp, blurry).log_variance, network.encode(sharp, blurry).log_variance
    assert (sigma < 0).any()
    torch.testing.assert_close((told / 2).exp(), sigma.abs().clamp_min(1e-6))


def test_the_answer_is_added_to_the_picture_and_unclamped() -> None:
    network = BlurKernelSpace(**TINY)
    sharp, code = torch.rand(1, 3, 64, 64), torch.randn(1, 8, 2, 2)
    for part in (network.reconstruction.head.weight, network.reconstruction.head.bias):
        torch.nn.init.zeros_(part)
    assert torch.equal(network.reblur(sharp, code), sharp)
    torch.nn.init.constant_(network.reconstruction.head.bias, 2.0)
    assert torch.allclose(network.reblur(sharp, code), sharp + 2)


def test_a_code_of_another_size_is_stretched() -> None:
    network = BlurKernelSpace(**TINY)
    code = torch.arange(2.0).repeat(1, 8, 2, 1)  # 0 at the left, 1 at the right
    assert network.fitted(code, 200, 200) is code
    wide = network.fitted(code, 256, 512)
    assert wide.shape == (1, 8, 2, 4)
    assert torch.allclose(wide[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    assert torch.allclose(network.fitted(wide, 100, 256), torch.tensor([0.125, 0.875]).expand(1, 8, 2, 2))
    sharp = torch.rand(1, 3, 256, 512)
    assert network.reblur(sharp, wide).shape == sharp.shape
    with pytest.raises(ValueError, match="a code of this space is"):
        network.fitted(torch.zeros(1, 7, 2, 2), 256, 256)


def test_what_does_not_fit_is_refused() -> None:
    network = BlurKernelSpace(**TINY)
    with pytest.raises(ValueError, match=r"has shape \(1, 8, 2, 3\), not \(1, 8, 2, 2\)"):
        network.reblur(torch.rand(1, 3, 256, 257), torch.zeros(1, 8, 2, 2))
    with pytest.raises(ValueError, match="has shape"):
        network.reblur(torch.rand(2, 3, 256, 256), torch.zeros(1, 8, 2, 2))
    with pytest.raises(ValueError, match="shapes differ"):
        network.encode(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
    with pytest.raises(ValueError, match="variational"):
        network.draw(1, 256, 256)
    with pytest.raises(ValueError, match="no picture"):
        network.grid(0, 5)
    with pytest.raises(ValueError, match="no such"):
        BlurKernelSpace(**TINY, code_activation="tanh")


def test_drawn_codes_are_decided_by_the_seed() -> None:
    network = BlurKernelSpace(**TINY, variational=True)
    draw = lambda seed, **more: network.draw(3, 2000, 3000, torch.Generator().manual_seed(seed), **more)  # noqa: E731
    codes = draw(5)
    assert codes.shape == (3, 8, 16, 24)
    assert torch.equal(codes, draw(5))
    assert not torch.allclose(codes, draw(6))
    assert float(codes.std()) == pytest.approx(1.2, abs=0.05)
    assert torch.allclose(draw(5, scale=1.0), codes / 1.2)


def test_arguments_rebuild_it() -> None:
    network = BlurKernelSpace(**TINY, variational=True)
    again = BlurKernelSpace(**network.arguments)
    again.load_state_dict(network.state_dict())
    sharp, blurry = _pair(32, 40)
    assert torch.equal(network.encode(sharp, blurry).mean, again.encode(sharp, blurry).mean)


def test_every_weight_learns() -> None:
    network = BlurKernelSpace(**TINY, variational=True)
    sharp, blurry = _pair(256, 256)
    code = network.encode(sharp, blurry)
    network.reblur(sharp, code.sample(torch.Generator().manual_seed(0))).square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
