import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.metrics.ordering import all_pairs, symmetric_pairs
from unblur.networks.hypercut import HyperCUT

SMALL = {"width": 4, "channels": 8, "blocks": 1}


def test_parameter_count() -> None:
    assert sum(parameter.numel() for parameter in HyperCUT().parameters()) == 2_315_552


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from([1, 2]))
def test_reversing_turns_the_score_at_any_size(height: int, width: int, fold: int) -> None:
    network, frames = HyperCUT(**SMALL, fold=fold), torch.rand(2, 5, 3, height, width)
    pairs = all_pairs(5)
    forward, backward = network.pairs(frames, pairs), network.pairs(frames, pairs.flip(-1))
    torch.testing.assert_close(forward, -backward, atol=1e-6, rtol=0)
    torch.testing.assert_close(network.pairs(frames.flip(1), 4 - pairs), forward, atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", ["antisymmetric", "offset", "released"])
def test_pairs_at_once_score_as_one_by_one(form: str) -> None:
    network, frames = HyperCUT(**SMALL, form=form), torch.rand(3, 4, 3, 70, 90)
    scores = network.pairs(frames, symmetric_pairs(4))
    for row, (first, second) in enumerate(symmetric_pairs(4).tolist()):
        alone = network(frames[:, first], frames[:, second])
        torch.testing.assert_close(scores[:, row], alone, atol=1e-5, rtol=1e-4)
        local = network.score_map(frames[:, first], frames[:, second])
        assert local.shape == (3, 3, 3)
        torch.testing.assert_close(local.mean((-2, -1)), alone, atol=1e-5, rtol=1e-4)


def test_the_sound_forms_measure_distances_and_the_released_one_has_no_offset() -> None:
    first, second = torch.rand(2, 2, 3, 64, 64)
    for form in ("offset", "released"):
        network = HyperCUT(**SMALL, form=form)
        vector, plane = network.encode(first, second), network.hyperplane
        if form == "offset":
            expected = (vector @ plane[:-1] + plane[-1]) / plane[:-1].norm()
        else:
            expected = vector @ (plane[:-1] + plane[-1])
        torch.testing.assert_close(network(first, second), expected, atol=1e-5, rtol=1e-4)


def test_the_antisymmetric_score_is_half_of_the_difference() -> None:
    first, second = torch.rand(2, 2, 3, 64, 64)
    network, alone = HyperCUT(**SMALL), HyperCUT(**SMALL, form="offset")
    alone.load_state_dict(network.state_dict())
    expected = (alone(first, second) - alone(second, first)) / 2
    torch.testing.assert_close(network(first, second), expected, atol=1e-6, rtol=1e-4)


def test_the_released_stem_is_linear() -> None:
    """Its activations pass everything on; ours do not."""
    images = torch.rand(2, 6, 64, 64)
    for form, linear in (("released", True), ("offset", False)):
        encoder = HyperCUT(**SMALL, form=form).encoder
        encoder.blocks = torch.nn.Identity()
        zero = encoder(torch.zeros(1, 6, 64, 64))
        apart = encoder(images[:1]) + encoder(images[1:]) - zero
        assert torch.allclose(encoder(images.sum(0, keepdim=True)), apart, atol=1e-5) is linear


def test_the_hyperplane_never_learns() -> None:
    network = HyperCUT(**SMALL)
    assert "hyperplane" in network.state_dict()
    assert all(parameter is not network.hyperplane for parameter in network.parameters())


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of"):
        HyperCUT(form="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fold"):
        HyperCUT(fold=3)


def test_nearly_alike_frames_have_an_order_in_bfloat16_too() -> None:
    torch.manual_seed(0)
    network, first = HyperCUT(**SMALL), torch.rand(16, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = network(first, first.lerp(torch.rand_like(first), 0.2))
    assert scores.dtype == torch.float32
    assert (scores != 0).all()
    # Finer than bfloat16 tells numbers of this size apart.
    assert not torch.equal(scores, scores.bfloat16().float())
