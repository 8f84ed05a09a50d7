from __future__ import annotations

import cv2
import numpy as np
import pytest

from unblur.analysis.optical_flow import compare, dominant_motion


def texture(seed: int, height: int = 160, width: int = 200) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def moved(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    matrix = np.float32([[1, 0, dx], [0, 1, dy]])
    return cv2.warpAffine(image, matrix, image.shape[::-1], borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize(("dx", "dy"), [(3.0, 0.0), (0.0, -2.5), (-1.0, 1.5)])
def test_flow_is_where_content_goes(dx: float, dy: float) -> None:
    before = texture(0)
    change = compare(before, moved(before, dx, dy))
    assert change.median == pytest.approx(np.hypot(dx, dy), abs=0.3)
    assert change.p95 >= change.median
    assert not change.duplicate
    assert not change.cut
    assert dominant_motion([change.flow]) == pytest.approx((dx, dy), abs=0.4)


def test_flow_of_large_frames_is_in_their_pixels() -> None:
    before = texture(1, 900, 1400)
    change = compare(before, moved(before, 8, 0))
    assert change.flow.shape[1] <= 640
    assert change.median == pytest.approx(8, abs=0.8)


def test_tiny_frames_have_a_flow() -> None:
    assert np.isfinite(compare(texture(2, 9, 20), texture(2, 9, 20)).flow).all()


def test_duplicates_and_small_moving_things() -> None:
    before = texture(3)
    assert compare(before, before).duplicate
    noisy = np.clip(before.astype(int) + np.random.default_rng(0).integers(-1, 2, before.shape), 0, 255)
    assert compare(before, noisy.astype(np.uint8)).duplicate
    after = before.copy()
    after[40:56, 40:56] = 255 - after[40:56, 40:56]
    assert not compare(before, after).duplicate


def test_cuts() -> None:
    before = texture(4)
    assert compare(before, texture(5)[::-1] // 3).cut
    assert compare(np.zeros((90, 90), np.uint8), np.full((90, 90), 200, np.uint8)).cut
    assert not compare(before, moved(before, 6, 4)).cut


def test_what_moves_far_decides_the_direction() -> None:
    flow = np.zeros((10, 10, 2), np.float32)
    flow[..., 0] = -0.3  # all drifts slowly to the left,
    flow[:3, :, 0] = 5.0  # a third runs to the right
    dx, dy = dominant_motion([flow])
    assert dx > 3
    assert dy == 0
    assert dominant_motion([np.zeros((4, 4, 2), np.float32)]) == (0, 0)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="one size"):
        compare(np.zeros((8, 8), np.uint8), np.zeros((8, 9), np.uint8))
