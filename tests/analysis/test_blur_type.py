"""The kind of blur, on made pictures whose blur is known."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.analysis import blur_type as module
from unblur.analysis.blur_length import predict_length
from unblur.analysis.blur_type import HALVINGS, KINDS, MOST, Spectra, classify_blur, describe, powers


def test_a_sharp_picture(leaves):
    assert classify_blur(leaves).kind == "sharp"
    assert classify_blur(leaves, 0.5).kind == "sharp"
    assert classify_blur(leaves, 9.0).kind == "unsure", "paths were found in it"


@pytest.mark.parametrize(("length", "degrees"), [(8, 0), (12, 30), (12, 90), (20, 135)])
def test_a_moved_picture(leaves, moved, length, degrees):
    blurry = moved(leaves, length, degrees)
    assert classify_blur(blurry).kind == "motion"


@pytest.mark.parametrize("radius", [2.5, 4, 8])
def test_a_picture_out_of_focus(leaves, defocused, radius):
    blurry = defocused(leaves, radius)
    assert classify_blur(blurry).kind == "defocus"


def test_far_out_of_focus_is_told_at_a_smaller_size(leaves, defocused):
    large = F.interpolate(leaves[None], scale_factor=3.0, mode="bicubic")[0].clamp(0, 1)
    assert classify_blur(defocused(large, 20)).kind == "defocus"


def test_a_soft_background_is_not_out_of_focus(leaves, defocused):
    blurry = defocused(leaves, 5)
    blurry[:, 80:180, 40:220] = leaves[:, 80:180, 40:220]
    assert classify_blur(blurry).defocus > 0.3
    assert classify_blur(blurry).kind != "defocus"


def test_probabilities(leaves, moved):
    verdict = classify_blur(moved(leaves, 12, 60))
    said = verdict.as_dict()
    assert said["verdict"] == "motion"
    assert said["places"] == verdict.places > 3
    assert set(said["probabilities"]) == set(KINDS)
    assert sum(said["probabilities"].values()) == pytest.approx(1, abs=0.01)


def test_turned_by_a_quarter_it_is_the_same(leaves, moved):
    blurry = moved(leaves, 12, 30)
    assert classify_blur(blurry.rot90(1, (1, 2))).motion == pytest.approx(classify_blur(blurry).motion, abs=0.05)


@pytest.mark.parametrize("picture", [torch.full((3, 200, 300), 0.4), torch.zeros(3, 70, 70)])
def test_without_texture_it_is_unsure(picture):
    assert (classify_blur(picture).kind, classify_blur(picture).places) == ("unsure", 0)
    noisy = picture + 0.02 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    assert classify_blur(noisy.clamp(0, 1)).kind == "unsure"


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_any_size(leaves, height, width):
    picture = F.interpolate(leaves[None], (height, width))[0]
    verdict = classify_blur(picture)
    assert verdict.kind in (*KINDS, "unsure")
    if min(height, width) < 64:
        assert verdict.kind == "unsure"


def test_large_pictures_cost_no_more():
    assert len(powers(torch.rand(1500, 1500))) <= MOST
    assert len(powers(torch.rand(64, 20_000))) <= MOST


def test_white_noise_has_power_one():
    power = powers(torch.randn(512, 512, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(power.mean((0, 1)), torch.ones(1), atol=0.15)
    assert len(describe(torch.rand(3, 256, 256))) == 0


@pytest.mark.parametrize("enlarged", [1, 3])
def test_kind_and_length_share_what_spectra_tell(monkeypatch, leaves, moved, enlarged):
    """Each size of the photo is described once for both, and what they say is what each says alone."""
    photo = moved(F.interpolate(leaves[None], scale_factor=float(enlarged), mode="bicubic")[0].clamp(0, 1), 12, 30)
    alone = classify_blur(photo), predict_length(photo)
    sizes, described = [], module.spectral_features
    monkeypatch.setattr(module, "spectral_features", lambda grey: sizes.append(grey.shape) or described(grey))
    spectra = Spectra(photo)
    assert (classify_blur(spectra), predict_length(spectra)) == alone
    assert len(sizes) == len(set(sizes)) >= 2
    assert sizes[:2] == [photo.shape[1:], (photo.shape[1] // 2, photo.shape[2] // 2)]


def test_spectra_of_what_is_halved_to_nothing():
    spectra = Spectra(torch.rand(3, 130, 500))
    assert [len(spectra.at(halvings)[0]) for halvings in range(2, HALVINGS + 2)] == [0] * HALVINGS
