import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.layers.paths import follow_back, path_at, reverse_time, warp
from unblur.networks import spectral_motion as evidence
from unblur.networks.path_film import MotionEstimator, PathFilm, UNetRestorer

SMALL = {"widths": (4, 8), "blocks": (1, 1)}


def small(**options):
    torch.manual_seed(0)
    network = PathFilm(restorer=SMALL, motion=SMALL | {"degree": 2}, **options).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    return network


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 21), width=st.integers(1, 21))
def test_any_size(height, width):
    frames = small()(torch.rand(2, 3, height, width), torch.tensor([0.0, 0.3, 1.0]))
    assert frames.shape == (2, 3, 3, height, width)
    assert frames.isfinite().all()


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 37), width=st.integers(1, 37))
def test_any_size_with_evidence(height, width):
    evidence = {"hidden": 8, "blocks": 1, "window": 12, "reaches": [3, 2]}
    network = MotionEstimator(widths=(4, 4, 8), blocks=(1, 1, 1), spectral=evidence)
    picture = torch.rand(1, 3, height, width)
    paths = network(picture, picture)
    assert paths.shape == (1, 6, height, width)
    assert paths.abs().max() < 1e-3, "untrained, it guesses that nothing moves"


def test_evidence_does_without_correction():
    evidence = {"hidden": 8, "blocks": 1, "window": 12, "reaches": [3, 2], "sigma": 2.0}
    network = MotionEstimator(widths=(4, 4, 8), blocks=(1, 1, 1), spectral=evidence, with_unet=False)
    corrected = MotionEstimator(widths=(4, 4, 8), blocks=(1, 1, 1), spectral=evidence)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    corrected.load_state_dict(network.state_dict(), strict=False)
    blurry, sharp = torch.rand(2, 1, 3, 30, 45)
    paths = network(blurry, sharp)
    assert paths.abs().max() > 0.1
    # The same, but for the place where the enlarging is done.
    assert torch.nn.functional.cosine_similarity(paths, corrected(blurry, sharp)).mean() > 0.99
    with pytest.raises(ValueError, match="nothing is left"):
        MotionEstimator(with_unet=False)


def test_decode_of_encode_is_forward_whatever_the_batch_of_times():
    network, blurry = small(), torch.rand(2, 3, 16, 20)
    times = torch.rand(2, 4)
    whole = network(blurry, times)
    state = network.encode(blurry)
    alone = torch.cat([network.decode(state, times[:, i : i + 1]) for i in range(4)], 1)
    assert torch.allclose(whole, alone, atol=1e-4)


def test_middle_frame_is_the_restorers():
    network, blurry = small(), torch.rand(1, 3, 16, 16)
    assert torch.allclose(network(blurry, torch.tensor([0.5]))[:, 0], network.restorer(blurry), atol=1e-5)


def test_untrained_network_returns_its_input():
    blurry = torch.rand(1, 3, 24, 24)
    frames = PathFilm()(blurry, torch.tensor([0.0, 1.0]))
    assert torch.allclose(frames, blurry[:, None].expand_as(frames), atol=1e-5)


def test_path_is_the_polynomial():
    coefficients = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    way = path_at(coefficients, torch.tensor([0.0, 0.5, 1.0]))[0, :, :, 0, 0]
    assert torch.allclose(way, torch.tensor([[2.0, 2.0], [0.0, 0.0], [4.0, 6.0]]))


def test_shift_to_the_right_draws_content_further_right():
    image = torch.zeros(1, 1, 8, 12)
    image[..., 4, 5] = 1
    paths = torch.zeros(1, 2, 8, 12)
    paths[:, 0] = 3  # x, of tau: three pixels to the right at t = 1
    film = warp(image, follow_back(paths, torch.tensor([0.0, 0.5, 1.0])))
    assert [int(frame[0, 4].argmax()) for frame in film[0]] == [2, 5, 8]


def test_content_keeps_its_own_path_when_it_moves_onto_still_ground():
    # The left half moves right by four pixels: at t = 1 its content, not the ground's, stands right of the old edge.
    image = torch.zeros(1, 1, 6, 32)
    image[..., :16] = 1
    paths = torch.zeros(1, 2, 6, 32)
    paths[:, 0, :, :16] = 4
    film = warp(image, follow_back(paths, torch.tensor([1.0]), iterations=4))
    assert film[0, 0, 0, 3, 19] < 0.5  # seen from the ground's side nothing arrives: occlusions are not modelled here
    smooth = torch.full((1, 2, 6, 32), 0.0)
    smooth[:, 0] = torch.linspace(0, 3, 32)
    target = torch.arange(32.0).view(1, 1, 1, 32).expand(1, 1, 6, 32)
    back = warp(target, follow_back(smooth, torch.tensor([1.0]), iterations=8))[0, 0, 0, 3]
    x = torch.arange(32.0)
    # Content at x stands at x + 3 x / 31 afterwards.
    assert torch.allclose(back[:28] * (1 + 3 / 31), x[:28], atol=0.02)


