"""What `unblur inspect` says of made photos, and the picture it draws."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unblur
from unblur.analysis import blur_type as verdict
from unblur.analysis.motion_field import measure_field
from unblur.errors import UnblurError
from unblur.media.image import read_image
from unblur.networks.cfmd import CFMD
from unblur.pipeline.restore import Pipeline, load
from unblur.tasks.plots import FOOT, LEAST, MOST, draw_field


@pytest.fixture(scope="module")
def trained():
    """The small model that came with the package."""
    return load("fast", device="cpu", dtype="float32")


@pytest.mark.parametrize(("length", "degrees"), [(8, 90), (12, 30), (14, 150)])
def test_a_known_shift_is_recovered(trained, leaves, moved, length, degrees):
    seen = unblur.inspect(moved(leaves, length, degrees), model=trained)
    assert seen.verdict.kind == "motion"
    assert seen.motion.length == pytest.approx(length, rel=0.3)
    assert seen.motion.path_length == pytest.approx(length, rel=0.35)
    assert abs((seen.motion.angle - degrees + 90) % 180 - 90) < 20
    assert seen.motion.spread < 20
    assert seen.motion.camera > 0.8
    assert "motion blur" in str(seen)
    assert "degrees" in str(seen)


def test_the_whole_photo_is_described_once(monkeypatch, trained, leaves, moved):
    photo, sizes, described = moved(leaves, 12, 30), [], verdict.spectral_features
    monkeypatch.setattr(verdict, "spectral_features", lambda grey: sizes.append(grey.shape) or described(grey))
    assert unblur.inspect(photo, model=trained).length is not None
    assert sizes.count(photo.shape[1:]) == 1


def test_sharp_and_out_of_focus(trained, leaves, defocused):
    seen = unblur.inspect(leaves, model=trained)
    assert seen.verdict.kind == "sharp"
    assert seen.motion.length is None
    assert seen.motion.path_length < 2
    assert "degrees" not in str(seen)
    assert unblur.inspect(defocused(leaves, 4), model=trained).verdict.kind == "defocus"


def test_deblur_and_frames_warn_of_what_is_no_motion(trained, leaves, moved, defocused):
    soft, sharp, shaken = defocused(leaves, 4), leaves, moved(leaves, 12, 30)
    assert "out of focus" in unblur.deblur(soft, model=trained).warning
    assert "sharp already" in unblur.frames(sharp, n=2, model=trained).warning
    assert unblur.deblur(shaken, model=trained).warning is None
    assert unblur.deblur(soft, model=trained, check=False).warning is None
    assert unblur.frames(soft, n=2, model=trained, check=False).verdict is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_any_size(pipeline, height, width):
    seen = unblur.inspect(torch.rand(3, height, width), model=pipeline)
    assert seen.drawing.pixels.shape[0] == 3
    assert all(value is None or math.isfinite(value) for value in seen.as_dict()["motion"].values())


def test_the_drawing(tmp_path, pipeline, leaves):
    seen = unblur.inspect(leaves, model=pipeline)
    drawn = read_image(seen.save(tmp_path / "paths.png")).pixels
    assert drawn.shape == (3, 640 + FOOT, LEAST)
    wide = draw_field(torch.rand(3, 40, 4000), measure_field(torch.zeros(6, 40, 4000), torch.rand(3, 40, 4000)))
    assert wide.shape == (3, 16 + FOOT, MOST)


def test_paths_are_drawn_where_they_go(leaves):
    """Long horizontal paths change rows of pixels, far from the places' middles only along the row."""
    coefficients = torch.zeros(2, 256, 320)
    coefficients[0] = 6.0
    across = draw_field(leaves, measure_field(coefficients, leaves))
    still = draw_field(leaves, measure_field(torch.zeros(2, 256, 320), leaves))
    changed = ((across - still).abs().amax(0) > 0.1)[:-FOOT]
    rows, columns = changed.any(1).float().mean(), changed.any(0).float().mean()
    assert changed.any()
    assert columns > 2 * rows
    assert torch.equal(across[:, :2], still[:, :2])


def test_a_model_without_paths_is_refused():
    pipeline = Pipeline(CFMD(channels=4, blocks=1), device="cpu", dtype="float32")
    with pytest.raises(UnblurError, match="makes films without paths; use best or fast"):
        unblur.inspect(torch.rand(3, 32, 32), model=pipeline)
