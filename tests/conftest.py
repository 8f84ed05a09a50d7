"""Every test draws the same random numbers every time; property tests do in CI, and search elsewhere.

And a made photo, with what blurs it.
"""

import math
import os

import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings

from unblur.exposure.response import from_linear, to_linear

pytest_plugins = ["loaded_networks"]

settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def leaves():
    """A made picture (3, 256, 320) like a photo: discs of all sizes that cover each other, as things do."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.full((3, 256, 320), 0.5)
    y, x = torch.arange(256)[:, None], torch.arange(320)
    for _ in range(900):
        size, row, column = torch.rand(3, generator=generator).tolist()
        covered = (x - 320 * column) ** 2 + (y - 256 * row) ** 2 < (3 * (1 - 0.985 * size) ** -0.8) ** 2
        picture[:, covered] = 0.1 + 0.8 * torch.rand(3, 1, generator=generator)
    return picture


def _exposed(picture, kernel):
    """Blur (3, H, W) in linear light, with a little noise."""
    reach = kernel.shape[-1] // 2
    light = F.pad(to_linear(picture)[:, None], (reach,) * 4, mode="reflect")
    light = F.conv2d(light, (kernel / kernel.sum())[None, None])[:, 0]
    noise = torch.randn(light.shape, generator=torch.Generator().manual_seed(1))
    return (from_linear(light.clamp(0, 1)) + 0.004 * noise).clamp(0, 1)


@pytest.fixture(scope="session")
def moved():
    """A function that moves a picture by some pixels, in a direction in degrees."""

    def expose(picture, length, degrees):
        reach = math.ceil(length / 2) + 1
        y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.0)] * 2, indexing="ij")
        along = torch.linspace(-0.5, 0.5, 201)[:, None, None] * length
        turn = math.radians(degrees)
        across = (1 - (x - along * math.cos(turn)).abs()).clamp_min(0), (1 - (y + along * math.sin(turn)).abs())
        return _exposed(picture, (across[0] * across[1].clamp_min(0)).sum(0))

    return expose


@pytest.fixture(scope="session")
def defocused():
    """A function that sees a picture through a disc of some radius in pixels."""

    def expose(picture, radius):
        reach = math.ceil(radius)
        y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.0)] * 2, indexing="ij")
        return _exposed(picture, (radius + 0.5 - torch.hypot(x, y)).clamp(0, 1))

    return expose
