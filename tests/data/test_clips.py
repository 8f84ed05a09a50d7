from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from unblur.data.clips import Limits, clip_exposures
from unblur.exposure.average import average


def texture(seed: int, height: int = 200, width: int = 400) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def pan(image: np.ndarray, dx: float, dy: float = 0.0, count: int = 9, side: int = 120) -> list[Tensor]:
    """A window of `side` pixels over `image`, in which content moves by (dx, dy) per frame."""
    frames = []
    for i in range(count):
        matrix = np.float32([[1, 0, dx * (i - count // 2) - 100], [0, 1, dy * (i - count // 2) - 40]])
        frame = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
        frames.append(torch.from_numpy(frame).permute(2, 0, 1).float() / 255)
    return frames


def test_a_window_is_the_mean_of_its_frames() -> None:
    clip = pan(texture(0), 1.0)
    (exposure,) = clip_exposures(clip, 9)
    assert torch.allclose(exposure.frames, torch.stack(clip), atol=1e-6)
    assert torch.equal(exposure.blurry, average(exposure.frames[None], "srgb", 255)[0])
    assert exposure.times.tolist() == [i / 8 for i in range(9)]
    assert exposure.span == (0, 8)
    assert (exposure.shrink, exposure.direction) == (1.0, 1)
    assert exposure.length == pytest.approx(8, rel=0.2)


@pytest.mark.parametrize(("dx", "dy", "direction"), [(-1, 0.2, -1), (0.2, -1, -1), (-0.2, 1, 1), (1, -0.3, 1)])
def test_windows_are_turned_into_the_canonical_direction(dx: float, dy: float, direction: int) -> None:
    clip = pan(texture(1), dx, dy)
    (turned,) = clip_exposures(clip, 9)
    (stored,) = clip_exposures(clip, 9, canonical=False)
    assert turned.direction == stored.direction == direction
    assert torch.allclose(stored.frames, torch.stack(clip), atol=1e-6)
    assert torch.equal(turned.frames, stored.frames[::direction] if direction > 0 else stored.frames.flip(0))
    assert torch.equal(turned.blurry, stored.blurry)


def test_fast_clips_are_shrunk_until_they_fit_or_passed_over() -> None:
    clip = pan(texture(2), 3.5, side=160)
    (exposure,) = clip_exposures(clip, 9, limits=Limits(max_step=2.0, min_side=40))
    assert exposure.shrink in (2.0, 2.5)
    assert exposure.frames.shape[-1] == round(160 / exposure.shrink)
    assert list(clip_exposures(clip, 9, limits=Limits(max_step=2.0, min_side=120))) == []
    (exposure,) = clip_exposures(clip, 9, limits=Limits(max_step=2.0, min_side=40, least_shrink=3.0))
    assert exposure.shrink == 3.0


def test_still_clips_give_nothing() -> None:
    noise = torch.Generator().manual_seed(0)
    still = [(pan(texture(3), 0, count=1)[0] + 0.02 * torch.randn(3, 120, 120, generator=noise)) for _ in range(9)]
    assert list(clip_exposures(still, 5)) == []


def test_duplicates_and_cuts_end_a_window() -> None:
    first, second = pan(texture(4), 1.0, count=6), pan(texture(5) // 3, 1.0, count=7)
    spans = [e.span for e in clip_exposures([*first, *second], 5)]
    assert spans == [(0, 4), (6, 10)]
    repeated = [*first[:3], first[2], *first[3:]]
    assert list(clip_exposures(repeated, 5)) == []
    assert [e.span for e in clip_exposures(repeated, 4)] == [(3, 6)]


def test_the_crop_goes_where_most_moves() -> None:
    scene = texture(6)
    things = pan(texture(7), 1.2, side=64, count=7)
    clip = []
    for thing in things:
        frame = torch.from_numpy(scene[:160, :240]).permute(2, 0, 1).float() / 255
        frame[:, 90:154, 170:234] = thing
        clip.append(frame)
    (exposure,) = clip_exposures(clip, 7, size=64)
    top, left = exposure.corner
    assert exposure.frames.shape[-2:] == (64, 64)
    assert torch.allclose(exposure.frames[0], clip[0][:, top : top + 64, left : left + 64], atol=1e-6)
    assert abs(top - 90) <= 32
    assert abs(left - 170) <= 32


def test_an_exposure_needs_two_frames() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        list(clip_exposures([], 1))
