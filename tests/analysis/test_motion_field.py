"""Length, direction and agreement of path fields that are known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.analysis.motion_field import CELL, UNIFORM, measure_field


def field(x, y, height=160, width=240):
    """Straight paths from -(x, y) to (x, y), over a picture with texture everywhere."""
    coefficients = torch.zeros(4, height, width)
    coefficients[0], coefficients[1] = x, y
    return measure_field(coefficients, torch.rand(3, height, width))


def grid(height=160, width=240):
    y, x = torch.meshgrid(torch.arange(height) - height / 2, torch.arange(width) - width / 2, indexing="ij")
    return x, y


@settings(max_examples=30, deadline=None)
@given(length=st.floats(0.5, 40), degrees=st.floats(0, 359))
def test_one_shift(length, degrees):
    turn = math.radians(degrees)
    motion = field(length / 2 * math.cos(turn), -length / 2 * math.sin(turn)).motion()
    assert motion.path_length == pytest.approx(length, rel=1e-3)
    assert motion.path_length_95 == pytest.approx(length, rel=1e-3)
    assert abs((motion.angle - degrees + 90) % 180 - 90) < 0.1
    assert 0 <= motion.angle <= 180
    assert motion.spread < 1
    assert motion.camera > 0.99


def test_a_curve_is_as_long_as_it_is():
    coefficients = torch.zeros(4, 64, 64)
    coefficients[2] = 5.0  # there and back again
    motion = measure_field(coefficients, torch.rand(3, 64, 64)).motion()
    assert motion.path_length == pytest.approx(10, rel=1e-3)


def test_what_runs_the_other_way_is_the_same_direction():
    x, _ = grid(width=256)
    motion = field(torch.where(x < 0, 3.0, -3.0), 0, width=256).motion()
    assert motion.angle == pytest.approx(0, abs=0.1) or motion.angle == pytest.approx(180, abs=0.1)
    assert motion.spread < 1
    assert motion.camera > 0.99


def test_a_turn_of_the_camera_goes_every_way_but_is_one_movement():
    x, y = grid()
    motion = field(-0.05 * y, 0.05 * x).motion()
    assert motion.spread > 15
    assert motion.camera > 0.95


def test_things_that_move_apart():
    x, y = grid()
    checks = ((x // 40 + y // 40) % 2).bool()
    motion = field(torch.where(checks, 5.0, 0.0), torch.where(checks, 0.0, 5.0)).motion()
    assert motion.spread > 35
    assert motion.camera < 0.75


def test_only_places_with_texture_count():
    coefficients = torch.zeros(2, 64, 128)
    coefficients[0, :, :64], coefficients[1, :, 64:] = 4.0, 10.0
    picture = torch.rand(3, 64, 128)
    picture[:, :, 64:] = 0.5
    found = measure_field(coefficients, picture)
    assert found.textured.sum() == 16
    assert found.motion().path_length == pytest.approx(8, rel=1e-3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (17, 16)])
def test_any_size(height, width):
    found = measure_field(torch.randn(6, height, width), torch.zeros(3, height, width))
    assert found.paths.shape == (9, 2, math.ceil(height / CELL), math.ceil(width / CELL))
    motion = found.motion()
    assert all(value is None or math.isfinite(value) for value in motion.as_dict().values())
    assert motion.spread <= UNIFORM
    assert "degrees" in str(motion)
