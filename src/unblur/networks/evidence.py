"""The motion of a whole patch at once, from spectra: a coarse estimate for `paths.PathNet` to begin with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.exposure.response import to_linear
from unblur.layers.consensus import local_planes
from unblur.layers.spectral import blur_kernels, cepstra, local_patches
from unblur.networks.unet import ResidualBlock


class Evidence(nn.Module):
    """Features of the motion in each cell of a picture, and a first guess of its path.

    The blur kernel of a patch is a drawing of its path; a network that is handed the drawing need not learn to
    deconvolve first. Where the middle frame is not sharp yet, its kernel says little: the cepstrum of the blurry patch
    stands beside it.

    Parameters
    ----------
    cell : int
        Side of a cell in pixels of the picture. Patches are looked at in half of its resolution.
    channels : int
        Of the features.
    outputs : int
        Numbers that describe a path.
    hidden, blocks : int
        Channels of the layer that reads the drawings; residual blocks in which cells confer with their neighbours.
    window : int
        Side of a patch in pixels.
    reaches : sequence of int
        Farthest motion seen, in pixels of the picture halved once, twice, ...: a patch for each.
    sigma : float
        Width in cells of the neighbourhood that a guess is made consistent with; 0 leaves every cell to itself.
    """

    def __init__(
        self,
        cell: int,
        channels: int,
        outputs: int,
        hidden: int = 192,
        blocks: int = 4,
        window: int = 32,
        reaches: Sequence[int] = (12,),
        sigma: float = 8.0,
    ) -> None:
        super().__init__()
        self.cell, self.window, self.reaches, self.sigma = cell, window, tuple(reaches), sigma
        drawn = sum((2 * reach + 1) ** 2 for reach in reaches) + (reaches[0] + 1) * (2 * reaches[0] + 1)
        self.read = nn.Conv2d(drawn, hidden, 1)
        self.narrow = nn.Conv2d(hidden, channels, 1)
        self.confer = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        # A path, how far it is to be trusted, and how far it follows its neighbourhood.
        self.guess = nn.Conv2d(channels, outputs + 2 * bool(sigma), 1)
        nn.init.zeros_(self.guess.weight)
        assert self.guess.bias is not None
        nn.init.zeros_(self.guess.bias)

    def forward(self, blurry: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Two (B, 3, H, W), H and W multiples of the cell, to features (B, channels, H / cell, W / cell) and guesses
        (B, outputs, H / cell, W / cell).
        """
        with torch.autocast(blurry.device.type, enabled=False):
            light = to_linear(torch.stack((blurry, sharp), 1).float().clamp(0, 1), "srgb").mean(2)
            drawings = self.drawings(F.avg_pool2d(light, 2))
        return self.judge(drawings)

    def drawings(self, light: Tensor) -> Tensor:
        """Kernels and cepstra of every patch, of order one, (B, K, H / cell, W / cell).

        `light` is (B, 2, H / 2, W / 2), float32: the blurry and the sharp picture, grey and in linear light.
        """
        drawn, stride = [], self.cell // 2
        for reach in self.reaches:
            patches = local_patches(light, self.window, stride)
            drawn.append(8 * blur_kernels(patches[:, 0], patches[:, 1], reach))
            if len(drawn) == 1:
                drawn.append(4 * cepstra(patches[:, 0], reach))
            light, stride = F.avg_pool2d(light, 2), stride // 2
        return torch.cat([each.flatten(3) for each in drawn], -1).permute(0, 3, 1, 2)

    def judge(self, drawings: Tensor) -> tuple[Tensor, Tensor]:
        """Features and guesses from the drawings."""
        features = self.confer(self.narrow(F.relu(self.read(drawings))))
        guess = self.guess(features)
        return features, self.agreed(guess.float()) if self.sigma else guess

    def agreed(self, guess: Tensor) -> Tensor:
        """Draw each path towards the smooth motion that its neighbourhood agrees on: a camera moves everything."""
        own, trust, follow = guess[:, :-2], guess[:, -2:-1], guess[:, -1:]
        with torch.autocast(guess.device.type, enabled=False):
            common = local_planes(own, trust.sigmoid() + 1e-3, self.sigma)
        return torch.lerp(own, common, follow.sigmoid())
