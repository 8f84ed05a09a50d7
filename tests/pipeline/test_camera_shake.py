"""The shake of a camera is read from a photo, and undone."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.media.image import read_image
from unblur.pipeline import camera_shake
from unblur.pipeline.camera_shake import deconvolve, estimate_kernel, extent, noise_level, reblur_residual

PHOTO = Path(__file__).parents[2] / "examples" / "pan.png"


def curve() -> Tensor:
    """A hand's path of about 13 pixels, as a kernel (15, 15)."""
    kernel = torch.zeros(15, 15)
    for i in range(200):
        t = i / 199
        x, y = 2 + 10 * t, 7 + 4 * math.sin(3 * t) * (1 - t)
        kernel[int(y), int(x)] += 1
    return kernel / kernel.sum()


def scene(side: int = 160) -> Tensor:
    """A sharp picture with edges of every direction and brightness, (3, side, side)."""
    generator = torch.Generator().manual_seed(3)
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    image = torch.full((3, side, side), 0.5)
    for _ in range(60):
        middle, size, angle = (
            torch.rand(2, generator=generator) * side,
            4 + 24 * torch.rand(2, generator=generator),
            0.0,
        )
        angle = float(torch.rand((), generator=generator)) * math.pi
        u = (x - middle[0]) * math.cos(angle) + (y - middle[1]) * math.sin(angle)
        v = (y - middle[1]) * math.cos(angle) - (x - middle[0]) * math.sin(angle)
        inside = (u.abs() < size[0]) & (v.abs() < size[1])
        image = torch.where(inside, 0.1 + 0.8 * torch.rand(3, 1, 1, generator=generator), image)
    return image


def blurred(sharp: Tensor, kernel: Tensor, noise: float = 0.005) -> Tensor:
    """The photo of a scene, without its rim."""
    photo = F.conv2d(sharp[:, None], kernel.flip(0, 1)[None, None])[:, 0]
    photo = photo + noise * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    return (photo.clamp(0, 1) * 255).round() / 255


def psnr(a: Tensor, b: Tensor) -> float:
    """Away from the rim."""
    return float(-10 * torch.log10((a - b)[..., 12:-12, 12:-12].square().mean()))


def at_best_shift(a: Tensor, b: Tensor) -> float:
    """PSNR: a kernel may stand a pixel or two off, and the picture with it."""
    return max(psnr(a.roll((i, j), (-2, -1)), b) for i in range(-3, 4) for j in range(-3, 4))


def test_a_shake_is_read_from_the_photo_and_undone() -> None:
    sharp, kernel = scene(), curve()
    photo, truth = blurred(sharp, kernel), sharp[..., 7:-7, 7:-7]
    found = estimate_kernel(photo)
    assert float(found.sum()) == pytest.approx(1, abs=1e-4)
    assert float(found.min()) >= 0
    assert abs(extent(found) - extent(kernel)) < 4
    made = deconvolve(photo, found, noise_level(photo))
    assert at_best_shift(made, truth) > psnr(photo, truth) + 4
    assert reblur_residual(photo, made, found) < reblur_residual(photo, photo, found) / 2


def test_a_known_kernel_is_undone_up_to_the_rim() -> None:
    sharp, kernel = scene(), curve()
    photo, truth = blurred(sharp, kernel), sharp[..., 7:-7, 7:-7]
    made = deconvolve(photo, kernel, 0.005)
    assert psnr(made, truth) > psnr(photo, truth) + 8
    rim = torch.ones_like(truth, dtype=torch.bool)
    rim[..., 12:-12, 12:-12] = False
    assert float((made - truth)[rim].square().mean()) < float((photo - truth)[rim].square().mean())


def test_clipped_light_rings_less(monkeypatch: pytest.MonkeyPatch) -> None:
    sharp = scene() * 0.5
    sharp[:, 60:64, 70:74] = 8.0
    photo, truth = blurred(sharp, curve()), sharp.clamp(0, 1)[..., 7:-7, 7:-7]
    made = deconvolve(photo, curve(), 0.005)
    monkeypatch.setattr(camera_shake, "CLIPPED", 9.0)
    assert psnr(made, truth) > psnr(deconvolve(photo, curve(), 0.005), truth) + 0.1


def test_noise_is_measured() -> None:
    noise = 0.02 * torch.randn(3, 100, 100, generator=torch.Generator().manual_seed(1))
    assert noise_level(0.5 + noise) == pytest.approx(0.02, rel=0.1)
    assert noise_level(torch.ones(3, 20, 20)) == 0


def test_odd_and_small_pictures() -> None:
    photo = read_image(PHOTO).pixels[:, :67, :53]
    kernel = estimate_kernel(photo)
    assert kernel.shape[0] % 2 == 1
    assert deconvolve(photo, kernel, 0.01).shape == photo.shape
