import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.exposure.average import average, frame_times, integrate, quantise, reblur_residual, trapezoid_weights
from unblur.exposure.response import from_linear, to_linear

RESPONSES = ["srgb", "gamma", "linear"]


@pytest.mark.parametrize("response", RESPONSES)
def test_response_and_its_inverse_cancel(response):
    stored = torch.linspace(0, 1, 1001)
    assert torch.allclose(
        from_linear(to_linear(stored, response), response), stored, atol=3e-4 if response == "gamma" else 1e-5
    )


def test_srgb_at_known_points():
    # IEC 61966-2-1: middle grey 0.5 is 0.21404 of the light, the linear part ends at 0.04045.
    light = to_linear(torch.tensor([0.0, 0.04045, 0.5, 1.0]))
    assert torch.allclose(light, torch.tensor([0.0, 0.0031308, 0.2140411, 1.0]), atol=1e-6)


@pytest.mark.parametrize("response", RESPONSES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 13))
def test_static_clip_comes_back_exactly(response, seed, count):
    frame = torch.randint(0, 256, (1, 1, 3, 5, 7), generator=torch.Generator().manual_seed(seed)) / 255
    blurry = average(frame.expand(-1, count, -1, -1, -1), response, levels=255)
    assert torch.equal((blurry * 255).round(), (frame[:, 0] * 255).round())
    assert torch.equal(blurry, quantise(frame[:, 0]))


def test_light_is_averaged_not_stored_values():
    frames = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1).expand(1, 2, 3, 1, 1)
    assert average(frames, "srgb").mean().item() == pytest.approx(0.7354, abs=1e-3)
    assert average(frames, "linear").mean().item() == pytest.approx(0.5)


def test_residual_of_the_true_frames_vanishes_and_of_others_does_not():
    frames = torch.rand(2, 5, 3, 8, 8)
    blurry = average(frames)
    assert reblur_residual(blurry, frames).abs().max() < 1e-6
    assert reblur_residual(blurry, frames.roll(1, -1)).abs().max() > 0.01


def test_rounding_is_half_to_even():
    assert torch.equal(quantise(torch.tensor([0.5, 1.5, 2.5]) / 4, levels=4) * 4, torch.tensor([0.0, 2.0, 2.0]))


def test_times():
    assert frame_times(5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert frame_times(1).tolist() == [0.5]


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="frames must be"):
        average(torch.rand(3, 4, 4))
    with pytest.raises(ValueError, match="response"):
        to_linear(torch.rand(1), "film")


def test_the_trapezoid_rule_counts_the_ends_by_half():
    light = torch.rand(2, 5, 3, 4, 6)
    assert torch.allclose(integrate(light), torch.einsum("btchw,t->bchw", light, trapezoid_weights(5)), atol=1e-6)
    assert torch.allclose(trapezoid_weights(5), torch.tensor([0.125, 0.25, 0.25, 0.25, 0.125]))
    straight = torch.linspace(0, 1, 2)[None, :, None, None, None].expand(1, 2, 3, 4, 6)
    assert torch.allclose(integrate(straight), torch.full((1, 3, 4, 6), 0.5))
