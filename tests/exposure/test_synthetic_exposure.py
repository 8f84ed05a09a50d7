from dataclasses import replace

import pytest
import torch

from unblur.exposure.average import average
from unblur.exposure.camera import MotionSpec, is_canonical, random_path
from unblur.exposure.jpeg import jpeg
from unblur.exposure.synthetic_exposure import CLEAN, SensorSpec, render
from unblur.layers.paths import warp

SIZE = (40, 48)


def stills(count=3, seed=0):
    """Smooth pictures, so that interpolation is no error source."""
    noise = torch.rand(count, 3, 12, 14, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (80, 96), mode="bicubic").clamp(0, 1)


def expose(motion, sensor=CLEAN, times=(0.0, 0.25, 0.5, 0.75, 1.0), seed=0, count=3, **options):
    generator = torch.Generator().manual_seed(seed)
    return render(stills(count), SIZE, torch.as_tensor(times), motion, sensor, generator=generator, **options)


def test_no_motion_is_no_blur():
    exposure = expose(MotionSpec(length=(0, 0), layer=0.5), replace(CLEAN, levels=None))
    assert torch.allclose(exposure.blurry, exposure.frames[:, 0], atol=1e-4)
    assert exposure.displacements.abs().max() < 1e-3


@pytest.mark.parametrize("layer", [0.0, 1.0])
def test_blurry_is_the_mean_of_the_frames_in_linear_light(layer):
    times = torch.linspace(0, 1, 129)
    exposure = expose(MotionSpec(length=(6, 6), layer=layer), replace(CLEAN, levels=None), times, step=0.1)
    # The renderer integrates by the trapezoidal rule; half steps in from the ends it is the plain mean.
    assert (average(exposure.frames) - exposure.blurry).abs().max() < 5e-3


def test_displacements_bring_the_middle_frame_to_every_time():
    exposure = expose(MotionSpec(length=(8, 8), layer=0), replace(CLEAN, levels=None))
    drawn = warp(exposure.frames[:, 2], exposure.displacements)
    inside = (..., slice(10, -10), slice(10, -10))
    assert (drawn - exposure.frames)[inside].abs().max() < 0.03
    assert (exposure.frames[:, :1] - exposure.frames[:, 2:3])[inside].abs().max() > 0.1


@pytest.mark.parametrize("wanted", [3.0, 12.0, 28.0])
def test_paths_have_the_length_asked_for(wanted):
    path = random_path(16, 256, 256, MotionSpec(length=(wanted, wanted)), torch.Generator().manual_seed(1))
    assert torch.allclose(path.lengths(129), torch.full((16,), wanted), rtol=0.02)


def test_short_motion_can_be_more_frequent():
    lengths = [
        random_path(200, 64, 64, MotionSpec(length=(2, 20), power=power), torch.Generator().manual_seed(1)).lengths()
        for power in (1.0, 2.0)
    ]
    assert torch.allclose(lengths[1], 2 + 18 * ((lengths[0] - 2) / 18) ** 2, rtol=0.03)
    with pytest.raises(ValueError, match="power"):
        MotionSpec(power=0)


def test_time_runs_in_the_canonical_direction():
    exposure = expose(MotionSpec(length=(8, 8), layer=0), count=8)
    # Content seen in the last frame stood further left or up in the middle frame.
    net = -exposure.displacements[:, -1].mean((-1, -2)) + exposure.displacements[:, 0].mean((-1, -2))
    assert is_canonical(net[:, 0], net[:, 1]).all()
    free = expose(MotionSpec(length=(8, 8), layer=0), count=8, canonical=False)
    net = free.displacements[:, 0].mean((-1, -2)) - free.displacements[:, -1].mean((-1, -2))
    assert not is_canonical(net[:, 0], net[:, 1]).all()


def test_canonical_is_left_to_right_then_top_to_bottom():
    dx, dy = torch.tensor([3.0, -3.0, 1.0, -1.0, 0.0]), torch.tensor([-1.0, 1.0, 2.0, -2.0, 0.0])
    assert is_canonical(dx, dy).tolist() == [True, False, True, False, True]


def test_same_seed_same_exposure():
    spec = SensorSpec(shot=(0, 0.01), read=(0, 0.01), jpeg=(50, 90))
    first, second, other = (expose(MotionSpec(), spec, seed=s) for s in (5, 5, 6))
    assert torch.equal(first.blurry, second.blurry)
    assert torch.equal(first.frames, second.frames)
    assert not torch.equal(first.blurry, other.blurry)


def test_highlights_leave_bright_streaks():
    still = torch.full((1, 3, 80, 96), 0.1)
    still[..., 38:42, 46:50] = 1.0
    motion = MotionSpec(length=(16, 16), layer=0)
    expose_still = lambda gain: render(  # noqa: E731
        still,
        SIZE,
        torch.tensor([0.5]),
        motion,
        replace(CLEAN, highlights=(gain, gain)),
        generator=torch.Generator().manual_seed(2),
    )
    dim, bright = expose_still(1.0), expose_still(6.0)
    assert bright.blurry.mean() > dim.blurry.mean() + 0.01
    assert bright.blurry.max() <= 1
    assert torch.allclose(bright.frames.max(), torch.tensor(1.0))


def test_noise_grows_with_light():
    still = torch.full((1, 3, 80, 96), 0.8)
    motion = MotionSpec(length=(0, 0), layer=0)
    noisy = render(
        still,
        SIZE,
        torch.tensor([0.5]),
        motion,
        SensorSpec(shot=(0.01, 0.01)),
        generator=torch.Generator().manual_seed(0),
    )
    assert 0.01 < noisy.blurry.std() < 0.1
    assert noisy.frames.std() < 1e-5


def test_jpeg_like_the_real_one():
    cv2 = pytest.importorskip("cv2")
    image = (stills(1)[..., :64, :64] * 255).round() / 255
    pixels = (image[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype("uint8")
    for quality in (30, 90):
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        real = torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].copy()).permute(2, 0, 1) / 255
        ours = jpeg(image, torch.tensor([quality]))[0]
        error = (real - image[0]).square().mean()
        assert (ours - real).square().mean() < max(0.35 * error.item(), 3e-6)


def test_impossible_motion_is_refused():
    with pytest.raises(ValueError, match="length"):
        MotionSpec(length=(5, 1))
    with pytest.raises(ValueError, match="layer"):
        MotionSpec(layer=2)


def test_different_pictures_move_alike():
    exposure = expose(MotionSpec(length=(4, 12), layer=0.5), count=4, shared_motion=2)
    moved = exposure.displacements
    assert torch.equal(moved[::2], moved[1::2])
    assert not torch.allclose(moved[0], moved[2], atol=0.1)
    assert not torch.allclose(exposure.frames[0], exposure.frames[1], atol=0.1)
    with pytest.raises(ValueError, match="3 stills cannot be moved in groups of 2"):
        expose(MotionSpec(), shared_motion=2)