def test_time_reversed_paths_reverse_the_film():
    torch.manual_seed(0)
    image, paths = torch.rand(1, 3, 9, 9), torch.randn(1, 6, 9, 9)
    times = torch.tensor([0.0, 0.2, 0.5, 0.9])
    forward = warp(image, follow_back(paths, times))
    backward = warp(image, follow_back(reverse_time(paths), 1 - times))
    assert torch.allclose(forward, backward, atol=1e-5)


def test_every_part_learns():
    network = small()
    network(torch.rand(1, 3, 16, 16), torch.tensor([0.0, 1.0])).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_arguments_rebuild_the_network():
    network = small(iterations=1)
    again = PathFilm(**network.arguments)
    again.load_state_dict(network.state_dict())
    blurry = torch.rand(1, 3, 12, 12)
    assert torch.equal(network(blurry, torch.tensor([0.1])), again(blurry, torch.tensor([0.1])))


@pytest.mark.parametrize("network", [UNetRestorer(**SMALL), MotionEstimator(**SMALL)])
def test_parts_say_how_they_are_tiled(network):
    assert network.is_local
    assert network.tile_overlap > 0


def test_films_start_from_any_sharp_frame():
    """A state is the sharp frame as it is, and the paths that belong to it, turned into the canonical direction."""
    network, blurry, sharp = small(), torch.rand(1, 3, 12, 20), torch.rand(1, 3, 12, 20)
    state = network.estimate_motion(blurry, sharp)
    assert torch.equal(state[:, :3], sharp)
    assert torch.equal(state[:, 3:], network.motion(blurry, sharp))
    own = network.estimate_motion(blurry, network.restorer(blurry))
    assert torch.equal(network.encode(blurry), network.orient(own))


def with_evidence(**options):
    torch.manual_seed(0)
    evidence = {"hidden": 8, "blocks": 1, "window": 12, "reaches": [3, 2], "sigma": 2.0}
    network = PathFilm(SMALL, {"widths": (4, 4, 8), "blocks": (1, 1, 1), "spectral": evidence, **options}).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network


@pytest.mark.parametrize(("corrected", "channels"), [(True, 8 + 6), (False, 6)])
def test_a_survey_of_the_whole_is_what_following_it_would_see(corrected, channels):
    """And no more than is read: features are for a U-Net."""
    network, blurry, sharp = with_evidence(with_unet=corrected), torch.rand(1, 3, 30, 45), torch.rand(1, 3, 30, 45)
    with torch.inference_mode():
        context = network.global_context(blurry, sharp)
        assert context.shape == (1, channels, 4, 6)
        assert torch.equal(network.estimate_motion(blurry, sharp, context), network.estimate_motion(blurry, sharp))
        assert not torch.allclose(
            network.estimate_motion(blurry, sharp, 0 * context), network.estimate_motion(blurry, sharp)
        )
    assert small().global_context(blurry, sharp) is None


def test_a_survey_in_bands_is_the_survey(monkeypatch):
    network, blurry, sharp = with_evidence(), torch.rand(2, 3, 40, 45), torch.rand(2, 3, 40, 45)
    whole = network.global_context(blurry, sharp).detach()
    made, kernel_images = [], network.motion.spectral.kernel_images
    network.motion.spectral.kernel_images = lambda patches: made.append(patches[0].shape[2]) or kernel_images(patches)
    monkeypatch.setattr(evidence, "BAND", 12)
    with torch.inference_mode():
        assert torch.allclose(network.global_context(blurry, sharp), whole, atol=1e-5)
    assert made == [2, 2, 1]


def test_no_frame_looks_farther_than_it_says():
    network, blurry = small(), torch.rand(1, 3, 20, 20)
    state = network.encode(blurry)
    back = follow_back(state[:, 3:], torch.linspace(0, 1, 9), network.iterations)
    assert 0 < back.abs().max() <= network.reach(state) + 1e-5


def test_time_runs_in_the_canonical_direction_whatever_the_paths_say():
    state = torch.cat((torch.rand(4, 3, 6, 6), torch.randn(4, 6, 6, 6)), 1)
    turned = torch.cat((state[:, :3], reverse_time(state[:, 3:])), 1)
    oriented = PathFilm.orient(state)
    assert torch.equal(oriented, PathFilm.orient(turned))
    ends = path_at(oriented[:, 3:], torch.tensor([0.0, 1.0]))
    assert ((ends[:, 1] - ends[:, 0]).mean((-1, -2)).sum(1) >= 0).all()


def test_a_tile_is_turned_to_run_as_its_neighbours():
    state = torch.cat((torch.rand(2, 3, 6, 6), torch.randn(2, 6, 6, 6)), 1)
    turned = torch.cat((state[:, :3], reverse_time(state[:, 3:])), 1)
    noise = 0.1 * torch.randn_like(state)
    assert torch.equal(PathFilm.align(turned, state + noise), state)
    assert torch.equal(PathFilm.align(state, state + noise), state)
